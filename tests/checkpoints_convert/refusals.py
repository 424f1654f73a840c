"""A check that a damaged file is refused in one line and that nothing is left behind; no torch is needed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from checkpoints_convert import ConversionError, convert_checkpoint

FOUR = np.arange(4, dtype=np.float32)


def expect_refusal(path: Path, message: str, tmp_path: Path) -> None:
    with pytest.raises(ConversionError, match=message) as caught:
        convert_checkpoint(path, tmp_path / "model", settings={"frames": 8})
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "model").exists()
    assert not list(tmp_path.glob(".model*")), "something half-written is left"
