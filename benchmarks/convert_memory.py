"""How much memory and time does a conversion of a 1.2 GB checkpoint take, from each container?

    python benchmarks/convert_memory.py          # writes benchmarks/results/convert_memory.json

Random weights of ViT-L/16 size are saved in every container that is read; each is converted in a process of its own,
whose largest resident memory (VmHWM; pages of mapped files count) is reported beside the checkpoint's size.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import flax.serialization
import flax.traverse_util
import numpy as np
import safetensors.numpy

from benchmarks.record import write_result
from checkpoints_convert.export import make_state_dict
from checkpoints_convert.families import FAMILIES
from vidtldr_jax.inference.checkpoint import find_param_shapes
from vidtldr_jax.models.config import VideoViTConfig
from vidtldr_jax.models.vivit_config import ViViTConfig

_SIZE = {"image_size": 224, "patch_size": 16, "dim": 1024, "depth": 24, "num_heads": 16, "mlp_dim": 4096}
_CLASSES = {"num_classes": 400}
_CHILD = """
import sys, time
from checkpoints_convert import convert_checkpoint
start = time.perf_counter()
convert_checkpoint(sys.argv[1], sys.argv[2], settings=dict(word.split("=") for word in sys.argv[4:]), dtype=sys.argv[3])
seconds = time.perf_counter() - start
status = dict(line.split(":", 1) for line in open("/proc/self/status"))
print(seconds, int(status["VmHWM"].split()[0]) * 1024)
"""


def make_params(config: Any) -> dict[str, np.ndarray]:
    """Returns random parameters by path."""
    rng = np.random.default_rng(0)
    return {path: rng.standard_normal(shape, np.float32) for path, shape in find_param_shapes(config).items()}


def make_sources(folder: Path) -> Iterator[tuple[str, Path, tuple[str, ...]]]:
    """Writes one container after the other; yields its name, its place and the settings that it needs."""
    import torch

    config = VideoViTConfig(num_frames=8, tubelet_size=1, pool_norm=True, **_SIZE, **_CLASSES)
    state = make_state_dict(make_params(config), config, FAMILIES["single_modality"])[0]
    tensors = {key: torch.from_numpy(values) for key, values in state.items()}
    for name, options in (("torch, zip", {}), ("torch, before 1.6", {"_use_new_zipfile_serialization": False})):
        torch.save({"module": tensors}, folder / "weights.pth", **options)
        yield name, folder / "weights.pth", ()
    del tensors
    safetensors.numpy.save_file(state, folder / "weights.safetensors")
    yield "safetensors", folder / "weights.safetensors", ()
    del state
    vivit = ViViTConfig(num_frames=32, tubelet_size=2, **_SIZE, **_CLASSES)
    tree = make_scenic_tree(make_params(vivit), vivit)
    np.savez(folder / "weights.npz", **tree)
    yield ".npz", folder / "weights.npz", ()
    nested = flax.traverse_util.unflatten_dict(tree, sep="/")
    body = flax.serialization.msgpack_serialize({"params": nested})
    del tree, nested
    (folder / "checkpoint").write_bytes(body)
    del body
    yield "msgpack", folder / "checkpoint", ()


def make_scenic_tree(params: Mapping[str, np.ndarray], config: ViViTConfig) -> dict[str, np.ndarray]:
    """Returns parameters under Scenic's names, with heads on an axis of their own."""
    heads, width = config.num_heads, config.dim // config.num_heads
    axes = {"kernel": (config.dim, heads, width), "bias": (heads, width)}
    names = {"patch_embed": "embedding", "norm1": "LayerNorm_0", "norm2": "LayerNorm_1", "head": "output_projection"}
    tree = {"cls": params["cls_token"][None, None]}
    tree["Transformer/posembed_input/pos_embedding"] = params["pos_embed"][None]
    for path, values in params.items():
        parts = path.split("/")
        if path in ("cls_token", "pos_embed"):
            continue
        if parts[0] != "encoder":
            tree[f"{names[parts[0]]}/{parts[1]}"] = values
        elif parts[1] == "norm":
            tree[f"Transformer/encoder_norm/{parts[2]}"] = values
        else:
            block = f"Transformer/encoderblock_{parts[1].removeprefix('block_')}"
            if parts[2] == "attn" and parts[3] == "proj":
                shape = (heads, width, config.dim) if parts[4] == "kernel" else values.shape
                tree[f"{block}/MultiHeadDotProductAttention_0/out/{parts[4]}"] = values.reshape(shape)
            elif parts[2] == "attn":
                tree[f"{block}/MultiHeadDotProductAttention_0/{parts[3]}/{parts[4]}"] = values.reshape(axes[parts[4]])
            elif parts[2] == "mlp":
                tree[f"{block}/MlpBlock_0/Dense_{int(parts[3][-1]) - 1}/{parts[4]}"] = values
            else:
                tree[f"{block}/{names[parts[2]]}/{parts[3]}"] = values
    return tree


def measure(source: Path, destination: Path, dtype: str, settings: tuple[str, ...]) -> dict[str, float]:
    """Converts in a process of its own."""
    command = [sys.executable, "-c", _CHILD, str(source), str(destination), dtype, *settings]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"the conversion failed: {done.stderr[-500:]}")
    seconds, memory = done.stdout.split()
    return {"seconds": float(seconds), "memory_bytes": int(memory)}


def main() -> None:
    """Measures every container and writes the result."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", type=Path, help="where the files go; 3 GB are needed")
    arguments = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory(dir=arguments.folder) as place:
        folder = Path(place)
        for name, source, settings in make_sources(folder):
            size = source.stat().st_size
            for dtype in ("float32", "bfloat16"):
                row = {"container": name, "dtype": dtype, "source_bytes": size}
                row |= measure(source, folder / "model", dtype, settings)
                row["memory_per_source"] = row["memory_bytes"] / size
                rows.append(row)
                print(json.dumps(row), flush=True)
            source.unlink()
    start = time.perf_counter()
    imports = subprocess.run([sys.executable, "-c", "import checkpoints_convert"], check=True)
    print(f"import alone: {time.perf_counter() - start:.1f} s, exit {imports.returncode}")
    print(write_result("convert_memory", {"model": {**_SIZE, **_CLASSES}, "rows": rows}))


if __name__ == "__main__":
    main()
