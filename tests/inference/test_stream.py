"""Many videos through a model: the same as one by one, in batches of one size, the next one ahead of the result."""

import contextlib
import itertools
import sys
import threading

import numpy as np
import pytest

from tests.data.making import write_video
from vidtldr_jax.data import Preprocessing, VideoReadError, WorkerError, loading, read_clips, read_frames
from vidtldr_jax.inference import VideoModel, encode_videos, stream
from vidtldr_jax.inference.checkpoint import find_param_shapes
from vidtldr_jax.models import VideoViTConfig

CONFIG = VideoViTConfig(
    num_frames=4, image_size=16, patch_size=4, tubelet_size=2, dim=8, depth=3, num_heads=2, mlp_dim=16, num_classes=3,
    embed_dim=5,
)  # fmt: skip
# Matrix products of another batch size sum in another order.
ROUNDING = 1e-5
SIX_VIEWS = {"sampling": "dense", "num_clips": 2, "resize": "shortest_edge", "shortest_edge": 20, "crop": "three"}


def make_model(*, config=CONFIG, schedule="8,4", mesh=None, **fields):
    rng = np.random.default_rng(0)
    params = {p: rng.normal(size=s).astype(np.float32) for p, s in find_param_shapes(config).items()}
    recipe = Preprocessing(num_frames=4, image_size=16, **fields)
    return VideoModel(params, config, preprocessing=recipe, schedule=schedule, mesh=mesh)


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    folder = tmp_path_factory.mktemp("good")
    return [str(write_video(folder / f"{n}.mp4", num_frames=12, first_number=30 * n)) for n in range(5)]


@pytest.fixture(scope="module")
def bad(tmp_path_factory):
    path = tmp_path_factory.mktemp("bad") / "text.mp4"
    path.write_text("not a video\n" * 50)
    return str(path)


class Recorder:
    """Stands before a model and writes down what is placed on the device, what is run and what is waited for."""

    def __init__(self, model, monkeypatch):
        self.events, self.batches = [], []
        encode, place, numbers = model.encode_video, model.place_video, itertools.count()

        def record_place(batch):
            if isinstance(batch, np.ndarray):  # the model places once more what is there already
                self.events.append(f"place {len(self.batches)}")
                self.batches.append(batch)
            return place(batch)

        def record_run(batch):
            number = next(numbers)
            self.events.append(f"run {number}")
            np.testing.assert_array_equal(batch, self.batches[number])
            out = encode(batch)
            return out._replace(logits=Result(out.logits, number, self.events))

        monkeypatch.setattr(VideoModel, "place_video", lambda _, batch: record_place(batch))
        monkeypatch.setattr(VideoModel, "encode_video", lambda _, batch: record_run(batch))


class Result:
    """An array on the device that tells when it is waited for."""

    def __init__(self, array, number, events):
        self.array, self.number, self.events = array, number, events

    def copy_to_host_async(self):
        self.array.copy_to_host_async()

    def __array__(self, dtype=None, copy=None):
        self.events.append(f"fetch {self.number}")
        return np.asarray(self.array)


def run(model, paths, **options):
    return list(encode_videos(model, paths, **{"output": "logits", "batch_size": 2} | options))


@pytest.mark.parametrize("batch_size", [1, 2, 3, 4, 30])
@pytest.mark.parametrize("fields", [{}, SIX_VIEWS], ids=["1 view", "6 views"])
def test_batches_of_any_size_give_what_videos_give_one_by_one(good, bad, batch_size, fields):
    model = make_model(**fields)
    paths = [*good[:2], bad, *good[2:]]
    found = run(model, paths, batch_size=batch_size)
    assert [video.path for video in found] == paths
    assert found.pop(2).outputs is None
    expected = [np.asarray(model.classify(read_clips(path, model.preprocessing))) for path in good]
    for video, rows in zip(found, expected, strict=True):
        assert video.error is None
        assert video.outputs.dtype == np.float32
        np.testing.assert_allclose(video.outputs, rows, atol=ROUNDING)
    # No two videos are alike, so that a wrong order would show.
    assert min(np.abs(a - b).max() for a, b in itertools.pairwise(expected)) > 100 * ROUNDING


def test_the_next_batch_is_on_the_device_before_a_result_is_waited_for(good, monkeypatch):
    model = make_model()
    recorder = Recorder(model, monkeypatch)
    run(model, good, batch_size=1)
    assert recorder.events == [
        "place 0", "run 0", "place 1", "run 1", "fetch 0", "place 2", "run 2", "fetch 1", "place 3", "run 3", "fetch 2",
        "place 4", "run 4", "fetch 3", "fetch 4",
    ]  # fmt: skip


