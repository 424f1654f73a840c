"""The operators under jit, vmap, grad and eval_shape."""

from functools import partial

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import PartitionSpec

from tests.reference import oracle
from tests.reference.inputs import make_qkv, make_size, make_tokens
from vidtldr_jax import ops
from vidtldr_jax.reduction import reduce_tokens

SHAPE = (2, 10, 2, 3)


def step(tokens, query, key, value, size, *, r=3, num_protected=0, form="segment_sum"):
    """Attention, saliency, matching and merging, as a block has them."""
    state = ops.init_merge_state(tokens, trace=True)._replace(size=size)
    attended = ops.attend(query, key, value, size, with_saliency=True, num_protected=num_protected)
    tokens = tokens + attended.update.reshape(tokens.shape)
    state = state._replace(tokens=tokens)
    return reduce_tokens(state, tokens, attended.saliency, r=r, num_protected=num_protected, form=form)


def make_arguments(dtype=jnp.float32):
    qkv = [jnp.asarray(a, dtype) for a in make_qkv(SHAPE)]
    return jnp.asarray(make_tokens((2, 10, 6)), dtype), *qkv, jnp.asarray(make_size((2, 10)))


class WithAndWithoutJitTest(chex.TestCase):
    @chex.variants(with_jit=True, without_jit=True)
    def test_a_step_equals_the_oracle(self):
        tokens, query, key, value, size = make_arguments()
        merged = self.variant(step)(tokens, query, key, value, size)
        weight = oracle.saliency(oracle.attention_map(query, key))
        expected = np.asarray(tokens) + oracle.attend(query, key, value, size).reshape(tokens.shape)
        plans = oracle.match(expected, 3)
        matrix = ops.source_matrix(merged.source, merged.source_weight, num_tokens=7)
        expected, expected_size = oracle.merge(expected, size, plans, weight)
        chex.assert_trees_all_close(
            (np.asarray(merged.tokens), np.asarray(merged.size), np.asarray(matrix)),
            (expected, expected_size, oracle.trace(plans, weight)),
            atol=1e-5,
        )


def test_vmap_over_stacks_of_batches_equals_a_loop():
    stacked = [jnp.stack([a, a[::-1]]) for a in make_arguments()]
    mapped = jax.jit(jax.vmap(step))(*stacked)
    for i in range(2):
        alone = jax.jit(step)(*[a[i] for a in stacked])
        chex.assert_trees_all_close(jax.tree.map(lambda a, i=i: a[i], mapped), alone, atol=1e-6)


def test_gradients_of_a_whole_step_are_finite_and_reach_every_input():
    def value(*arguments):
        return jnp.square(step(*arguments).tokens).sum()

    for dtype in (jnp.float32, jnp.bfloat16):
        gradients = jax.jit(jax.grad(value, argnums=(0, 1, 2, 3, 4)))(*make_arguments(dtype))
        chex.assert_tree_all_finite(gradients)
        assert all(jnp.abs(g).max() > 0 for g in gradients)
        assert [g.dtype for g in gradients] == [dtype] * 4 + [jnp.float32]


def test_gradients_are_finite_at_the_edges():
    tokens, *qkv, size = make_arguments()
    flat = [jnp.zeros_like(a) for a in qkv]
    saturated = [200 * jnp.sign(a) for a in qkv]
    gradient = jax.jit(jax.grad(lambda *a: jnp.square(step(*a).tokens).sum(), argnums=(0, 1, 2, 3, 4)))
    for case in ((tokens, *flat, size), (tokens, *saturated, size), (jnp.zeros_like(tokens), *flat, size)):
        chex.assert_tree_all_finite(gradient(*case))


def test_shapes_and_dtypes_are_known_without_computing():
    for dtype in (jnp.float32, jnp.bfloat16):
        specs = [jax.ShapeDtypeStruct(a.shape, a.dtype) for a in make_arguments(dtype)]
        merged = jax.eval_shape(partial(step, r=0.35, num_protected=1, form="one_hot"), *specs)
        assert [(a.shape, a.dtype) for a in merged] == [
            ((2, 7, 6), dtype),
            ((2, 7), jnp.float32),
            ((2, 10), jnp.int32),
            ((2, 10), jnp.float32),
        ]


def test_one_shape_is_traced_once():
    counted = jax.jit(chex.assert_max_traces(step, n=1))
    chex.clear_trace_counter()
    first, *rest = make_arguments()
    for scale in (1.0, 2.0, 0.0):
        counted(scale * first, *rest)


@pytest.mark.parametrize("form", ["by_head", "blocked", "dense", "fused"])
@pytest.mark.parametrize("with_saliency", [False, True])
def test_attention_runs_and_has_gradients_where_shard_map_checks_what_varies(form, with_saliency):
    mesh = jax.sharding.Mesh(np.array(jax.devices()), ("clips",))
    _, *inputs = make_arguments()

    def attend(*inputs):
        attended = ops.attend(*inputs, form=form, with_saliency=with_saliency)
        score = 0.0 if attended.saliency is None else attended.saliency.sum()
        return attended.update, jnp.square(attended.update).sum() + score

    def differentiate(*inputs):
        return jax.grad(lambda *inputs: attend(*inputs)[1], argnums=(0, 1, 2))(*inputs)

    split = PartitionSpec("clips")
    mapped = jax.jit(jax.shard_map(differentiate, mesh=mesh, in_specs=split, out_specs=split))
    chex.assert_trees_all_close(mapped(*inputs), differentiate(*inputs), atol=1e-5)


def test_attention_received_runs_where_shard_map_checks_what_varies():
    mesh = jax.sharding.Mesh(np.array(jax.devices()), ("clips",))
    _, *inputs = make_arguments()
    split = PartitionSpec("clips")
    for form in ("by_head", "blocked"):
        attend = partial(ops.attend_received, form=form)
        mapped = jax.jit(jax.shard_map(attend, mesh=mesh, in_specs=split, out_specs=split))
        chex.assert_trees_all_close(mapped(*inputs), attend(*inputs), atol=1e-6)
