"""What the package wrote itself: checkpoints, indexes, records, tables of times, training states, exports."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Any, Final

import numpy as np

from scripts.fuzz.fuzz_class import FuzzClass
from vidtldr_jax.inference.checkpoint import Checkpoint, CheckpointError, read_checkpoint
from vidtldr_jax.inference.latency_cache import read_table, write_table
from vidtldr_jax.inference.params import find_param_shapes
from vidtldr_jax.search.arrow_parts import Feature, FeaturesError
from vidtldr_jax.search.features import FeatureStore, read_features
from vidtldr_jax.train.checkpoints import Checkpoints
from vidtldr_jax.train.errors import TrainError
from vidtldr_jax.train.steps import TrainState
from vidtldr_jax.trust.records import Records, RecordsError

_RUN: Final = {"checkpoint_sha256": "0" * 64, "schedule": "100,40", "preprocessing": {"num_frames": 4}}
_KEYS: Final = tuple(f"{n}.mp4" for n in range(6))
_SAME: Final = "the same content to the bit, or one line that names the file"


def _make_checkpoint(folder: Path) -> None:
    from tests.cli.umt_sets import make_umt

    made = make_umt(folder, "retrieval")
    (folder / "vocab.txt").unlink()
    made.rename(folder / "model")


def _is_same_checkpoint(value: Checkpoint, expected: Checkpoint) -> bool:
    if value._replace(params={}) != expected._replace(params={}) or value.params.keys() != expected.params.keys():
        return False
    return all(np.array_equal(value.params[path], expected.params[path]) for path in expected.params)


def _make_older(path: Path, digests: str) -> None:
    """Let a JSON file be of format 1, which had no digests; one that is too damaged stays as it is."""
    with contextlib.suppress(ValueError, RecursionError):
        head = json.loads(path.read_bytes())
        if isinstance(head, dict):
            path.write_text(json.dumps({name: head[name] for name in head if name != digests} | {"format": 1}))


def _is_sound_checkpoint(value: Checkpoint, expected: Checkpoint) -> bool:
    return find_param_shapes(value.config) == {path: array.shape for path, array in value.params.items()} and all(
        np.isfinite(np.asarray(array, np.float32)).all() for array in value.params.values()
    )


def _make_index(folder: Path) -> None:
    import jax.numpy as jnp

    rng = np.random.default_rng(0)
    with FeatureStore(folder / "index", _RUN) as store:
        for start in (0, 3):
            store.append(
                [
                    Feature(
                        key,
                        f"videos/{key}",
                        rng.standard_normal(8).astype(np.float32),
                        np.asarray(jnp.asarray(rng.standard_normal((3, 8)), jnp.bfloat16)),
                    )
                    for key in _KEYS[start : start + 3]
                ]
            )
    (folder / "index" / "lock").unlink()


def _read_index(folder: Path) -> list[tuple[str, str, bytes, bytes]]:
    store = read_features(folder / "index")
    embeddings = store.read_embeddings()
    return [
        (key, store.get_name(key), row.tobytes(), np.asarray(store.read_tokens(key)).tobytes())
        for key, row in zip(store.keys, embeddings)
    ]


def _is_part_of_index(value: Any, expected: Any) -> bool:
    return all(row in expected for row in value)


def _drop_index_digests(folder: Path) -> None:
    """Name the files of an index as versions without digests did, so that only the checks of content are left."""
    index = folder / "index"
    for path in list(index.glob("part-*.arrow")):
        path.rename(index / f"{path.name[:11]}.arrow")
    _make_older(index / "description.json", "sha256")


def _are_rows(value: Any, expected: Any) -> bool:
    sizes = [(len(embedding), len(tokens)) for _, _, embedding, tokens in value]
    return len(set(sizes)) <= 1 and all(np.isfinite(np.frombuffer(row[2], np.float32)).all() for row in value)


def _make_records(folder: Path) -> None:
    with Records(folder / "records.jsonl", _RUN) as records:
        for number, key in enumerate(_KEYS):
            records.append(key, {"label": number, "logits": [0.5, number / 3], "error": None})


def _read_records(folder: Path) -> dict[str, Any]:
    with Records(folder / "records.jsonl", _RUN) as records:
        return records.found


def _are_records(value: dict[str, Any], expected: dict[str, Any]) -> bool:
    return all(isinstance(key, str) and isinstance(record, dict) for key, record in value.items())


def _make_state() -> TrainState:
    rng = np.random.default_rng(0)
    # Large enough that Orbax stores it by itself, without the checksums of what it stores in its nodes.
    params = {"head/kernel": rng.standard_normal((64, 48)).astype(np.float32), "head/bias": np.zeros(48, np.float32)}
    return TrainState(params, {}, (np.int32(3), {path: value * 2 for path, value in params.items()}), np.int32(3))


def _make_states(folder: Path) -> None:
    with Checkpoints(folder / "states") as states:
        states.save(3, _make_state())


def _read_state(folder: Path) -> list[bytes]:
    import jax

    like = jax.tree.map(np.zeros_like, _make_state())
    with Checkpoints(folder / "states") as states:
        return [np.asarray(leaf).tobytes() for leaf in jax.tree.leaves(states.restore(3, like))]


def _drop_state_digests(folder: Path) -> None:
    """Let a training state be of a version that wrote the files of Orbax alone."""
    place = next((folder / "states").iterdir())
    (place / "digests.json").unlink(missing_ok=True)
    for path in list((place / "state").iterdir()):
        path.rename(place / path.name)
    (place / "state").rmdir()


_PLACE: Final = {"format": 1, "architecture": {"depth": 2}, "batch_size": 1}
_TIMES: Final = {"pieces": [[64, 0.25], [32, 0.125]], "floor": 0.01}


def _read_times(folder: Path) -> Any:
    return read_table(folder, _PLACE)


OWN_CLASSES: Final = (
    FuzzClass(
        name="checkpoint folder",
        answer=_SAME,
        make=_make_checkpoint,
        structures={
            "model/model.safetensors": ("safetensors", 4),
            "model/config.json": ("json", 4),
            "model/tokenizer.json": ("json", 2),
        },
        read=lambda folder: read_checkpoint(folder / "model"),
        is_right=_is_same_checkpoint,
        documented=(CheckpointError, OSError),
    ),
    FuzzClass(
        name="checkpoint without digests",
        answer="finite weights that fit their architecture, or one line that names the file",
        make=_make_checkpoint,
        structures={
            "model/model.safetensors": ("safetensors", 4),
            "model/config.json": ("json", 6),
            "model/tokenizer.json": ("json", 1),
        },
        read=lambda folder: read_checkpoint(folder / "model"),
        is_right=_is_sound_checkpoint,
        documented=(CheckpointError, OSError),
        reseal=lambda folder: _make_older(folder / "model" / "config.json", "digests"),
    ),
    FuzzClass(
        name="index",
        answer="its rows to the bit, or one line that names the file",
        make=_make_index,
        structures={"index/part-*.arrow": ("bytes", 4), "index/description.json": ("json", 1)},
        read=_read_index,
        is_right=_is_part_of_index,
        documented=(FeaturesError, OSError),
    ),
    FuzzClass(
        name="index without digests",
        answer="rows of one shape, or one line that names the file",
        make=_make_index,
        structures={"index/part-*.arrow": ("bytes", 4), "index/description.json": ("json", 1)},
        read=_read_index,
        is_right=_are_rows,
        documented=(FeaturesError, OSError),
        reseal=_drop_index_digests,
    ),
    FuzzClass(
        name="records",
        answer="typed records, or one line that names the file",
        make=_make_records,
        structures={"records.jsonl": ("lines", 1)},
        read=_read_records,
        is_right=_are_records,
        documented=(RecordsError, OSError),
    ),
    FuzzClass(
        name="table of times",
        answer="the table, or none, so that times are measured again",
        make=lambda folder: write_table(folder, _PLACE, _TIMES),
        structures={"*.json": ("json", 1)},
        read=_read_times,
        is_right=lambda value, expected: value in (None, expected),
        documented=(),
    ),
    FuzzClass(
        name="training state",
        answer=_SAME,
        make=_make_states,
        structures={"states/**/*": ("bytes", 1), "states/*/state/**/d/*": ("bytes", 4)},
        read=_read_state,
        is_right=lambda value, expected: value == expected,
        documented=(TrainError, OSError),
    ),
    FuzzClass(
        name="training state without digests",
        answer="numbers of the right shapes, or one line that names the file",
        make=_make_states,
        structures={"states/*/state/**/*": ("bytes", 1), "states/*/state/**/d/*": ("bytes", 4)},
        read=_read_state,
        is_right=lambda value, expected: [*map(len, value)] == [*map(len, expected)],
        documented=(TrainError, OSError),
        reseal=_drop_state_digests,
    ),
)
