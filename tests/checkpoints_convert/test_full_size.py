"""Full-size models with random weights against transformers' own: minutes and gigabytes, so only when asked for.

pytest -m benchmark
"""

from __future__ import annotations

from pathlib import Path

import pytest

from checkpoints_convert import convert_checkpoint
from checkpoints_convert.verify import verify_checkpoint
from tests.reference.files import require_module
from tests.reference.huggingface import FULL_SIZES, save_full_size
from vidtldr_jax.inference.load import load_model

require_module("torch")
pytestmark = pytest.mark.benchmark

TOKENS = {"ViViT-B/16x2": 3137, "VideoMAE-B": 1568}


@pytest.mark.parametrize("name", FULL_SIZES)
def test_every_hidden_state_and_the_logits_are_the_originals(tmp_path: Path, name: str):
    source = save_full_size(name, tmp_path / "hub")
    report = convert_checkpoint(source, tmp_path / "model")
    assert report.config.num_tokens == TOKENS[name]
    assert load_model(tmp_path / "model").config.num_classes == 400
    check = verify_checkpoint(source, tmp_path / "model", tolerance=1e-4)
    assert [row.name for row in check.rows] == ["embeddings", *(f"block_{n}" for n in range(12)), "logits"]
    assert max(row.max_abs for row in check.rows) < 1e-4
