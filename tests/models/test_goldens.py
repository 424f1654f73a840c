"""The official classifiers' logits from their weights, carried over here by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.reference.classifiers import CLASSIFIERS, read_classifier
from vidtldr_jax import ops
from vidtldr_jax.models import VideoViT


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_logits_sizes_and_sources_equal_the_original(name):
    config, params, golden = read_classifier(name)
    video = jnp.asarray(golden["video"].transpose(0, 1, 3, 4, 2))
    r = tuple(int(count) for count in golden["r"])
    plain = jax.jit(VideoViT(config).apply)({"params": params}, video)
    np.testing.assert_allclose(plain.logits, golden["logits_plain"], atol=1e-5)
    merged = jax.jit(lambda p, v: VideoViT(config, r=r).apply({"params": p}, v, trace=True))(params, video)
    np.testing.assert_allclose(merged.logits, golden["logits_merged"], atol=1e-5)
    np.testing.assert_allclose(merged.size, golden["size"], atol=1e-5)
    matrix = ops.source_matrix(merged.trace.source, merged.trace.weight, num_tokens=merged.size.shape[1])
    np.testing.assert_array_equal(np.asarray(matrix) != 0, golden["source"] != 0)
    np.testing.assert_allclose(matrix, golden["source"], atol=1e-5)