def test_frames_are_sent_as_the_pixels_that_were_read(good, monkeypatch):
    model = make_model()
    recorder = Recorder(model, monkeypatch)
    run(model, good[:2], batch_size=2)
    (batch,) = recorder.batches
    assert batch.dtype == np.uint8
    np.testing.assert_array_equal(batch, [read_frames(path, model.preprocessing).frames[0] for path in good[:2]])


def test_batches_reach_over_borders_and_the_last_one_is_filled_with_its_last_view(good, bad, monkeypatch):
    model = make_model(**SIX_VIEWS)
    recorder = Recorder(model, monkeypatch)
    run(model, [good[0], bad, good[1], good[2]], batch_size=4)
    views = np.concatenate([read_frames(path, model.preprocessing).frames for path in good[:3]])  # [18, T, Y, X, C]
    assert [batch.shape for batch in recorder.batches] == [(4, 4, 16, 16, 3)] * 5
    np.testing.assert_array_equal(np.concatenate(recorder.batches), np.concatenate([views, views[[-1, -1]]]))


def test_there_is_one_compilation(good, traced_shapes):
    run(make_model(), good, batch_size=2)
    run(make_model(), good[:3], batch_size=2)
    assert traced_shapes == [(2, 4, 16, 16, 3)]


def test_a_few_videos_make_a_small_batch(good, monkeypatch):
    model = make_model()
    recorder = Recorder(model, monkeypatch)
    run(model, good[:2], batch_size=100)
    assert [len(batch) for batch in recorder.batches] == [2]


def test_a_video_is_given_as_soon_as_its_views_are_computed(good, monkeypatch):
    model = make_model()
    recorder = Recorder(model, monkeypatch)
    videos = encode_videos(model, good, output="logits", batch_size=1)
    assert next(videos).path == good[0]
    assert recorder.events == ["place 0", "run 0", "place 1", "run 1", "fetch 0"]
    videos.close()


def test_where_nothing_can_be_read_nothing_is_run(bad, monkeypatch):
    model = make_model()
    recorder = Recorder(model, monkeypatch)
    found = run(model, [bad, "missing.mp4"])
    assert [(video.path, type(video.error), video.outputs) for video in found] == [
        (bad, VideoReadError, None), ("missing.mp4", VideoReadError, None),
    ]  # fmt: skip
    assert recorder.events == []
    assert run(model, []) == []


def test_notices_come_with_their_video(good, tmp_path):
    short = str(write_video(tmp_path / "short.mp4", num_frames=2))
    first, second = run(make_model(), [good[0], short])
    assert first.notices == ()
    assert second.notices == read_frames(short, make_model().preprocessing).notices != ()


@pytest.mark.parametrize("output", ["embedding", "pooled"])
def test_other_outputs_are_those_of_encode_video(good, output):
    model = make_model()
    for path, video in zip(good, run(model, good, output=output, batch_size=3), strict=True):
        expected = getattr(model.encode_video(read_clips(path, model.preprocessing)), output)
        np.testing.assert_allclose(video.outputs, expected, atol=ROUNDING)


def test_workers_change_no_bit(good, bad):
    pytest.importorskip("grain", reason="worker processes need the extra 'workers'")
    paths = [bad, *good]
    for one, other in zip(run(make_model(), paths), run(make_model(), paths, num_workers=2), strict=True):
        assert (one.path, str(one.error), one.notices) == (other.path, str(other.error), other.notices)
        np.testing.assert_array_equal(one.outputs, other.outputs)


def test_closing_early_ends_the_reader(good):
    with contextlib.closing(encode_videos(make_model(), good, output="logits", batch_size=1)) as videos:
        next(videos)
        assert any("vidtldr-read" in thread.name for thread in threading.enumerate())
    assert not any("vidtldr-read" in thread.name for thread in threading.enumerate())


def test_a_failure_of_the_model_ends_the_reader(good, monkeypatch):
    model = make_model()

    def fail(batch):
        raise MemoryError

    monkeypatch.setattr(VideoModel, "encode_video", lambda _, batch: fail(batch))
    with pytest.raises(MemoryError) as caught:
        run(model, good)
    assert not any("vidtldr-read" in thread.name for thread in threading.enumerate())
    # Kept until here: a traceback holds on to all that was not closed.
    del caught


