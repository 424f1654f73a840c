"""What the pages show runs: Python and bash blocks, with stand-ins for what is a user's own, or a mark says why not."""

import collections
import glob
import json
import os
import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from tests.docs.markdown_pages import ROOT, list_pages, read_blocks, split_commands
from tests.docs.run_blocks import run_blocks
from tests.docs.stand_in_modules import put_in_modules
from tests.docs.stand_ins import CHANGES, arrange, change, make_stand_ins, run_with_hub
from vidtldr_jax.cli.main import cli

BLOCKS = [block for page in list_pages() for block in read_blocks(page)]
EXTRAS = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
# Blocks that are not run, by page: whoever leaves another one out says so here too.
NOT_RUN = {
    "CONTRIBUTING.md": 1,
    "README.md": 1,
    "docs/accuracy.md": 2,
    "docs/development.md": 1,
    "docs/export.md": 3,
    "docs/operator.md": 1,
    "docs/performance.md": 1,
    "docs/reliability.md": 2,
    "docs/scenic.md": 2,
    "docs/tpu.md": 4,
}
MARKS = ("not run: ", "from a clone", "with stand-ins", "with a stand-in of ", "in a process of its own")
# Harmless commands of a shell that make what the next line needs.
SHELL_COMMANDS = ("printf", "mkdir", "cp", "ls", "cat", "cd", "python")
_MEASURED = re.compile(r"[\d.]+ (?:ms|s|MiB|GiB)\b")


def select(language):
    return [block for block in BLOCKS if block.language == language and block.why_not_run is None]


def compare_output(shown, printed):
    """Says whether a page shows what was printed, up to spaces, measured numbers and what "..." stands for."""
    shown, printed = (" ".join(_MEASURED.sub("N", text).split()) for text in (shown, printed))
    pattern = ".*".join(re.escape(part.strip()) for part in shown.split("..."))
    assert re.fullmatch(pattern, printed, flags=re.DOTALL), f"shown:\n{shown}\nprinted:\n{printed}"


def is_command(line):
    return re.match(r"vidtldr(\s|$)", line) is not None


def read_command_line(line):
    """Reads a line as the command group would, but for files, which needn't exist; returns command and words."""
    command, context = cli, click.Context(cli, info_name="vidtldr")
    words = shlex.split(line, comments=True)[1:]
    words = words[: next((number for number, word in enumerate(words) if word in ("|", ">", "2>")), len(words))]
    rest = list(words)
    while isinstance(command, click.Group):
        _, rest, _ = command.make_parser(context).parse_args(rest)
        assert rest, f"{line}: a command is missing"
        name, found, rest = command.resolve_command(context, rest)
        command, context = found, click.Context(found, info_name=name, parent=context)
    values, left, _ = command.make_parser(context).parse_args(rest)
    if any(parameter.is_eager and values.get(parameter.name) for parameter in command.get_params(context)):
        return command, words  # --help and the like
    assert not left, f"{line}: nothing takes {left}"
    for parameter in command.get_params(context):
        value = values.get(parameter.name)
        value = None if value in ((), [], click.core.UNSET) else value
        if value is None:
            assert not parameter.required, f"{line}: {parameter.name} is missing"
        elif not isinstance(parameter.type, click.Path) and "$" not in str(value):
            parameter.type_cast_value(context, value)
    return command, words


def run_command_line(line):
    """Runs `vidtldr ...` in this process and returns what it prints; no compiled programs are kept."""
    command, words = read_command_line(line)
    if any(word.startswith("hf://") for word in words):
        return run_with_hub(words, Path.cwd())
    words = [found for word in words for found in (sorted(glob.glob(word)) or [word])]
    uncached = ["--no-cache"] if any("--no-cache" in option.opts for option in command.params) else []
    result = CliRunner().invoke(cli, [*words, *uncached])
    assert result.exit_code == 0, f"{line}: {result.output}"
    return result.stdout


