"""Pixels on the device are normalised as on the host."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vidtldr_jax.data.preprocessing import Preprocessing
from vidtldr_jax.data.transforms import normalize_frames
from vidtldr_jax.inference.pixels import normalise_pixels

RECIPE = Preprocessing(num_frames=2, image_size=4, mean=(0.4, 0.5, 0.6), std=(0.2, 0.3, 0.4))
IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
CLIP = ((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711))
HALVES = ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
AS_THEY_ARE = ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
EVERY_VALUE = np.repeat(np.arange(256, dtype=np.uint8).reshape(1, 4, 8, 8, 1), 3, axis=-1)


def draw_recipes(count):
    """Half of the means are pixels, rounded: what is left after the subtraction is nothing but rounding."""
    rng = np.random.default_rng(0)
    for number in range(count):
        mean = rng.integers(0, 256, 3) / 255 if number % 2 else rng.uniform(0, 1, 3)
        yield tuple(mean.tolist()), tuple(rng.uniform(0.05, 1, 3).tolist())


def count_steps(one, other):
    """Return how many float32 numbers lie between two arrays' entries, at most; signs count as order."""
    bits = [array.view(np.int32).astype(np.int64) for array in (one, other)]
    first, second = (np.where(part < 0, -(2**31) - part, part) for part in bits)
    return np.abs(first - second).max()


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_each_colour_has_its_own_mean_and_deviation(dtype):
    clips = np.random.default_rng(0).integers(0, 256, (3, 2, 4, 5, 3)).astype(dtype)
    expected = normalize_frames(clips, mean=RECIPE.mean, std=RECIPE.std)
    found = jax.jit(lambda clips: normalise_pixels(clips, mean=RECIPE.mean, std=RECIPE.std))(jnp.asarray(clips))
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


# The tests' compiler leaves out what users' has, such as fused multiply-adds.
@pytest.mark.usefixtures("all_optimizations")
@pytest.mark.parametrize("compile_first", [False, True], ids=["by operations", "compiled"])
@pytest.mark.parametrize("recipe", [IMAGENET, CLIP, HALVES, AS_THEY_ARE, *draw_recipes(12)])
def test_every_value_of_every_colour_is_the_hosts_or_the_float_next_to_it(recipe, compile_first):
    mean, std = recipe

    def normalise(clips):
        return normalise_pixels(clips, mean=mean, std=std)

    found = np.asarray((jax.jit(normalise) if compile_first else normalise)(jnp.asarray(EVERY_VALUE)))
    assert count_steps(found, normalize_frames(EVERY_VALUE, mean=mean, std=std)) <= 1


def test_steps_are_counted_across_zero():
    numbers = np.array([-1e-45, 0.0, 1.0], np.float32)
    assert count_steps(numbers, np.nextafter(numbers, np.float32(2))) == 1
    assert count_steps(numbers[:1], np.array([1e-45], np.float32)) == 2
