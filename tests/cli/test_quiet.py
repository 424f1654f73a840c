"""Quiet by default, also below Python, and -v for more; no environment variable of this project has to be set."""

import json
import re
from pathlib import Path

import pytest

from tests.cli.test_main import COMMANDS, ROOT, run_python
from tests.reference.files import find_golden
from tests.train.squares import make_videos, save_tiny

# One process for several command lines, set up as `main` does it; what each wrote is told apart by file descriptor.
DRIVER = """
import json, os, sys
from vidtldr_jax.cli.main import cli
from vidtldr_jax.cli.runtime import take_over_process
take_over_process()
for number, words in enumerate(json.loads(sys.argv[1])):
    for descriptor, name in ((1, "stdout"), (2, "stderr")):
        os.dup2(os.open(f"{number}.{name}", os.O_WRONLY | os.O_CREAT), descriptor)
    try:
        cli(words, prog_name="vidtldr")
    except SystemExit as error:
        if error.code:
            raise
    sys.stdout.flush()
"""
SETTINGS = ("--set", "heads=4", "--set", "frames=4", "--set", "image_size=32")


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("quiet")
    save_tiny(folder / "model")
    make_videos(folder, 1)
    return folder


def run_all(place, lines, tmp_path):
    """Runs command lines in one process of their own; returns what each wrote to stdout and stderr."""
    lines = [[str(word) for word in line] for line in lines]
    result = run_python("-c", DRIVER, json.dumps(lines))
    written = [[(tmp_path / f"{n}.{name}").read_text() for name in ("stdout", "stderr")] for n in range(len(lines))]
    assert result.returncode == 0, written
    return written


def test_a_process_that_does_well_writes_answers_to_stdout_and_nothing_to_stderr(place, tmp_path):
    data, model = place / "train.csv", ("--model", place / "model")
    lines = [
        ("info", place / "model"),
        ("completion", "bash"),
        ("plan", *model, "--keep", 0.5),
        ("convert", find_golden("cls_umt.pth"), "out", *SETTINGS),
        ("visualize", place / "train_up_0.mp4", *model, "--schedule", "4", "--html", "page.html"),
        ("classify", place / "train_up_0.mp4", *model, "--schedule", "4"),
        ("evaluate", "classification", "--manifest", data, *model, "--out", "result.json"),
        ("finetune", "--data", data, *model, "--out", "run", "--steps", 1, "--batch-size", 2),
    ]
    verbose = [*lines[5], "-v"]
    *quiet, (answer, said) = run_all(place, [*lines, verbose], tmp_path)
    assert [stderr for _, stderr in quiet] == [""] * len(lines)
    assert all(stdout for stdout, _ in quiet)
    assert answer == quiet[5][0]
    assert "vidtldr_jax: compiled programs are kept in " in said
    assert f"vidtldr_jax: model {place / 'model'}: weights in {place / 'model'}\n" in said
    assert "vidtldr_jax: schedule: r = 4: 8 -> 4 tokens over 2 layers\n" in said
    assert "vidtldr_jax: computing in float32 on cpu" in said


@pytest.mark.parametrize("command", sorted(COMMANDS))
def test_every_command_takes_v_and_json_and_keeps_compiled_programs_only_if_it_may(command):
    options = {option: param for param in COMMANDS[command].params for option in param.opts}
    assert {"-v", "--verbose", "--json"} <= set(options)
    assert options["-v"].is_flag
    assert options["-v"].is_eager, "else what other options log is lost"


def test_nobody_has_to_set_a_variable_of_ours():
    files = [
        path for name in ("vidtldr_jax", "checkpoints_convert", "configs") for path in Path(ROOT, name).rglob("*.py")
    ]
    assert len(files) > 100
    optional = re.compile("VIDTLDR_(MAX_|CHECK_DIGESTS)")
    assert [str(path) for path in files if "VIDTLDR_" in optional.sub("", path.read_text())] == []