def check_installation(line):
    named = re.findall(r"(?:\.|vidtldr-jax)\[([\w,]+)\]", line)
    unknown = [extra for group in named for extra in group.split(",") if extra not in EXTRAS]
    assert unknown == [], f"{line}: no such extra"


def run_shell_line(line):
    assert shlex.split(line)[0] in SHELL_COMMANDS, f"{line!r} is run by no test; mark its block as not run and say why"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    fields = {"check": True, "capture_output": True, "text": True, "timeout": 60, "env": environment}
    return subprocess.run(["bash", "-ec", line], **fields).stdout


def run_bash_block(block):
    printed, variables = "", {}
    for line in split_commands(block.text):
        line = change(line) if block.mark == "with stand-ins" else line
        line = re.sub(r"\$(\w+)", lambda match: variables.get(match[1], match[0]), line)
        if assignment := re.fullmatch(r"(\w+)=\$\((.*)\)", line):
            variables[assignment[1]] = run_shell_line(assignment[2]).strip()
        elif line.startswith("pip install"):
            check_installation(line)
        else:
            printed += run_command_line(line) if is_command(line) else run_shell_line(line)
    return printed


@pytest.fixture(scope="session")
def stand_ins(tmp_path_factory):
    return make_stand_ins(tmp_path_factory.mktemp("stand-ins"))


@pytest.fixture
def working_folder(monkeypatch, tmp_path, shapes_unchecked):
    """An empty folder to run in, with a cache folder of its own beside it; shapes are checked in tests only."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    folder = tmp_path / "work"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


@pytest.mark.parametrize("page", sorted({block.page for block in select("python")}))
def test_the_python_of_a_page_runs_in_order_and_prints_what_is_shown(page, working_folder, request, monkeypatch):
    blocks = [block for block in select("python") if block.page == page]
    for block in blocks:
        if block.mark == "with stand-ins":
            arrange(request.getfixturevalue("stand_ins"), block.text, working_folder)
        if block.mark.startswith("with a stand-in of "):
            put_in_modules(block.mark.removeprefix("with a stand-in of "), monkeypatch)
    sources = [(block.place, block.text) for block in blocks]
    if any(block.mark == "in a process of its own" for block in blocks):
        flags = re.sub(r"--xla_force_host_platform_device_count=\d+", "", os.environ["XLA_FLAGS"])
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "XLA_FLAGS": flags.strip()}
        command = [sys.executable, "-m", "tests.docs.run_blocks"]
        fields = {"input": json.dumps(sources), "capture_output": True, "text": True, "check": False}
        finished = subprocess.run(command, env=environment, **fields)
        assert finished.returncode == 0, finished.stderr[-2000:]
        printed = json.loads(finished.stdout)
    else:
        printed = run_blocks(sources)
    for block, text in zip(blocks, printed):
        if block.output is not None:
            compare_output(block.output, text)


@pytest.mark.parametrize("block", select("bash"), ids=lambda block: block.place)
def test_a_bash_block_runs_and_prints_what_is_shown(block, working_folder, request):
    if block.mark == "with stand-ins":
        arrange(request.getfixturevalue("stand_ins"), block.text, working_folder)
    if block.mark == "from a clone":
        for name in ("vidtldr_jax", "configs", "docs"):
            (working_folder / name).symlink_to(ROOT / name)
    printed = run_bash_block(block)
    if block.output is not None:
        compare_output(block.output, printed)


COMMAND_LINES = [(block, line) for block in BLOCKS if block.language == "bash" for line in split_commands(block.text)]
UNREAD = [line for block, line in COMMAND_LINES if block.why_not_run is not None and is_command(line)]


@pytest.mark.parametrize("line", UNREAD)
def test_a_command_line_that_is_not_run_names_a_command_and_options_that_exist(line, stand_ins, monkeypatch):
    monkeypatch.chdir(stand_ins)
    read_command_line(line)


def test_what_a_block_makes_is_not_there_before(stand_ins, tmp_path):
    arrange(stand_ins, "vidtldr convert SOME checkpoints/mine\nvidtldr embed more --out videos", tmp_path)
    assert {path.name for path in (tmp_path / "checkpoints").iterdir()} >= {"clip", "videomae-b16"}
    assert not (tmp_path / "checkpoints" / "mine").exists()
    assert not (tmp_path / "videos").exists()
    assert (tmp_path / "more").exists()


def test_every_change_is_of_something_that_a_page_shows():
    shown = [" ".join(line.split()) for block, line in COMMAND_LINES if block.mark == "with stand-ins"]
    assert [words for words in CHANGES if not any(words in line for line in shown)] == []


def find_unknown_options(text):
    """Returns the options of a command in running text, which may leave arguments out, that it doesn't have."""
    words, command = text.split()[1:], cli
    while isinstance(command, click.Group) and words and words[0] in command.commands:
        command, words = command.commands[words[0]], words[1:]
    known = {option for parameter in command.get_params(click.Context(command)) for option in parameter.opts}
    return [word for word in words if word.startswith("--") and word.split("=")[0] not in known]


