"""Pixels on the device are normalised as on the host."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vidtldr_jax.data.preprocessing import Preprocessing
from vidtldr_jax.data.transforms import normalize_frames
from vidtldr_jax.inference.pixels import normalise_pixels

RECIPE = Preprocessing(num_frames=2, image_size=4, mean=(0.4, 0.5, 0.6), std=(0.2, 0.3, 0.4))


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_each_colour_has_its_own_mean_and_deviation(dtype):
    clips = np.random.default_rng(0).integers(0, 256, (3, 2, 4, 5, 3)).astype(dtype)
    expected = normalize_frames(clips, mean=RECIPE.mean, std=RECIPE.std)
    found = jax.jit(lambda clips: normalise_pixels(clips, RECIPE))(jnp.asarray(clips))
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)
