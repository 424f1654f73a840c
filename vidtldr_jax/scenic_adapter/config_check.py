"""Refuses by name what a Scenic config asks for and nobody would do; training and evaluation ask here first.

All faults are named together, with the nearest name. Imports no Scenic.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from vidtldr_jax.scenic_adapter.config_fields import (
    DEFAULT_TRAINER,
    FIXED_MANIFEST_FIELDS,
    IGNORED_MANIFEST_FIELDS,
    INIT_FIELDS,
    KERNEL_INITS,
    MANIFEST_FIELDS,
    MODEL_FIELDS,
    MODEL_NAMES,
    OTHER_TOP_FIELDS,
    SUFFIX,
    TOP_FIELDS,
    TRAINERS,
)
from vidtldr_jax.scenic_adapter.settings import read_token_merging
from vidtldr_jax.trust.nearest import add_suggestion, find_nearest_name

_CHECKPOINT_FORMATS: Final = ("scenic", "big_vision")
_DTYPES: Final = ("bfloat16", "float16", "float32", "float64")


def check_config(config: Any, *, is_training: bool, is_whole: bool = True) -> None:
    """Makes sure that a config means what it says.

    Args:
      config: the experiment's ConfigDict, or any mapping.
      is_training: `init_from` and the trainer count; else the parameters come from a file that holds all of them.
      is_whole: Scenic runs it, so that it names a model and a data set.

    Raises:
      ValueError: fields are missing, unknown, or would have no effect; all are named.
    """
    needed = ("model_name", "dataset_name", "model", "dataset_configs") if is_whole else ()
    faults = [f"there is no {name}" for name in needed if _get(config, name) is None]
    faults += _check_top(config)
    if _get(config, "model_name") is not None:
        faults += _check_model_name(config)
    faults += _check_model(config)
    faults += _check_splits(config)
    if is_training:
        faults += _check_trainer(config)
    if _get(config, "init_from"):
        faults += _check_init(config, is_training=is_training)
    if faults:
        raise ValueError(
            f"every field of a config has an effect, or it is refused; config: {'; '.join(faults)}; fix these."
        )


def find_ignored(config: Any) -> list[str]:
    """Find what Scenic's own configs often ask for and a trainer leaves out.

    Args:
      config: the experiment's ConfigDict, or any mapping.

    Returns:
      A line for each such field.
    """
    trainer = _get(config, "trainer_name") or DEFAULT_TRAINER
    is_tested = trainer == DEFAULT_TRAINER and _get(_get(config, "dataset_configs"), "do_multicrop_test")
    is_mixed = trainer == "vivit_trainer" and _get(config, "mixup")
    notes = []
    if is_tested:
        notes.append(
            f"dataset_configs.do_multicrop_test: {trainer} makes no test in several views; "
            "vidtldr_jax.scenic_adapter.evaluate does"
        )
    if is_mixed:
        notes.append(f"mixup: {trainer} does not mix; {DEFAULT_TRAINER} does")
    return notes


def check_manifest_fields(data: Any) -> None:
    """Makes sure that the data set of manifests does what `dataset_configs` says.

    Args:
      data: `config.dataset_configs`.

    Raises:
      ValueError: fields are unknown, or ask for what only Scenic's TFRecords have; all are named.
    """
    faults = []
    for name in data:
        value = data[name]
        if name == "augmentation_params":
            asked = sorted(
                key for key in value or () if value[key] is True or (str(key).startswith("do_") and value[key])
            )
            if asked:
                faults.append(
                    f"augmentation_params asks for {', '.join(asked)}, which video_tfrecord_dataset has (here "
                    "`augment` takes random windows and squares, and `use_mirror` mirrors them)"
                )
        elif name in FIXED_MANIFEST_FIELDS:
            if value not in (None, *FIXED_MANIFEST_FIELDS[name]):
                faults.append(f"{name} = {value!r} is {FIXED_MANIFEST_FIELDS[name][0]!r} always")
        elif name not in (*MANIFEST_FIELDS, *IGNORED_MANIFEST_FIELDS) and not _is_empty(value):
            faults.append(_name_unknown(name, (*MANIFEST_FIELDS, *FIXED_MANIFEST_FIELDS)))
    faults += _check_columns(data)
    if faults:
        raise ValueError(
            f"video_manifest_dataset has {', '.join(MANIFEST_FIELDS)}; dataset_configs: {'; '.join(faults)}; take "
            "these out, or take video_tfrecord_dataset."
        )


def _check_columns(data: Any) -> list[str]:
    splits = tuple(_get(data, "class_splits") or ())
    if len(splits) < 2:
        return []
    names, faults = _get(data, "split_names"), []
    if names and len(names) != len(splits):
        faults.append(f"split_names = {tuple(names)} are not one for each of class_splits = {splits}")
    if _get(data, "labels_file"):
        faults.append(f"labels_file names the classes of one label, and class_splits = {splits} are {len(splits)}")
    return faults


def check_sharing(config: Any, *, num_devices: int, num_local_devices: int, is_training: bool) -> None:
    """Makes sure that devices share batches, and the views of a test, evenly.

    Args:
      config: the experiment's ConfigDict, or any mapping.
      num_devices: of all hosts.
      num_local_devices: of this host.
      is_training: the test in several views counts only where the trainer makes it.

    Raises:
      ValueError: a batch is no multiple of the devices; the fields that make it are named.
    """
    data = _get(config, "dataset_configs") or {}
    batch_size = _get(config, "batch_size") or (None if is_training else num_devices)
    if batch_size is None:
        raise ValueError("a training batch has batch_size videos; config has none; write batch_size.")
    eval_batch_size = _get(config, "eval_batch_size") or batch_size
    faults = [
        f"{name} = {size} can't be shared by {num_devices} devices"
        for name, size in {"batch_size": batch_size, "eval_batch_size": eval_batch_size}.items()
        if size % num_devices
    ]
    is_tested = not is_training or bool(_get(data, "do_multicrop_test"))
    if is_tested:
        test_batch_size = _get(data, "test_batch_size") or eval_batch_size
        clips = _get(data, "num_test_clips") or 1
        crops = 3 if _get(data, "do_three_spatial_crops") else 1
        views = test_batch_size * clips * crops
        if views % num_local_devices:
            faults.append(
                f"dataset_configs.test_batch_size = {test_batch_size} videos in num_test_clips = {clips} clips and "
                f"{crops} crops (do_three_spatial_crops) are {views} views, which {num_local_devices} devices can't "
                "share"
            )
        elif is_training and test_batch_size != num_local_devices:
            faults.append(
                f"dataset_configs.test_batch_size = {test_batch_size} is not the {num_local_devices} devices of a "
                "host, as do_multicrop_test wants it: a device sees the views of one video"
            )
    if faults:
        raise ValueError(f"devices share batches evenly; config: {'; '.join(faults)}; change these fields.")


def _check_top(config: Any) -> list[str]:
    faults = [
        f"{name} = {_get(config, name)!r} is none of {', '.join(_DTYPES)}"
        for name in ("model_dtype_str", "data_dtype_str")
        if (_get(config, name) or "float32") not in _DTYPES
    ]
    known = (*TOP_FIELDS, *OTHER_TOP_FIELDS)
    for name in config:
        if name in known or _is_empty(config[name]):
            continue
        if _is_like_merging(name):
            faults.append(f"{name} stands at the top, where nobody reads it (it belongs to config.model.token_merging)")
        elif near := find_nearest_name(name, TOP_FIELDS, cutoff=0.85):
            faults.append(f"{name} has no reader (did you mean {near!r}?)")
    return faults


def _check_model_name(config: Any) -> list[str]:
    name = _get(config, "model_name")
    if name not in MODEL_NAMES:
        return [add_suggestion(f"model_name = {name!r} is none of {', '.join(MODEL_NAMES)}", name, MODEL_NAMES)]
    merging = read_token_merging(_get(config, "model") or {})
    if merging is not None and not merging.is_plain and not name.endswith(SUFFIX):
        return [
            f"model_name = {name!r} is Scenic's own, which merges nothing, and model.token_merging.schedule asks for "
            f"merging (did you mean {name + SUFFIX!r}?)"
        ]
    return []


def _check_model(config: Any) -> list[str]:
    model = _get(config, "model")
    if not hasattr(model, "keys"):
        return []
    faults = []
    init = _get(_get(model, "temporal_encoding_config"), "kernel_init_method")
    if init is not None and init not in KERNEL_INITS and (near := find_nearest_name(init, KERNEL_INITS)):
        faults.append(
            f"model.temporal_encoding_config.kernel_init_method = {init!r} is none of {', '.join(KERNEL_INITS)} "
            f"(did you mean {near!r}?)"
        )
    # ObjectViViT's trainer reads more of a model; of that only what looks like a mistake can be told.
    cutoff = 0.75 if _get(config, "trainer_name") == "objectvivit_trainer" else 0.0
    for name in model:
        if name not in MODEL_FIELDS:
            if _is_empty(model[name]) and not _is_like_merging(name):
                continue
            if _is_like_merging(name):
                faults.append(f"model.{name} has no reader (did you mean 'token_merging'?)")
            elif not cutoff or find_nearest_name(name, MODEL_FIELDS, cutoff=cutoff):
                faults.append(f"model.{_name_unknown(name, MODEL_FIELDS)}")
            continue
        fields = MODEL_FIELDS[name]
        if fields is not None and hasattr(model[name], "keys"):
            faults += [f"model.{name}.{_name_unknown(field, fields)}" for field in model[name] if field not in fields]
    return faults


def _check_splits(config: Any) -> list[str]:
    """Compares the kind of model with the labels that the data set has."""
    name = str(_get(config, "model_name"))
    has_heads, splits = "multihead" in name, _get(_get(config, "dataset_configs") or {}, "class_splits")
    if has_heads and not splits:
        return [f"model_name = {name!r} has a head for each of dataset_configs.class_splits, and there are none"]
    if has_heads and _get(config, "multicrop_softmax_logits"):
        return [f"multicrop_softmax_logits = True has no meaning for the heads of model_name = {name!r}"]
    if splits and not has_heads and name in MODEL_NAMES:
        multihead = "vivit_multihead_classification" + (SUFFIX if name.endswith(SUFFIX) else "")
        return [
            f"dataset_configs.class_splits = {tuple(splits)} are heads, and model_name = {name!r} has one (did you "
            f"mean {multihead!r}?)"
        ]
    return []


def _check_trainer(config: Any) -> list[str]:
    name = _get(config, "trainer_name") or DEFAULT_TRAINER
    if name in TRAINERS:
        return []
    return [add_suggestion(f"trainer_name = {name!r} is none of {', '.join(TRAINERS)}", name, TRAINERS)]


def _check_init(config: Any, *, is_training: bool) -> list[str]:
    init = _get(config, "init_from")
    if not hasattr(init, "keys"):
        return [f"init_from = {init!r} has fields; write init_from.checkpoint_path"]
    faults = [f"init_from.{_name_unknown(name, INIT_FIELDS)}" for name in init if name not in INIT_FIELDS]
    if not is_training:
        return faults
    if not _get(init, "checkpoint_path"):
        faults.append("init_from.checkpoint_path is missing")
    kind = _get(init, "checkpoint_format") or "scenic"
    if kind not in _CHECKPOINT_FORMATS:
        faults.append(f"init_from.checkpoint_format = {kind!r} is none of {', '.join(_CHECKPOINT_FORMATS)}")
    elif kind != "scenic":
        faults.append(
            f"init_from.checkpoint_format = {kind!r} is read by no trainer here; take a file of Scenic's model zoo"
        )
    return faults


def _name_unknown(name: Any, known: Iterable[str]) -> str:
    return add_suggestion(f"{name} has no reader", name, known)


def _is_like_merging(name: Any) -> bool:
    text = str(name).lower()
    return "merg" in text or find_nearest_name(text, ("token_merging",), cutoff=0.75) is not None


def _is_empty(value: Any) -> bool:
    return value is None or (hasattr(value, "__len__") and len(value) == 0)


def _get(tree: Any, name: str) -> Any:
    if not (isinstance(tree, Mapping) or hasattr(tree, "keys")) or name not in tree:
        return None
    return tree[name]