@pytest.mark.parametrize("page", list_pages())
def test_commands_in_running_text_have_the_options_that_they_are_given(page):
    named = re.findall(r"`(vidtldr [^`]+)`", (ROOT / page).read_text())
    assert [text for text in named if find_unknown_options(text)] == []


@pytest.mark.parametrize("line", sorted({line for _, line in COMMAND_LINES if "pip install" in line}))
def test_every_installation_names_extras_that_exist(line):
    check_installation(line)


@pytest.mark.parametrize("page", list_pages())
def test_every_fence_of_a_page_is_read(page):
    fences = re.findall(r"^\s*```", (ROOT / page).read_text(), flags=re.MULTILINE)
    blocks = [block for block in BLOCKS if block.page == page]
    assert len(fences) == 2 * (len(blocks) + sum(block.output is not None for block in blocks))


def test_no_block_is_left_out_without_a_reason():
    marked = [block for block in BLOCKS if block.mark and block.language in ("python", "bash")]
    assert [block.place for block in marked if not block.mark.startswith(MARKS)] == []
    left_out = [block for block in marked if block.why_not_run is not None]
    assert [block.place for block in left_out if len(block.why_not_run.split()) < 2] == []
    assert collections.Counter(block.page for block in left_out) == NOT_RUN


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        ("vidtldr classify clip.mp4 --shedule 100,40", "--shedule"),
        ("vidtldr clasify clip.mp4", "clasify"),
        ("vidtldr classify", "is missing"),
        ("vidtldr classify clip.mp4 --schedule 100;40", "entries are numbers"),
        ("vidtldr search index dog extra", "nothing takes"),
        ("vidtldr classify clip.mp4 --dtype float8", "float8"),
    ],
)
def test_a_wrong_command_line_is_found(line, fault):
    with pytest.raises((click.UsageError, AssertionError), match=re.escape(fault)):
        read_command_line(line)


def test_an_unknown_option_in_running_text_is_found():
    assert find_unknown_options("vidtldr plan --latency-ms ... --qiet") == ["--qiet"]
    assert find_unknown_options("vidtldr evaluate qa --k-test") == []


def test_a_line_that_nothing_runs_is_found():
    with pytest.raises(AssertionError, match="mark its block"):
        run_shell_line("apt-get install everything")
    with pytest.raises(AssertionError, match="no such extra"):
        check_installation("pip install -e '.[test,nonsense]'")


def test_other_output_than_is_shown_is_found():
    compare_output("a ... c\n1.5 ms", "a b\nc\n99 ms")
    with pytest.raises(AssertionError, match="shown"):
        compare_output("left 93.4 %", "left 93.5 %")
