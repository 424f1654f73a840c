"""One of two processes that run small models together, as two hosts do: python -m tests.inference.two_processes PORT
NUMBER FOLDER. Each has four pretended devices, and writes what it finds to FOLDER/NUMBER.json and .npz."""

import json
import sys
from pathlib import Path

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh

from benchmarks.models import choose_umt_config
from tests.inference import test_stream
from tests.inference.test_model import make_model, make_video
from vidtldr_jax.cli.group import CommandError
from vidtldr_jax.cli.options import choose_mesh
from vidtldr_jax.evaluation import evaluate_classification
from vidtldr_jax.inference import VideoModel, encode_videos, fetch_share, make_mesh
from vidtldr_jax.inference.stream import choose_batch_size
from vidtldr_jax.inference.timing import make_random_model
from vidtldr_jax.search.reranking import score_videos

CASES = [(model_parallel, scan_layers) for model_parallel in (1, 2) for scan_layers in (False, True)]
NUM_PROCESSES, NUM_DEVICES = 2, 4
WORDS = np.random.default_rng(4).integers(1, 50, (3, 8))


def make_clips() -> np.ndarray:
    """Returns the clips of both processes; each passes its half."""
    return make_video(batch=16)


def list_videos(folder: Path) -> list[str]:
    """Lists the videos of both processes, one of which can't be read: four for one, three for the other."""
    return sorted(str(path) for path in folder.glob("*.mp4"))


def make_retrieval_clips(config) -> np.ndarray:
    vision = config.vision
    shape = (8, vision.num_frames, vision.image_size, vision.image_size, vision.num_channels)
    return np.random.default_rng(5).normal(size=shape).astype(np.float32)


def main(port: str, number: int, folder: Path) -> None:
    address = f"127.0.0.1:{port}"
    jax.distributed.initialize(address, NUM_PROCESSES, number, coordinator_bind_address=address)
    facts = {"devices": [jax.local_device_count(), jax.device_count()], "meshes": describe_meshes()}
    rows: dict[str, np.ndarray] = {}
    for model_parallel, scan_layers in CASES:
        mesh = make_mesh(model_parallel=model_parallel)
        rows |= run_clips(f"{model_parallel} {scan_layers}", make_model("8,4", mesh=mesh, scan_layers=scan_layers))
    rows |= run_clips("interleaved", make_model("8,4", mesh=make_interleaved_mesh()))
    for model_parallel in (1, 2):
        mesh = make_mesh(model_parallel=model_parallel)
        rows |= read_texts(f"texts {model_parallel}", mesh)
        found, facts[f"files {model_parallel}"] = encode_files(mesh, folder)
        rows |= {f"files {model_parallel} {Path(path).name}": row for path, row in found.items()}
    facts["errors"] = {name: catch(provoke) for name, provoke in list_errors().items()}
    if number == 1:  # the other process does nothing of the kind meanwhile
        rows |= {"alone": encode_alone(folder)}
    np.savez(folder / f"{number}.npz", **rows)
    (folder / f"{number}.json").write_text(json.dumps(facts))


def describe_meshes() -> dict:
    """Tells to which processes devices belong, by place on the mesh."""

    def owners(mesh: Mesh) -> list:
        return [[device.process_index for device in row] for row in mesh.devices]

    return {
        "all": owners(make_mesh()),
        "two along model": owners(make_mesh(model_parallel=2)),
        "interleaved devices": owners(make_mesh(interleave_devices(), model_parallel=2)),
        "local": owners(make_mesh(jax.local_devices())),
        "of --devices": owners(choose_mesh(NUM_DEVICES)),
    }


def interleave_devices() -> list[jax.Device]:
    """Lists devices of both processes in turn."""
    return list(np.array(jax.devices()).reshape(NUM_PROCESSES, NUM_DEVICES).T.flat)


def make_interleaved_mesh() -> Mesh:
    return Mesh(np.array(interleave_devices()).reshape(-1, 1), ("data", "model"))


