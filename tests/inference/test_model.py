"""VideoModel: what a user calls."""

import functools
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vidtldr_jax.data.preprocessing import Preprocessing
from vidtldr_jax.inference import VideoModel, load_model, save_checkpoint
from vidtldr_jax.inference import model as model_module
from vidtldr_jax.inference.checkpoint import find_param_shapes
from vidtldr_jax.inference.timing import measure_models
from vidtldr_jax.models import VideoViT, VideoViTConfig

MAPS = Path("/proc/self/maps")
CONFIG = VideoViTConfig(
    num_frames=4, image_size=32, patch_size=8, tubelet_size=2, dim=16, depth=3, num_heads=2, mlp_dim=32, num_classes=5
)


def make_model(schedule=None, config=CONFIG, **kwargs):
    rng = np.random.default_rng(0)
    params = {p: 0.3 * rng.normal(size=s).astype(np.float32) for p, s in find_param_shapes(config).items()}
    preprocessing = Preprocessing(num_frames=4, image_size=32)
    return VideoModel(params, config, preprocessing=preprocessing, schedule=schedule, **kwargs)


def make_video(batch=3, frames=4, side=32):
    return np.random.default_rng(1).normal(size=(batch, frames, side, side, 3)).astype(np.float32)


def test_classify_returns_the_logits_of_the_module():
    model, video = make_model("8,4"), make_video()
    expected = jax.jit(VideoViT(CONFIG, r=(8, 4, 0)).apply)({"params": model.params}, video).logits
    np.testing.assert_allclose(model.classify(video), expected, atol=1e-5)


@pytest.mark.parametrize("schedule", [None, "8,4"])
def test_an_empty_batch_gives_an_empty_result_in_the_shapes_of_a_full_one(schedule):
    model, video = make_model(schedule), make_video(2)
    logits = model.classify(video[:0])
    assert (logits.shape, logits.dtype) == ((0, 5), jnp.float32)
    for trace in (False, True):
        full, empty = model.encode_video(video, trace=trace), model.encode_video(video[:0], trace=trace)
        assert jax.tree.structure(full) == jax.tree.structure(empty)
        for one, none in zip(jax.tree.leaves(full), jax.tree.leaves(empty), strict=True):
            assert (none.shape, none.dtype) == ((0, *one.shape[1:]), one.dtype)


def test_a_clip_of_nothing_is_refused():
    for shape in ((2, 0, 32, 32, 3), (2, 4, 0, 32, 3), (0, 4, 32, 32, 0)):
        with pytest.raises(ValueError) as error:
            make_model().classify(np.zeros(shape, np.float32))
        assert str(error.value) == (
            f"a clip has at least one frame, row, column and colour; got shape {shape}; pass whole clips."
        )
    with pytest.raises(ValueError, match="put a batch axis in front"):
        make_model().classify(np.zeros((0, 32, 32, 3), np.float32))


def test_another_schedule_shares_the_parameters_and_leaves_the_model_alone():
    model = make_model()
    merged = model.with_schedule("8,4")
    assert merged.schedule.tokens == (32, 24, 20, 20)
    assert model.schedule.is_plain
    shared = jax.tree.leaves(merged.params)
    own = jax.tree.leaves(model.params)
    assert all(a is b for a, b in zip(shared, own, strict=True))


def test_a_schedule_of_zeros_is_the_plain_model_bit_for_bit():
    model, video = make_model(), make_video()
    np.testing.assert_array_equal(model.with_schedule("0,0,0").classify(video), model.classify(video))


def test_a_batch_equals_its_examples_one_by_one():
    model, video = make_model("8,4"), make_video()
    one_by_one = np.concatenate([model.classify(clip[None]) for clip in video])
    # Matrix products of another size sum in another order; merging weighs the difference.
    np.testing.assert_allclose(model.classify(video), one_by_one, atol=1e-5)


def test_a_trace_changes_no_output():
    model, video = make_model("8,4"), make_video()
    traced = model.encode_video(video, trace=True)
    np.testing.assert_allclose(traced.logits, model.classify(video), atol=1e-6)
    assert [step.saliency.shape for step in traced.trace.steps] == [(3, 32), (3, 24)]


def test_each_shape_is_compiled_once(traced_shapes):
    model = make_model("8,4")
    for _ in range(3):
        model.classify(make_video(batch=1))
        model.with_schedule("8,4").classify(make_video(batch=2))
    assert [shape[0] for shape in traced_shapes] == [1, 2]


