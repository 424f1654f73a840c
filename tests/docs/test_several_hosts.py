"""The script for several hosts in docs/tpu.md, run in two processes as its page shows it."""

import re
import shutil
import sys

import numpy as np
import pytest

import vidtldr_jax as vt
from tests.docs.markdown_pages import read_blocks
from tests.inference.pairs import run_pair

NAMES = ("left", "coming_together", "turning_clockwise")
SAVE = """
np.savez(f"rows_{jax.process_index()}.npz", mine=mine, every=every)
"""


def read_script():
    """Returns the page's script with the batches after it, and the words that join two processes put in."""
    blocks = [block.text for block in read_blocks("docs/tpu.md") if block.language == "python"]
    script = next(text for text in blocks if "label_videos.py" in text)
    batches = next(text for text in blocks if "process_allgather" in text)
    join = (
        'jax.distributed.initialize(f"127.0.0.1:{sys.argv.pop(1)}", num_processes=2, process_id=int(sys.argv.pop(1)))'
    )
    script, count = re.subn(re.escape("jax.distributed.initialize()"), join, script)
    assert count == 1
    return script + batches + SAVE


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("hosts")
    (folder / "label_videos.py").write_text(read_script())
    for name in NAMES:
        shutil.copy(vt.find_sample_clip(name), folder / f"{name}.mp4")
    (folder / "unreadable.mp4").write_text("not a video\n" * 50)
    paths = [f"{name}.mp4" for name in (*NAMES, "unreadable")]
    command = [sys.executable, "label_videos.py"]
    run_pair(lambda port, number: [*command, port, str(number), *paths], cwd=folder, num_devices=2)
    return folder


def test_every_video_is_labelled_by_one_of_the_processes(folder):
    shares = [(folder / f"labels_{number}.txt").read_text().splitlines() for number in range(2)]
    assert [len(lines) for lines in shares] == [2, 2]
    labels = dict(line.split("\t", 1) for lines in shares for line in lines)
    model = vt.load_model("moving-objects", schedule="100,40")
    for name in NAMES:
        clip = vt.read_clip(vt.find_sample_clip(name), model.preprocessing)
        assert labels[f"{name}.mp4"] == model.labels[model.classify(clip[None])[0].argmax()]
    assert "FFmpeg can't read" in labels["unreadable.mp4"]


def test_a_process_fetches_its_rows_and_gathers_all(folder):
    rows = [dict(np.load(folder / f"rows_{number}.npz")) for number in range(2)]
    for found in rows:
        np.testing.assert_array_equal(found["every"], np.concatenate([part["mine"] for part in rows]))
        assert found["mine"].shape == (2, 12)
    assert np.abs(rows[0]["mine"] - rows[1]["mine"]).max() > 0.1  # each has read another clip