def run_clips(case: str, model: VideoModel) -> dict[str, np.ndarray]:
    """Runs this process's half of the clips, merged and plain; also the logits of all clips, gathered."""
    share = np.array_split(make_clips(), NUM_PROCESSES)[jax.process_index()]
    out = model.encode_video(share)
    assert not out.logits.is_fully_addressable
    mine = fetch_share(out)
    found = {"logits": mine.logits, "pooled": mine.pooled, "size": mine.size}
    found["plain"] = fetch_share(model.with_schedule(None).classify(share))
    found["all"] = multihost_utils.process_allgather(out.logits, tiled=True)
    found["again"] = fetch_share(model.with_params(model.params).classify(share))
    return {f"{case} {name}": value for name, value in found.items()}


def read_texts(case: str, mesh: Mesh) -> dict[str, np.ndarray]:
    """Compares this process's half of the clips with texts."""
    config = choose_umt_config(is_smoke=True)
    model = make_random_model(config, "20", mesh=mesh)
    share = np.array_split(make_retrieval_clips(config), NUM_PROCESSES)[jax.process_index()]
    video, text = model.encode_video(share), model.encode_text(WORDS, np.ones_like(WORDS))
    found = {"similarity": fetch_share(model.similarity(video, text)), "match": fetch_share(model.match(video, text))}
    tokens, text_tokens = fetch_share(video.tokens), fetch_share(text.tokens)
    found["scores"] = score_videos(model, list(tokens[:3]), text_tokens[0], np.ones_like(WORDS)[0])
    return {f"{case} {name}": value for name, value in found.items()}


def encode_files(mesh: Mesh, folder: Path) -> tuple[dict[str, np.ndarray], dict]:
    """Encodes this process's share of the files; returns rows by path, and what was noted on the way."""
    model = test_stream.make_model(mesh=mesh)
    paths = list_videos(folder)[jax.process_index() :: NUM_PROCESSES]
    owners: set[int] = set()
    encode = VideoModel.encode_video

    def watch(model: VideoModel, video, **options):
        owners.update(device.process_index for device in model.mesh.devices.flat)
        return encode(model, video, **options)

    VideoModel.encode_video = watch
    try:
        found = list(encode_videos(model, paths, output="logits", batch_size=3))
    finally:
        VideoModel.encode_video = encode
    rows = {video.path: video.outputs for video in found if video.error is None}
    notes = {
        "in order": [video.path for video in found] == paths,
        "errors": [Path(video.path).name for video in found if video.error is not None],
        "owners": sorted(owners),
        "batch": choose_batch_size(model, 100, 3),
        "nothing": len(list(encode_videos(model, [], output="logits", batch_size=3))),
    }
    return rows, notes


def encode_alone(folder: Path) -> np.ndarray:
    model = test_stream.make_model(mesh=make_mesh())
    (found,) = encode_videos(model, list_videos(folder)[:1], output="logits", batch_size=1)
    return found.outputs


def list_errors() -> dict:
    """Lists wrong uses by name."""
    model = make_model(mesh=make_mesh())
    crossing = Mesh(np.array(interleave_devices()).reshape(-1, 2), ("data", "model"))
    return {
        "share": lambda: model.classify(make_clips()[:3]),
        "model_parallel": lambda: make_mesh(model_parallel=8),
        "crossing": lambda: make_model(mesh=crossing),
        "unequal": lambda: make_mesh(jax.devices()[:6]),
        "other": lambda: make_mesh([d for d in jax.devices() if d.process_index != jax.process_index()]),
        "evaluation": lambda: evaluate_classification(model, "list.csv"),
        "whole": lambda: np.asarray(model.classify(make_clips()[:4])),
        "devices": lambda: choose_mesh(8),
    }


def catch(provoke) -> str:
    try:
        provoke()
    except (ValueError, RuntimeError, CommandError) as error:
        return str(error)
    return "no error"


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), Path(sys.argv[3]))
