"""The fidelity benchmark with tiny random encoders on two made clips, in seconds."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from benchmarks.fidelity_run import Setting, run
from tests.data.making import write_video
from vidtldr_jax.inference.model import VideoModel
from vidtldr_jax.inference.timing import make_random_model
from vidtldr_jax.models.clip_config import CLIPConfig
from vidtldr_jax.models.vivit_config import ViViTConfig

_SIZES = {"num_frames": 2, "image_size": 16, "patch_size": 8, "dim": 8, "depth": 4, "num_heads": 2, "mlp_dim": 8}
SMOKE_PLAN = (
    Setting("dinov2-s14", 2, 16, methods=("vidtldr",), budgets=(50,)),
    Setting("clip-b16", 2, 16, methods=("rlt",), budgets=(50,)),
)


def open_random(setting: Setting, is_joint: bool) -> VideoModel:
    """Makes a tiny encoder of the same kind; its weights mean nothing."""
    if setting.encoder.startswith("dinov2"):
        return make_random_model(ViViTConfig(tubelet_size=1, gelu="exact", **_SIZES), scan_layers=True)
    encoding = "joint" if is_joint else "per_frame"
    return make_random_model(CLIPConfig(encoding=encoding, embed_dim=8, **_SIZES), scan_layers=True)


def run_smoke() -> dict[str, Any]:
    """Runs both stages and returns the result."""
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        paths = {
            name: write_video(place / f"{name}.mp4", num_frames=8, first_number=number)
            for name, number in (("one", 0), ("other", 100))
        }
        about = {
            "weights": {"dinov2-s14": "random", "clip-b16": "random"},
            "clips": [{"name": name, "file": path.name, "from": "made"} for name, path in paths.items()],
            "absent": [],
        }
        return run(SMOKE_PLAN, paths, open_random, about, stage="all", repeats=1, cache=place)