@pytest.mark.parametrize("failing", [1, 2, 3, 5])
def test_what_was_computed_before_a_failure_of_the_model_comes_first(good, monkeypatch, failing):
    model, encode, calls = make_model(), VideoModel.encode_video, []

    def fail_late(batch):
        calls.append(len(batch))
        if len(calls) == failing:
            raise RuntimeError("out of order")
        return encode(model, batch)

    expected = run(model, good, batch_size=1)
    monkeypatch.setattr(VideoModel, "encode_video", lambda _, batch: fail_late(batch))
    found = []
    with pytest.raises(RuntimeError, match="out of order"):
        collect(encode_videos(model, good, output="logits", batch_size=1), found)
    assert [one.path for one in found] == good[: failing - 1]
    for one, other in zip(found, expected, strict=False):
        np.testing.assert_array_equal(one.outputs, other.outputs)


def collect(videos, found):
    for video in videos:
        found.append(video)
    return ()


@pytest.mark.parametrize("failing", [0, 1, 2, 4])
def test_a_batch_that_fails_while_it_is_waited_for_shifts_no_other(good, monkeypatch, failing):
    model = make_model()
    expected = run(model, good, batch_size=1)
    recorder = Recorder(model, monkeypatch)

    def fail(array, dtype=None, copy=None):
        if array.number == failing:
            raise RuntimeError("lost")
        return np.asarray(array.array)

    monkeypatch.setattr(Result, "__array__", fail)
    found = []
    with pytest.raises(RuntimeError, match="lost"):
        collect(encode_videos(model, good, output="logits", batch_size=1), found)
    assert [one.path for one in found] == good[:failing]
    for one, other in zip(found, expected, strict=False):
        np.testing.assert_array_equal(one.outputs, other.outputs)
    assert recorder.batches


@pytest.mark.parametrize("failing", [1, 3, 4])
def test_what_was_read_before_a_failure_of_all_reading_is_computed(good, monkeypatch, failing):
    def read(paths, preprocessing, *, num_workers):
        for number, path in enumerate(paths):
            if number == failing:
                raise WorkerError("a worker ended")
            yield loading.LoadedVideo(path, read_frames(path, preprocessing), None)

    monkeypatch.setattr(stream, "read_videos", read)
    found = []
    with pytest.raises(WorkerError, match="a worker ended"):
        collect(encode_videos(make_model(), good, output="logits", batch_size=4), found)
    assert [one.path for one in found] == good[:failing]


def test_several_outputs_come_together_and_a_batch_need_not_shrink(good, monkeypatch):
    model = make_model()
    both = list(encode_videos(model, good, output=("pooled", "tokens"), batch_size=7, num_videos=9))
    sizes, encode = [], model.encode_video
    monkeypatch.setattr(VideoModel, "encode_video", lambda _, batch: sizes.append(len(batch)) or encode(batch))
    wanted = list(encode_videos(model, good, output="tokens", batch_size=7, num_videos=9))
    for video, alone in zip(both, wanted, strict=True):
        pooled, tokens = video.outputs
        np.testing.assert_array_equal(tokens, alone.outputs)
        assert pooled.shape == tokens.shape[:1] + tokens.shape[2:]
    list(encode_videos(model, good, output="tokens", batch_size=7))
    assert sizes == [7, 5]


def test_wrong_arguments_are_refused_before_anything_is_read(good, monkeypatch):
    monkeypatch.setattr(loading, "read_frames", None)
    bare = make_model(config=VideoViTConfig.from_dict(CONFIG.to_dict() | {"num_classes": None, "embed_dim": None}))
    for model, options, message in (
        (make_model(), {"output": "size"}, "output is one of logits, embedding, pooled, tokens; got 'size'"),
        (make_model(), {"output": ()}, "output is one of .*; got 'none'"),
        (make_model(), {"batch_size": 0}, "batch_size is at least 1; got 0"),
        (make_model(), {"num_workers": -1}, "num_workers is at least 0; got -1"),
        (bare, {"output": "logits"}, "the model must have the output, one of pooled, tokens; got logits"),
        (bare, {"output": "embedding"}, "the model must have the output, one of pooled, tokens; got embedding"),
    ):
        with pytest.raises(ValueError, match=message):
            encode_videos(model, good, **{"output": "pooled", "batch_size": 2} | options)


def test_without_grain_workers_are_refused_at_once(good, monkeypatch):
    monkeypatch.setitem(sys.modules, "grain", None)
    with pytest.raises(WorkerError, match=r"vidtldr-jax\[workers\]"):
        encode_videos(make_model(), good, output="logits", batch_size=2, num_workers=1)
