"""Models take uint8 pixels as well as normalised floats, and normalise them inside the one compiled function."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.data.making import write_video
from tests.inference.test_model import CONFIG, make_model, make_video
from vidtldr_jax.data import read_clips, read_frames
from vidtldr_jax.data.preprocessing import Preprocessing
from vidtldr_jax.data.transforms import normalize_frames
from vidtldr_jax.inference.checkpoint import find_param_shapes
from vidtldr_jax.inference.load import build_model
from vidtldr_jax.models.bert_config import BertConfig
from vidtldr_jax.models.clip_config import CLIPConfig
from vidtldr_jax.models.config import VideoViTConfig
from vidtldr_jax.models.umt_config import UMTConfig
from vidtldr_jax.models.vivit_config import ViViTConfig

# One float32 step of a pixel, at most 2.4e-7, through three layers.
ROUNDING = 1e-5
# What the difference of two means or of pixels taken for normalised numbers makes at least.
APART = 1e-2
SIZES = {"num_frames": 4, "image_size": 32, "patch_size": 8, "dim": 16, "depth": 3, "num_heads": 2, "mlp_dim": 32}
FAMILIES = {
    "video_vit": CONFIG,
    "vivit": ViViTConfig(**SIZES, tubelet_size=2, num_classes=5),
    "clip": CLIPConfig(**SIZES, encoding="joint", embed_dim=8),
    "umt": UMTConfig(
        task="retrieval",
        vision=VideoViTConfig(**SIZES, tubelet_size=1, final_norm=True, embed_dim=8),
        text=BertConfig(vocab_size=50, max_positions=32, dim=16, depth=2, num_heads=2, mlp_dim=32, fusion_from_layer=1),
    ),
}
OTHER = Preprocessing(num_frames=4, image_size=32, mean=(0.1, 0.2, 0.3), std=(0.5, 0.6, 0.7))


def make_pixels(batch=3):
    return np.random.default_rng(2).integers(0, 256, (batch, 4, 32, 32, 3), np.uint8)


def make_family(family, schedule=None):
    rng = np.random.default_rng(0)
    config = FAMILIES[family]
    params = {p: 0.3 * rng.normal(size=s).astype(np.float32) for p, s in find_param_shapes(config).items()}
    return build_model(params, config, preprocessing=OTHER, schedule=schedule)


def normalise(pixels, model):
    return normalize_frames(pixels, mean=model.preprocessing.mean, std=model.preprocessing.std)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("schedule", [None, "4,2"])
def test_pixels_give_what_frames_normalised_on_the_host_give(family, schedule):
    model, pixels = make_family(family, schedule), make_pixels()
    found, expected = model.encode_video(pixels), model(normalise(pixels, model))
    np.testing.assert_allclose(found.pooled, expected.pooled, atol=ROUNDING)
    np.testing.assert_array_equal(found.size.shape, expected.size.shape)
    assert np.abs(expected.pooled - model(pixels.astype(np.float32)).pooled).max() > APART


def test_what_read_frames_returns_goes_into_a_model(tmp_path):
    path = write_video(tmp_path / "clip.mp4", num_frames=12)
    model = make_model("8,4")
    frames = read_frames(path, model.preprocessing).frames
    expected = model.classify(read_clips(path, model.preprocessing))
    np.testing.assert_allclose(model.classify(frames), expected, atol=ROUNDING)


def test_bfloat16_models_normalise_in_float32():
    # Powers of two: the host's numbers to the bit.
    recipe = Preprocessing(num_frames=4, image_size=32, mean=(0.5, 0.25, 0.5), std=(0.5, 0.25, 0.125))
    model, pixels = make_model("8", dtype=jnp.bfloat16).with_preprocessing(recipe), make_pixels()
    np.testing.assert_allclose(model.classify(pixels), model.classify(normalise(pixels, model)), atol=1e-6)


def test_each_shape_and_dtype_is_compiled_once(traced_shapes):
    model = make_model("8,4")
    for _ in range(3):
        for batch in (1, 2):
            model.classify(make_pixels(batch))
            model.with_one_view().classify(make_video(batch))
    assert [shape[0] for shape in traced_shapes] == [1, 1, 2, 2]


def test_models_that_differ_in_their_mean_or_deviation_share_no_program():
    pixels, first = make_pixels(), make_model()
    second = first.with_preprocessing(OTHER)
    answers = [np.asarray(model.classify(pixels)) for model in (first, second, first)]
    np.testing.assert_array_equal(answers[0], answers[2])
    assert np.abs(answers[0] - answers[1]).max() > APART
    np.testing.assert_allclose(answers[1], second.classify(normalise(pixels, second)), atol=ROUNDING)


def test_a_compiled_function_of_a_model_normalises_with_the_model_that_it_gets():
    pixels = make_pixels()
    classify = jax.jit(lambda model, video: model(video).logits)
    for model in (make_model(), make_model().with_preprocessing(OTHER)):
        np.testing.assert_allclose(classify(model, pixels), model.classify(pixels), atol=ROUNDING)


def test_a_program_compiled_ahead_of_time_takes_pixels():
    model, pixels = make_model("8,4"), make_pixels()
    placed = model.place_video(pixels)
    assert placed.dtype == jnp.uint8
    program = model.get_encode_function(pixels.shape).lower(model.weights, placed).compile()
    np.testing.assert_array_equal(program(model.weights, placed).logits, model.classify(pixels))


def test_no_pixels_give_an_empty_result():
    assert make_model().classify(make_pixels(0)).shape == (0, 5)


@pytest.mark.parametrize("dtype", [np.int8, np.uint16, np.int32, np.int64, bool])
def test_other_whole_numbers_are_refused(dtype):
    for call in (make_model().classify, functools.partial(make_model().encode_video, trace=True)):
        with pytest.raises(ValueError) as error:
            call(make_pixels().astype(dtype))
        assert str(error.value) == (
            f"a video is normalised floats, or pixels of 0 to 255 as uint8; got dtype {np.dtype(dtype)}; "
            "convert pixels: video.astype(np.uint8)."
        )


def test_pixels_of_other_than_three_colours_are_refused():
    with pytest.raises(ValueError, match=r"uint8 pixels has 3 colours in its last axis; got shape \(3, 4, 32, 32, 1\)"):
        make_model().encode_video(make_pixels()[..., :1])


@pytest.mark.usefixtures("shapes_unchecked")
@pytest.mark.parametrize("family", FAMILIES)
def test_modules_which_know_no_preprocessing_refuse_pixels(family):
    model = make_family(family)
    with pytest.raises(ValueError, match="a module takes normalised floats; got dtype uint8; "):
        jax.eval_shape(model.module.apply, model.variables, make_pixels())
