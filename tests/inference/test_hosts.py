"""Two processes with four devices each, as two hosts are, give what one process gives; each gets its own results."""

import functools
import json
import sys
import tempfile
from pathlib import Path

import jax
import numpy as np
import pytest

from benchmarks.models import choose_umt_config
from tests.data.making import write_video
from tests.inference import test_stream
from tests.inference.pairs import run_pair
from tests.inference.test_model import make_model
from tests.inference.two_processes import CASES, NUM_DEVICES, WORDS, list_videos, make_clips, make_retrieval_clips
from vidtldr_jax.inference import encode_videos, fetch_share, make_mesh
from vidtldr_jax.inference.timing import make_random_model
from vidtldr_jax.search.reranking import score_videos

ROOT = Path(__file__).resolve().parents[2]
ROUNDING = 1e-4  # products of another size sum in another order
OF_SIZES = 5e-4  # sizes are sums of saliency, which is divided by how far tokens are apart in sharpness
OF_TEXTS = {"similarity": 5e-4, "match": 2e-5}  # cosines, and logits that hardly differ from video to video
WHERE = [f"{model_parallel} {scan_layers}" for model_parallel, scan_layers in CASES] + ["interleaved"]


@pytest.fixture(scope="module")
def pair():
    """Facts and arrays of each process, and rows of the files' logits from one process, by name of the video."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        for number in range(6):
            write_video(folder / f"{number}.mp4", num_frames=12, first_number=30 * number)
        (folder / "2 is text.mp4").write_text("not a video\n" * 50)
        command = [sys.executable, "-m", "tests.inference.two_processes"]
        run_pair(lambda port, number: [*command, port, str(number), place], cwd=ROOT, num_devices=NUM_DEVICES)
        facts = [json.loads((folder / f"{number}.json").read_text()) for number in range(2)]
        arrays = [dict(np.load(folder / f"{number}.npz")) for number in range(2)]
        yield facts, arrays, encode_with_one(folder)


def encode_with_one(folder):
    videos = encode_videos(test_stream.make_model(), list_videos(folder), output="logits", batch_size=1)
    return {Path(video.path).name: video.outputs for video in videos}


@functools.cache
def run_clips_with_one():
    merged, clips = make_model("8,4"), make_clips()
    out = merged.encode_video(clips)
    plain = merged.with_schedule(None).classify(clips)
    values = {"logits": out.logits, "pooled": out.pooled, "size": out.size, "plain": plain}
    return {name: np.asarray(value) for name, value in values.items()}


@pytest.mark.parametrize("case", WHERE)
def test_each_process_gets_the_results_of_its_own_clips(case, pair):
    _, arrays, _ = pair
    for name, values in run_clips_with_one().items():
        for found, expected in zip(arrays, np.array_split(values, 2), strict=True):
            allowed = OF_SIZES if name == "size" else ROUNDING
            np.testing.assert_allclose(found[f"{case} {name}"], expected, atol=allowed, err_msg=name)
        # Other clips have other results, so that another order would show.
        assert np.abs(values[:8] - values[8:]).max() > 100 * ROUNDING


@pytest.mark.parametrize("case", WHERE)
def test_every_process_can_gather_all_results(case, pair):
    _, arrays, _ = pair
    logits = run_clips_with_one()["logits"]
    by_device = np.arange(16).reshape(2, NUM_DEVICES, 2)  # [process, device, clip]
    order = by_device.swapaxes(0, 1).ravel() if case == "interleaved" else by_device.ravel()
    for found in arrays:
        np.testing.assert_allclose(found[f"{case} all"], logits[order], atol=ROUNDING)
        np.testing.assert_array_equal(found[f"{case} again"], found[f"{case} logits"])


def test_devices_along_model_belong_to_one_process_and_follow_one_another(pair):
    facts, _, _ = pair
    for number, found in enumerate(facts):
        assert found["devices"] == [4, 8]
        assert found["meshes"] == {
            "all": [[0]] * 4 + [[1]] * 4,
            "two along model": [[0, 0]] * 2 + [[1, 1]] * 2,
            "interleaved devices": [[0, 0]] * 2 + [[1, 1]] * 2,
            "local": [[number]] * 4,
            "of --devices": [[number]] * 4,
        }


@pytest.mark.parametrize("model_parallel", [1, 2])
def test_files_are_encoded_by_whoever_has_them(model_parallel, pair):
    facts, arrays, expected = pair
    found = {}
    for number, name in enumerate(sorted(expected)):
        if expected[name] is not None:
            found[name] = arrays[number % 2][f"files {model_parallel} {name}"]
            np.testing.assert_allclose(found[name], expected[name], atol=ROUNDING)
    assert len(found) == 6
    assert sum(name.startswith(f"files {model_parallel}") for share in arrays for name in share) == 6
    notes = [fact[f"files {model_parallel}"] for fact in facts]
    assert [note["errors"] for note in notes] == [["2 is text.mp4"], []]
    assert all(note["in order"] for note in notes)


@pytest.mark.parametrize("model_parallel", [1, 2])
def test_a_process_waits_for_no_other_to_encode_its_files(model_parallel, pair):
    facts, arrays, expected = pair
    for number, fact in enumerate(facts):
        note = fact[f"files {model_parallel}"]
        assert note["owners"] == [number]
        assert note["batch"] == 4  # three, rounded up to this process's devices along "data", 4 or 2
        assert note["nothing"] == 0
    np.testing.assert_allclose(arrays[1]["alone"], expected["0.mp4"], atol=ROUNDING)
    assert "alone" not in arrays[0]


@pytest.mark.parametrize("model_parallel", [1, 2])
def test_texts_are_compared_with_the_videos_of_each_process(model_parallel, pair):
    _, arrays, _ = pair
    config = choose_umt_config(is_smoke=True)
    model = make_random_model(config, "20")
    video, text = model.encode_video(make_retrieval_clips(config)), model.encode_text(WORDS, np.ones_like(WORDS))
    for number, found in enumerate(arrays):
        mine = slice(4 * number, 4 * number + 4)
        whole = {"similarity": model.similarity(video, text), "match": model.match(video, text)}
        for name, values in whole.items():
            np.testing.assert_allclose(found[f"texts {model_parallel} {name}"], values[mine], atol=OF_TEXTS[name])
            assert np.ptp(values, axis=0).min() > 20 * OF_TEXTS[name]
        scores = score_videos(model, list(video.tokens[mine][:3]), text.tokens[0], np.ones_like(WORDS)[0])
        np.testing.assert_allclose(found[f"texts {model_parallel} scores"], scores, atol=OF_TEXTS["match"])


def test_wrong_uses_are_refused_in_each_process(pair):
    facts, _, _ = pair
    for number, found in enumerate(facts):
        errors = found["errors"]
        assert "process_allgather" in errors.pop("whole")  # JAX's own error
        others = {number: 0, 1 - number: 4}
        assert errors == {
            "share": 'this process\'s share of a batch is a multiple of its 4 devices along "data"; got 3 clips; '
            "fill it up by repeating some, and leave their results out.",
            "model_parallel": "model_parallel divides the number of devices of each process, 4; got 8; take a "
            "divisor, or give fewer devices.",
            "crossing": 'devices along the mesh\'s axis "model" belong to one process; got some of processes [0, 1]; '
            "make_mesh arranges devices so.",
            "unequal": "every process has as many devices in a mesh as the others; got {0: 4, 1: 2} by process; use "
            "all devices, or make a mesh of jax.local_devices().",
            "other": "every process has as many devices in a mesh as the others; got "
            f"{ {process: others[process] for process in range(2)} } by process; use all devices, or make a mesh of "
            "jax.local_devices().",
            "evaluation": "model runs on devices of one process in an evaluation; got a mesh over 2 processes, each of "
            "which would evaluate everything; pass model.with_local_mesh() in one of them.",
            "devices": "--devices is at most the number of devices, 4 (cpu); got 8; take fewer.",
        }


def test_one_process_has_all_rows_and_its_own_mesh():
    model = make_model("8,4", mesh=make_mesh())
    out = model.encode_video(make_clips()[:2])
    assert model.with_local_mesh() is model
    assert make_model().with_local_mesh().mesh is None
    found = fetch_share(out)
    assert jax.tree.structure(found) == jax.tree.structure(out)
    assert all(isinstance(leaf, np.ndarray) for leaf in jax.tree.leaves(found))
    np.testing.assert_array_equal(found.logits, out.logits)
