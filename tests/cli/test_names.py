"""The names that help and completion show are those of the rooms that define them."""

import pytest

from checkpoints_convert.convert import DTYPES
from checkpoints_convert.families import FAMILIES
from vidtldr_jax.cli import names
from vidtldr_jax.evaluation import answers, heads, question_answering, retrieval
from vidtldr_jax.export import program, stablehlo
from vidtldr_jax.inference.load import SHIPPED_MODELS
from vidtldr_jax.models.presets import PRESETS
from vidtldr_jax.reduction.methods import DEFAULT_METHOD, METHODS
from vidtldr_jax.reduction.published import SIZES
from vidtldr_jax.search import reranking

DEFINED = {
    "METHODS": tuple(METHODS),
    "DEFAULT_METHOD": DEFAULT_METHOD.name,
    "PRESETS": tuple(PRESETS),
    "SHIPPED_MODELS": tuple(SHIPPED_MODELS),
    "PUBLISHED_SIZES": tuple(SIZES),
    "CONVERTED_FAMILIES": tuple(FAMILIES),
    "CONVERTED_DTYPES": DTYPES,
    "EXPORTED_OUTPUTS": program.OUTPUTS,
    "PLATFORMS": tuple(program.PLATFORMS),
    "DEFAULT_PLATFORMS": stablehlo.DEFAULT_PLATFORMS,
    "AVERAGES": heads.AVERAGES,
    "QUESTIONS_PER_RUN": answers.BLOCK_SIZE,
    "PAIRS_PER_RUN": reranking.BLOCK_SIZE,
    "K_TEST": retrieval.K_TEST,
    "MAX_TEXT_TOKENS": retrieval.MAX_TEXT_TOKENS,
}


@pytest.mark.parametrize("name", [name for name in vars(names) if name.isupper()])
def test_each_equals_what_its_room_defines(name):
    assert getattr(names, name) == DEFINED[name]


def test_both_kinds_of_candidates_are_as_many_by_default():
    assert retrieval.K_TEST == question_answering.K_TEST
