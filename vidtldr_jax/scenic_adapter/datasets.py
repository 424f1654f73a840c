"""Real video files as a data set of Scenic, listed in manifests: no TFRecords, no DMVR.

    config.dataset_name = "video_manifest_dataset"
    config.dataset_configs.manifests = {"train": "train.csv", "validation": "val.csv", "test": "val.csv"}

Batches are those of Scenic's `video_tfrecord_dataset`: `inputs` `[devices, batch, T, Y, X, 3]`, `label` one-hot,
`batch_mask`. Of the test split all views of a video (clips x crops) follow each other along the batch. Importing this
file registers it.

Fields of `dataset_configs`: `manifests`, `root`, `num_classes` or `class_splits` with `split_names` (label columns),
`labels_file` (one class name per line; else labels are numbers), `num_frames`, `stride`, `min_resize`, `crop_size`,
`zero_centering`, `num_test_clips`, `do_three_spatial_crops`, `test_batch_size`, `augment`, `use_mirror`.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final

import jax
import jax.numpy as jnp
import numpy as np
from absl import logging

from vidtldr_jax.data.clip import read_frames
from vidtldr_jax.data.errors import VideoReadError
from vidtldr_jax.data.loading import map_in_thread
from vidtldr_jax.data.manifest import ManifestEntry, read_manifest
from vidtldr_jax.data.preprocessing import Preprocessing
from vidtldr_jax.data.random_clip import read_random_clip
from vidtldr_jax.data.transforms import normalize_frames
from vidtldr_jax.scenic_adapter.availability import require_scenic
from vidtldr_jax.scenic_adapter.config_check import check_manifest_fields
from vidtldr_jax.scenic_adapter.settings import read_preprocessing
from vidtldr_jax.trust.harmless import make_harmless
from vidtldr_jax.trust.lines import read_exact, split_lines
from vidtldr_jax.trust.nearest import suggest

require_scenic()

from scenic.dataset_lib import dataset_utils, datasets  # noqa: E402  # after the check, which explains what is missing
from scenic.train_lib import train_utils  # noqa: E402

NAME: Final = "video_manifest_dataset"
_READ_AHEAD: Final = 4  # videos
Batch = dict[str, np.ndarray]


@datasets.add_dataset(NAME)
def get_dataset(
    *,
    batch_size: int,
    eval_batch_size: int,
    num_shards: int,
    dtype_str: str = "float32",
    shuffle_seed: int | None = 0,
    rng: Any = None,
    dataset_configs: Any,
    dataset_service_address: str | None = None,
) -> dataset_utils.Dataset:
    """Builds the data set; Scenic's trainers call it.

    Args:
      batch_size: videos of a training batch on this host.
      eval_batch_size: videos of a validation batch on this host.
      num_shards: devices of this host.
      dtype_str: of the inputs.
      shuffle_seed: of the order and the augmentation in training; None is 0.
      rng: not used.
      dataset_configs: see above.
      dataset_service_address: must be None.

    Returns:
      A Scenic data set. Its iterators have no end, and a split without a manifest has none.

    Raises:
      ValueError: fields are missing or would have no effect, or a manifest is faulty.
    """
    del rng
    if dataset_service_address:
        raise ValueError(f"{NAME} reads on every host; got an address of tf.data's service; leave it out.")
    check_manifest_fields(dataset_configs)
    splits = tuple(dataset_configs.get("class_splits") or ())
    counts = splits or (dataset_configs.get("num_classes"),)
    manifests = dataset_configs.get("manifests")
    if not manifests or None in counts:
        raise ValueError(
            f"{NAME} needs dataset_configs.manifests and num_classes (or class_splits); got "
            f"{dict(dataset_configs)}; write them."
        )
    recipe = read_preprocessing({"dataset_configs": dataset_configs})
    middle = read_preprocessing({"dataset_configs": dataset_configs}, num_clips=1, crop="center")
    entries = {split: _read_entries(path, dataset_configs, counts) for split, path in manifests.items()}

    def label(entry: ManifestEntry) -> np.ndarray:
        return np.concatenate([np.eye(n, dtype=np.float32)[number] for n, number in zip(counts, entry.labels)])

    dtype = getattr(jnp, dtype_str)
    batches = _Batches(label, sum(counts), num_shards, dtype)
    test_batch_size = dataset_configs.get("test_batch_size", eval_batch_size)
    train_iter = valid_iter = test_iter = None
    if "train" in entries:
        train_iter = batches.iterate_training(
            entries["train"],
            middle,
            batch_size,
            seed=shuffle_seed or 0,
            augment=dataset_configs.get("augment", True),
            use_mirror=dataset_configs.get("use_mirror", True),
        )
    if "validation" in entries:
        valid_iter = batches.iterate_evaluation(entries["validation"], middle, eval_batch_size)
    if "test" in entries:
        test_iter = batches.iterate_evaluation(entries["test"], recipe, test_batch_size)
    size = recipe.image_size
    meta_data = {
        "num_classes": sum(counts),
        "input_shape": (-1, recipe.num_frames, size, size, 3),
        "input_dtype": dtype,
        "num_train_examples": len(entries.get("train", ())),
        "num_eval_examples": len(entries.get("validation", ())),
        "num_test_examples": len(entries.get("test", ())) * recipe.num_views,
        "target_is_onehot": True,
    } | ({"class_splits": splits} if splits else {})
    logging.info("data set of manifests: %s", make_harmless(str(meta_data)))
    return dataset_utils.Dataset(train_iter, valid_iter, test_iter, meta_data)


def build_dataset(config: Any, rng: Any, *, address: str | None = None) -> dataset_utils.Dataset:
    """Builds the data set of a config, Scenic's or ours.

    Args:
      config: the experiment's ConfigDict.
      rng: of the data set.
      address: of tf.data's service.

    Returns:
      A Scenic data set.

    Raises:
      ValueError: Scenic has no such data set, can't import what it needs, or refuses its fields.
    """
    name = config.dataset_name
    try:
        return train_utils.get_dataset(config, rng, dataset_service_address=address)
    except ImportError as error:
        raise ValueError(
            f"dataset_name = {name!r} needs what Scenic imports for it; got {error}; install it (docs/scenic.md says "
            f"where it comes from), or take {NAME!r}."
        ) from error
    except KeyError as error:
        if name == NAME:
            raise
        known = (NAME, "video_tfrecord_dataset")
        hint = suggest(name, known, otherwise=f"take {NAME!r} or 'video_tfrecord_dataset'.")
        what = " ".join(str(error.args[0] if error.args else error).split())
        raise ValueError(f"dataset_name names a data set of Scenic; got {name!r} ({what}); {hint}") from error
    except (AssertionError, AttributeError, TypeError) as error:
        what = " ".join(str(error).split()) or type(error).__name__
        raise ValueError(f"dataset_configs describe {name!r} in full; got {what}; fix its fields.") from error


def _read_entries(manifest: str, configs: Any, counts: Sequence[int]) -> list[ManifestEntry]:
    columns = ("label",)
    if len(counts) > 1:  # as `vidtldr evaluate classification` names them
        columns = tuple(configs.get("split_names") or (f"label_{number + 1}" for number in range(len(counts))))
    file = configs.get("labels_file")
    names = None if file is None else [[line.strip() for line in split_lines(read_exact(file)) if line.strip()]]
    return read_manifest(manifest, root=configs.get("root"), columns=columns, class_names=names, num_classes=counts)


class _Batches:
    """Makes batches of entries, each host of its own share."""

    def __init__(self, label: Callable[[ManifestEntry], np.ndarray], width: int, num_shards: int, dtype: Any) -> None:
        self._label, self._width, self._num_shards, self._dtype = label, width, num_shards, dtype

    def iterate_training(
        self,
        entries: Sequence[ManifestEntry],
        recipe: Preprocessing,
        batch_size: int,
        *,
        seed: int,
        augment: bool,
        use_mirror: bool,
    ) -> Iterator[Batch]:
        """Yields full batches for ever, in a new order each time through; an unreadable video counts for nothing."""
        num_hosts, host = jax.process_count(), jax.process_index()
        if len(entries) < batch_size * num_hosts:
            raise ValueError(
                f"a training batch has {batch_size * num_hosts} videos; the manifest lists "
                f"{len(entries)}; take a smaller batch."
            )

        def draw() -> Iterator[tuple[ManifestEntry, np.random.Generator]]:
            for epoch in itertools.count():
                order = np.random.default_rng((seed, epoch)).permutation(len(entries))
                whole = len(order) // (num_hosts * batch_size) * num_hosts * batch_size
                for number in order[:whole][host::num_hosts]:
                    yield entries[number], np.random.default_rng((seed, epoch, int(number)))

        def read(item: tuple[ManifestEntry, np.random.Generator]) -> np.ndarray | None:
            entry, rng = item
            try:
                if augment:
                    return read_random_clip(entry.path, recipe, rng, use_mirror=use_mirror)[None]
                return read_frames(entry.path, recipe).frames
            except (VideoReadError, OSError) as error:
                logging.warning("left out of training: %s", make_harmless(str(error)))
                return None

        # Two walks over one order: the reader's runs ahead of the batches'.
        clips = map_in_thread(read, draw(), read_ahead=max(_READ_AHEAD, batch_size))
        return self._collect(clips, (entry for entry, _ in draw()), recipe, batch_size)

    def iterate_evaluation(
        self, entries: Sequence[ManifestEntry], recipe: Preprocessing, batch_size: int
    ) -> Iterator[Batch]:
        """Yields all videos again and again; the last batch of a round is filled up with what its mask leaves out."""
        num_hosts, host = jax.process_count(), jax.process_index()
        per_host = -(-len(entries) // num_hosts)
        per_host += -per_host % batch_size
        share: list[ManifestEntry | None] = [*entries[host::num_hosts]]
        share += [None] * (per_host - len(share))

        def read(entry: ManifestEntry | None) -> np.ndarray | None:
            return None if entry is None else read_frames(entry.path, recipe).frames

        clips = map_in_thread(read, itertools.cycle(share), read_ahead=_READ_AHEAD)
        return self._collect(clips, itertools.cycle(share), recipe, batch_size)

    def _collect(
        self,
        clips: Iterator[np.ndarray | None],
        entries: Iterator[ManifestEntry | None],
        recipe: Preprocessing,
        batch_size: int,
    ) -> Iterator[Batch]:
        while True:
            inputs, labels, masks = [], [], []
            for entry, frames in itertools.islice(zip(entries, clips), batch_size):
                num_views = recipe.num_views if frames is None else len(frames)
                size = recipe.image_size
                if frames is None or entry is None:
                    inputs.append(np.zeros((num_views, recipe.num_frames, size, size, 3), np.float32))
                else:
                    inputs.append(normalize_frames(frames, mean=recipe.mean, std=recipe.std))
                label = np.zeros(self._width, np.float32) if entry is None else self._label(entry)
                labels.append(np.repeat(label[None], num_views, axis=0))
                masks.append(np.full(num_views, float(frames is not None), np.float32))
            batch = {"inputs": np.concatenate(inputs).astype(self._dtype), "label": np.concatenate(labels)}
            yield dataset_utils.shard({**batch, "batch_mask": np.concatenate(masks)}, self._num_shards)