@pytest.mark.skipif(not MAPS.exists(), reason="only Linux says what a process has mapped")
def test_of_many_schedules_the_oldest_give_their_memory_back(monkeypatch):
    compiled = functools.lru_cache(maxsize=2)(model_module.compile_encoder.__wrapped__)
    monkeypatch.setattr(model_module, "compile_encoder", compiled)
    model, video = make_model(), make_video(batch=1)
    mapped = []
    for r in range(1, 5):
        model.with_schedule((r,)).classify(video)
        mapped.append(MAPS.read_bytes().count(b"\n"))
    each = mapped[1] - mapped[0]
    assert each > 50
    assert mapped[-1] < mapped[1] + each


def test_a_longer_clip_gets_the_schedule_resolved_anew():
    model = make_model("0.25")
    assert model.schedule.r == (8, 0, 0)
    assert model.schedule_for((1, 8, 32, 32, 3)).r == (16, 0, 0)
    assert model.encode_video(make_video(batch=1, frames=8)).tokens.shape == (1, 48, 16)


def test_bfloat16_is_near_float32():
    video = make_video()
    exact, rounded = make_model("8").classify(video), make_model("8", dtype=jnp.bfloat16).classify(video)
    assert rounded.dtype == jnp.float32
    assert 0 < np.abs(np.asarray(exact) - rounded).max() < 0.2


def test_both_forms_of_attention_agree():
    video = make_video()
    np.testing.assert_allclose(
        make_model("8,4").classify(video), make_model("8,4", attention="dense").classify(video), atol=1e-5
    )


def test_a_model_runs_the_form_of_merging_that_it_has():
    video = make_video()
    programs = [
        model.get_encode_function(video.shape).lower(model.weights, video).as_text()
        for model in (make_model("8,4"), make_model("8,4", merging="one_hot"))
    ]
    scattered, multiplied = (program.count("stablehlo.scatter") for program in programs)
    assert multiplied < scattered


def test_a_clip_without_a_batch_axis_is_refused():
    with pytest.raises(ValueError, match=r"got shape \(4, 32, 32, 3\); put a batch axis in front"):
        make_model().encode_video(make_video()[0])


def test_a_model_without_a_classifier_says_so():
    model = make_model(config=VideoViTConfig.from_dict(CONFIG.to_dict() | {"num_classes": None, "embed_dim": 4}))
    with pytest.raises(ValueError, match="this one has no classifier; use encode_video"):
        model.classify(make_video())
    assert model.encode_video(make_video()).embedding.shape == (3, 4)


def test_an_impossible_schedule_is_refused_when_the_model_is_made():
    with pytest.raises(ValueError, match="at most 3 entries for 3 layers; got 4"):
        make_model("1,1,1,1")


def test_a_loaded_model_gives_the_same_logits(tmp_path):
    model = make_model("8,4")
    save_checkpoint(
        tmp_path / "m", params=model.params, config=CONFIG, preprocessing=model.preprocessing, labels=list("abcde")
    )
    loaded = load_model(tmp_path / "m", schedule="8,4")
    assert loaded.labels == list("abcde")
    np.testing.assert_array_equal(loaded.classify(make_video()), model.classify(make_video()))


def test_measuring_alternates_and_reports_every_run():
    model = make_model()
    results = measure_models({"plain": model, "merged": model.with_schedule("8,4")}, make_video(), repeats=3)
    for result in results.values():
        assert len(result.seconds) == len(result.cpu_seconds) == 3
        assert min(result.seconds) <= result.median <= max(result.seconds)
        assert result.compile_seconds > 0
        assert result.memory_bytes is None or result.memory_bytes > make_video().nbytes
    with pytest.raises(ValueError, match="repeats is at least 1; got 0"):
        measure_models({"plain": model}, make_video(), repeats=0)


def test_a_method_is_kept_from_copy_to_copy_until_another_is_named():
    model, video = make_model(), make_video()
    tome = model.with_schedule("8", method="tome")
    assert tome.with_schedule("4").schedule.describe().startswith("tome; r = 4: ")
    assert tome.with_schedule("4", method="evit").schedule.method.name == "evit"
    assert model.with_schedule(tome.schedule).schedule.method.name == "tome"
    # Without a schedule all are the plain model, which is compiled once.
    plain = [one.with_schedule(None).get_encode_function(video.shape) for one in (tome, model)]
    assert plain[0] is plain[1]
