"""Digests of a checkpoint folder that a test has changed on purpose, so that what is behind them is tested."""

from __future__ import annotations

import json
from pathlib import Path

from vidtldr_jax.trust.digests import hash_file, hash_json


def sign_again(folder: Path) -> None:
    """Write the digests of what is in a checkpoint folder into its config.json."""
    path = folder / "config.json"
    fields = json.loads(path.read_text(encoding="utf-8"))
    fields.pop("digests", None)
    names = ("model.safetensors", "tokenizer.json")
    digests = {name: hash_file(folder / name) for name in names if (folder / name).exists()}
    path.write_text(json.dumps({**fields, "digests": {"config.json": hash_json(fields), **digests}}), encoding="utf-8")
