"""A check of a checkpoint folder: every file that can be compared is, and all faults are told."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from vidtldr_jax.inference.checkpoint import describe_unchecked
from vidtldr_jax.inference.checkpoint_config import (
    CONFIG_NAME,
    TOKENIZER_NAME,
    WEIGHTS_NAME,
    check_own_digest,
    read_description,
)
from vidtldr_jax.inference.checkpoint_files import read_tokenizer_text, read_weights
from vidtldr_jax.inference.errors import CheckpointError
from vidtldr_jax.trust.recovery import recover_and_tell
from vidtldr_jax.trust.verification import Verification


def verify_checkpoint_folder(place: Path) -> Verification:
    """Compare every file of a checkpoint folder with its digest, and the parameters with the architecture.

    Args:
      place: the folder.

    Returns:
      A `Verification` of kind "checkpoint".
    """
    recover_and_tell(place)
    try:
        description = read_description(place)
    except CheckpointError as error:
        return Verification("checkpoint", 0, (), (str(error),))
    digests = description.digests or {}
    weights, tokenizer = place / WEIGHTS_NAME, place / TOKENIZER_NAME
    checks: dict[str, Callable[[], Any]] = {
        CONFIG_NAME: lambda: check_own_digest(description, place),
        WEIGHTS_NAME: lambda: read_weights(weights, description.config, digest=digests.get(WEIGHTS_NAME)),
    }
    if TOKENIZER_NAME in digests or tokenizer.exists():
        checks[TOKENIZER_NAME] = lambda: read_tokenizer_text(
            tokenizer, digest=digests.get(TOKENIZER_NAME), is_expected=True
        )
    faults, num_checked = [], 0
    for name, check in checks.items():
        try:
            check()
        except CheckpointError as error:
            faults.append(str(error))
        else:
            num_checked += digests.get(name) is not None
    unchecked = [name for name in checks if digests.get(name) is None]
    is_older = description.digests is None
    notes = (describe_unchecked(place, unchecked, is_older=is_older),) if unchecked else ()
    return Verification("checkpoint", num_checked, notes, tuple(faults))
