"""Runs a small model on eight pretended devices and prints the results as JSON; a process of its own, since the
number of devices is fixed when JAX starts: XLA_FLAGS=--xla_force_host_platform_device_count=8 says it."""

import json
import tempfile
from pathlib import Path

import jax
import numpy as np
from click.testing import CliRunner

from benchmarks.models import choose_umt_config
from tests.cli.conftest import save_model
from tests.data.making import write_video
from tests.inference.test_model import CONFIG, make_model, make_video
from vidtldr_jax.cli.main import cli
from vidtldr_jax.inference.sharding import make_mesh
from vidtldr_jax.inference.timing import make_random_model
from vidtldr_jax.search.reranking import TextFeatures, score_pairs, score_videos

WORDS = ("all-reduce", "all-gather", "all-to-all", "collective-permute", "reduce-scatter")


def main() -> None:
    video = make_video(batch=8)
    plain, merged = make_model(), make_model("8,4")
    expected = {
        "merged": np.concatenate([merged.classify(clip[None]) for clip in video]),
        "plain": plain.classify(video),
        "source": merged.encode_video(video, trace=True).trace.source,
    }
    cases = [(model_parallel, scan_layers) for model_parallel in (1, 2) for scan_layers in (False, True)]
    result = {
        "devices": jax.device_count(),
        "cases": {f"{case[0]} {case[1]}": compare(*case, video, expected, plain) for case in cases},
    }
    errors = {
        "batch": lambda: make_model(mesh=make_mesh()).classify(video[:3]),
        "heads": lambda: make_model(mesh=make_mesh(model_parallel=8)),
        "devices": lambda: make_mesh(model_parallel=3),
        "axes": lambda: make_model(mesh=jax.sharding.Mesh(np.array(jax.devices()), ("clips",))),
    }
    result["errors"] = {}
    for name, provoke in errors.items():
        try:
            provoke()
        except ValueError as error:
            result["errors"][name] = str(error)
    result["commands"] = {f"{words}": call(words) for words in ("classify", "benchmark")}
    result["rerank"] = rerank()
    assert CONFIG.num_heads == 2
    print(json.dumps(result))


def rerank() -> dict:
    """Lets twelve texts look at three videos, on one device and spread over eight; returns how far that is apart."""
    config = choose_umt_config(is_smoke=True)
    rng = np.random.default_rng(3)
    ids, mask = rng.integers(1, 50, (12, 8)), np.ones((12, 8), np.int32)
    tokens = rng.normal(size=(3, 40, config.vision.dim)).astype(np.float32)
    pairs = {0: list(range(12)), 2: [7, 1]}
    found = []
    for mesh in (None, make_mesh(), make_mesh(model_parallel=2)):
        model = make_random_model(config, mesh=mesh)
        text = model.encode_text(ids, mask)
        features = TextFeatures(np.asarray(text.tokens), mask)
        scores = dict(score_pairs(model, lambda number: tokens[number], features, pairs, block_size=5))
        best = score_videos(model, list(tokens), features.tokens[0], mask[0])
        found.append(np.concatenate([scores[0], scores[2], best]))
    return {"apart": [float(np.abs(other - found[0]).max()) for other in found[1:]], "spread": float(found[0].std())}


def compare(model_parallel: int, scan_layers: bool, video, expected, plain) -> dict:
    """Runs one way to spread the model; returns how far it is from one device, and how things are split."""
    model = make_model("8,4", mesh=make_mesh(model_parallel=model_parallel), scan_layers=scan_layers)
    placed = model.place_video(video)
    program = model.get_encode_function(video.shape, trace=True).lower(model.weights, placed).compile()
    out, text = program(model.weights, placed), program.as_text()
    kernel = model.weights["encoder"]["blocks" if scan_layers else "block_0"]["mlp"]["fc1"]["kernel"]
    without = model.with_schedule(None).classify(video)
    pixels = np.random.default_rng(2).integers(0, 256, video.shape, np.uint8)
    alone = np.concatenate([make_model("8,4").classify(clip[None]) for clip in pixels])
    sent = model.place_video(pixels)
    return {
        "apart": float(np.abs(np.asarray(out.logits) - expected["merged"]).max()),
        "plain_apart": float(np.abs(np.asarray(without) - expected["plain"]).max()),
        "pixels_apart": float(np.abs(np.asarray(model.classify(pixels)) - alone).max()),
        "pixels_per_device": [str(sent.dtype), *sent.addressable_shards[0].data.shape],
        "same_sources": bool(np.array_equal(out.trace.source, expected["source"])),
        "devices_of_logits": len(out.logits.sharding.device_set),
        "clips_per_device": out.logits.addressable_shards[0].data.shape[0],
        "mlp_dim_per_device": kernel.addressable_shards[0].data.shape[-1],
        "talk": {word: text.count(f"{word}(") + text.count(f"{word}-start(") for word in WORDS},
        "same_params": all(
            bool(np.array_equal(a, b))
            for a, b in zip(jax.tree.leaves(model.params), jax.tree.leaves(plain.params), strict=True)
        ),
    }


def call(command: str) -> dict[str, dict]:
    """Runs a command with one and with all eight devices, five videos in batches of three."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        model = str(save_model(folder / "model"))
        clips = [str(write_video(folder / f"{number}.mp4", num_frames=12)) for number in range(5)]
        words = {
            "classify": [*clips, "--batch-size", "3", "--no-cache"],
            "benchmark": ["--batch-size", "3", "--repeats", "1", "--no-search"],
        }[command]
        found: dict[str, Any] = {}
        is_lines = command == "classify"
        for devices in ("1", "8"):
            line = [command, *words, "--model", model, "--schedule", "4", "--devices", devices, "--json"]
            finished = CliRunner().invoke(cli, line)
            assert finished.exit_code == 0, finished.output
            found[devices] = (
                [json.loads(part) for part in finished.stdout.splitlines()] if is_lines else json.loads(finished.stdout)
            )
        return found


if __name__ == "__main__":
    main()
