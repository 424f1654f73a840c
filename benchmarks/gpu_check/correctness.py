"""Step 1: is every form of attention right on this device, and are whole models?

Attention is compared with a float64 oracle on the CPU, in float32 with all bits ("highest") and as JAX multiplies by
itself, and in bfloat16; models of the original implementations with the logits that those gave. A form that can't run
is a row that says why.
"""

from __future__ import annotations

import functools
import importlib.util
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.gpu_check.programs import NO_TIME, explain, make_side_by_side
from benchmarks.gpu_check.sizes import Size
from benchmarks.gpu_check.steps import Deadline
from tests.reference import oracle
from tests.reference.classifiers import CLASSIFIERS, read_classifier
from tests.reference.inputs import make_qkv, make_size
from vidtldr_jax import ops
from vidtldr_jax.models import VideoViT
from vidtldr_jax.ops.attention_forms import FORM_NAMES, attend_fused, attend_kernel
from vidtldr_jax.ops.attention_trial import is_usable


class Precision(NamedTuple):
    """How numbers are multiplied, and how far results may be off.

    Attributes:
      dtype: of queries, keys, values, weights and products.
      products: JAX's name of the precision of products.
      update: largest error of an update, whose values are about 1.
      saliency: largest error of a saliency, which is from 0 to 1.
      logits: largest error of a golden model's logits, in units of the largest logit.
    """

    dtype: str
    products: str
    update: float
    saliency: float
    logits: float


# A sum of a thousand products in float32; products of 10 bits (TF32) or 8 (bfloat16), whose logits are about 10.
PRECISIONS: Final = (
    Precision("float32", "highest", update=1e-4, saliency=1e-3, logits=1e-4),
    Precision("float32", "default", update=0.05, saliency=0.05, logits=0.05),
    Precision("bfloat16", "default", update=0.05, saliency=0.02, logits=0.1),
)
_CHANNELS: Final = 64
_NUM_HEADS: Final = 3


class Case(NamedTuple):
    """One result to compare.

    Attributes:
      facts: plain data that names it.
      compute: computes it on the device; name of a number -> array.
      expected: the same numbers of the reference.
      allowed: name -> largest error.
    """

    facts: Mapping[str, Any]
    compute: Callable[[], dict[str, jax.Array]]
    expected: Mapping[str, np.ndarray]
    allowed: Mapping[str, float]


def run(size: Size, deadline: Deadline, excluded: Sequence[str]) -> Iterator[dict[str, Any]]:
    """Check attention, the kernels' own trial, and models of the originals.

    Args:
      size: what to check.
      deadline: until when.
      excluded: forms of attention to leave out.

    Yields:
      Rows of plain data, each with "ok" and what was apart, or why it failed.
    """
    forms = [form for form in FORM_NAMES if form != "auto" and form not in excluded]
    yield from check_trials(excluded)
    yield from check_cases(make_attention_cases(size.oracle_tokens, forms), deadline)
    if importlib.util.find_spec("torch") is None:
        yield {"check": "golden", "left_out": "torch, which reads the originals' weights, is not installed"}
    else:
        yield from check_cases(make_golden_cases(forms), deadline)


def check_cases(cases: Iterable[Case], deadline: Deadline) -> Iterator[dict[str, Any]]:
    """Compute cases side by side and compare each."""
    named = dict(enumerate(cases))
    found = make_side_by_side({number: case.compute for number, case in named.items()}, deadline)
    for number, case in named.items():
        yield {**case.facts, **compare(found[number], case)}


def check_trials(excluded: Sequence[str]) -> Iterator[dict[str, Any]]:
    """Run the trial that decides whether kernels are used on a device."""
    for form, attend in (("kernel", attend_kernel), ("fused", attend_fused)):
        for dtype in ("float32", "bfloat16"):
            if form in excluded or (form == "fused" and dtype == "float32"):
                continue
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                is_ok = is_usable(form, attend, dtype, _CHANNELS)
            row = {"check": "trial", "form": form, "dtype": dtype, "ok": is_ok}
            yield row if is_ok else row | {"failed": str(caught[0].message)[:300] if caught else "no warning"}


def make_attention_cases(token_counts: Sequence[int], forms: Sequence[str]) -> Iterator[Case]:
    """Yield attention with sizes and saliency, in every form and precision, beside the oracle's."""
    for num_tokens in token_counts:
        shape = (2, num_tokens, _NUM_HEADS, _CHANNELS)
        query, key, value = make_qkv(shape)
        inputs = (query, key / _CHANNELS**0.5 * 4, value, make_size(shape[:2]))  # logits of about 10
        for precision in PRECISIONS:
            given = [jnp.asarray(array, precision.dtype) for array in inputs[:3]] + [jnp.asarray(inputs[3])]
            expected = find_expected(*(np.asarray(array, np.float64) for array in given))
            allowed = {"update": precision.update, "saliency": precision.saliency}
            for form in forms:
                facts = {"check": "attention", "form": form, "tokens": num_tokens}
                facts |= {"dtype": precision.dtype, "products": precision.products}
                compute = functools.partial(compute_attention, given, form, precision.products)
                yield Case(facts, compute, expected, allowed)


def find_expected(query: np.ndarray, key: np.ndarray, value: np.ndarray, size: np.ndarray) -> dict[str, np.ndarray]:
    """Return the oracle's update and saliency, in float64."""
    saliency = oracle.saliency(oracle.attention_map(query, key))
    return {"update": oracle.attend(query, key, value, size), "saliency": saliency}


def compute_attention(given: Sequence[jax.Array], form: str, products: str) -> dict[str, jax.Array]:
    """Compile and run attention in one form."""
    attend = functools.partial(ops.attend, with_saliency=True, form=form)
    with jax.default_matmul_precision(products):
        return jax.jit(lambda *arrays: attend(*arrays)._asdict())(*given)


def make_golden_cases(forms: Sequence[str]) -> Iterator[Case]:
    """Yield the originals' classifiers, plain and merged, beside the logits that the originals gave."""
    for name in CLASSIFIERS:
        config, params, golden = read_classifier(name)
        video = jnp.asarray(golden["video"].transpose(0, 1, 3, 4, 2))
        for kind, r in (("plain", ()), ("merged", tuple(int(count) for count in golden["r"]))):
            expected = {"logits": golden[f"logits_{kind}"]}
            for precision in (PRECISIONS[0], PRECISIONS[-1]):
                allowed = {"logits": precision.logits * float(np.abs(expected["logits"]).max())}
                for form in forms:
                    facts = {"check": f"golden {name}, {kind}", "form": form}
                    facts |= {"dtype": precision.dtype, "products": precision.products}
                    module = VideoViT(config, r=r, form=form, dtype=precision.dtype)
                    compute = functools.partial(compute_logits, module, params, video, precision.products)
                    yield Case(facts, compute, expected, allowed)


def compute_logits(module: VideoViT, params: Any, video: jax.Array, products: str) -> dict[str, jax.Array]:
    """Compile and run a classifier."""
    with jax.default_matmul_precision(products):
        return {"logits": jax.jit(module.apply)({"params": params}, video).logits}


def compare(found: Mapping[str, jax.Array] | str, case: Case) -> dict[str, Any]:
    """Return whether numbers are near enough to those of the reference, and how far the furthest is."""
    if isinstance(found, str):
        return explain(found) if found == NO_TIME else {"ok": False, "failed": found}
    apart = {
        name: float(np.abs(np.asarray(found[name], np.float64) - expected).max())
        for name, expected in case.expected.items()
    }
    # What is not a number is not near: a comparison with NaN is False.
    is_near = all(apart[name] <= case.allowed[name] for name in apart)
    rounded = {name: float(f"{value:.2e}") if np.isfinite(value) else None for name, value in apart.items()}
    return {"ok": is_near, "apart": rounded, "allowed": dict(case.allowed)}
