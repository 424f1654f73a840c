"""What a Scenic config says: `config.model.token_merging`, and the architecture in our own words. Imports no Scenic.

    config.model.token_merging = ml_collections.ConfigDict(
        {"schedule": "800,270,135", "method": "vidtldr", "pooling": "plain"}
    )

Without that subtree nothing is merged and Scenic's own module runs.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, Final, Literal

from vidtldr_jax import ops, reduction
from vidtldr_jax.data.preprocessing import Preprocessing
from vidtldr_jax.models.vivit_config import ViViTConfig
from vidtldr_jax.ops.attention_forms import FORM_NAMES
from vidtldr_jax.reduction.schedule import ScheduleEntry, parse_schedule
from vidtldr_jax.trust.nearest import add_suggestion

_SUBTREE: Final = "config.model.token_merging"
# One that acts before the first layer looks at pixels, which Scenic's encoder does not get.
METHODS: Final = tuple(name for name, method in reduction.METHODS.items() if not method.is_early)
POOLINGS: Final = ("plain", "by_size")

_ATTENTIONS: Final = {
    "spacetime": "spacetime",
    "factorized_encoder": "factorized_encoder",
    "factorized_self_attention_block": "factorized_self_attention",
    "factorized_dot_product_attention": "factorized_dot_product",
}
_CLASSIFIERS: Final = {"token": "cls", "0": "first", "gap": "mean", "gmp": "max", "gsp": "sum"}
_INITS: Final = {"central_frame_initializer": "central_frame", "average_frame_initializer": "average_frame"}


@dataclasses.dataclass(frozen=True, kw_only=True)
class TokenMerging:
    """What is merged, and how.

    Attributes:
      schedule: the entries as written, one per layer named; empty merges nothing.
      method: how tokens are chosen, a name in `reduction.METHODS`; those that act before the first layer are refused.
      pooling: "plain", as the model was trained, or "by_size": a classifier that pools (`gap`, `gsp`) weighs each token
        by how many it stands for; others are not changed by it.
      attention: a form of `ops.attend`. "dense" holds whole maps, as Scenic's own attention does, and is counted in
        full by the trainers' GFLOPs; the others need less memory, and that count then misses rounds of their loops.
    """

    schedule: tuple[ScheduleEntry, ...]
    method: str = "vidtldr"
    pooling: Literal["plain", "by_size"] = "plain"
    attention: ops.AttentionForm = "dense"

    @property
    def is_plain(self) -> bool:
        """Whether nothing is merged."""
        return not any(self.schedule)


def read_token_merging(model: Mapping[str, Any] | Any) -> TokenMerging | None:
    """Reads the subtree of a Scenic config.

    Args:
      model: `config.model`, a ConfigDict or any mapping.

    Returns:
      The settings, or None where there is no such subtree.

    Raises:
      ValueError: unknown fields or values, all named together, or a schedule that can't be read.
    """
    subtree = _get(model, "token_merging")
    if subtree is None:
        return None
    if not hasattr(subtree, "keys"):
        raise ValueError(
            f"{_SUBTREE} has fields, schedule first; got {subtree!r}; write {_SUBTREE}.schedule = {subtree!r}."
        )
    choices = {"method": METHODS, "pooling": POOLINGS, "attention": FORM_NAMES}
    names = ("schedule", *choices)
    faults = [add_suggestion(f"there is no field {name!r}", name, names) for name in subtree if name not in names]
    values = {name: subtree[name] for name in choices if name in subtree}
    faults += [
        f"{name} = {value!r} is none of {', '.join(choices[name])}"
        for name, value in values.items()
        if value not in choices[name]
    ]
    if "schedule" not in subtree:
        faults.append('there is no schedule; write "600,200,100", ratios, or "none"')
    if faults:
        raise ValueError(f"{_SUBTREE} has {', '.join(names)}; {'; '.join(faults)}.")
    return TokenMerging(schedule=parse_schedule(subtree["schedule"]), **values)


def read_architecture(config: Any, *, num_classes: int | None = None) -> ViViTConfig:
    """Describes the model of a Scenic config.

    Args:
      config: with `model` and `dataset_configs` (`num_frames`, `crop_size`), a ConfigDict or any mapping.
      num_classes: of the data set; None takes what `dataset_configs` says (`class_splits` or `num_classes`).

    Returns:
      The description; where `token_merging.pooling` is "by_size", its pooling is.

    Raises:
      ValueError: fields are missing or have values that no ViViT of Scenic has, all named together.
    """
    model, data = _get(config, "model") or {}, _get(config, "dataset_configs") or {}
    merging = read_token_merging(model)
    attention = _get(model, "attention_config.type") or "spacetime"
    encoding = _get(model, "temporal_encoding_config.method")
    classifier = str(_get(model, "classifier") or "gap")
    patches = list(_get(model, "patches.size") or ())
    is_sampled = encoding == "temporal_sampling"
    faults = [
        f"{name} = {value!r} is none of {', '.join(allowed)}"
        for name, value, allowed in (
            ("attention_config.type", attention, _ATTENTIONS),
            ("classifier", classifier, _CLASSIFIERS),
            ("temporal_encoding_config.method", encoding, ("3d_conv", "temporal_sampling")),
        )
        if value not in allowed
    ]
    faults += _check_patches(patches, is_sampled=is_sampled)
    places = _list_places(model, attention, is_sampled=is_sampled)
    trees = {"model": model, "data": data}
    fields: dict[str, Any] = {name: _get(trees[tree], path) for name, (tree, path) in places.items()}
    faults += [f"{places[name][1]} is missing" for name, value in fields.items() if value is None]
    if faults:
        raise ValueError(f"a ViViT of Scenic is described in full; {'; '.join(faults)}; fix the config.")
    if attention == "factorized_encoder":
        fields.setdefault("temporal_depth", 0)
    if attention == "factorized_self_attention_block":
        fields["attention_order"] = _get(model, "attention_config.attention_order") or "time_space"
    splits = _get(data, "class_splits")
    return ViViTConfig(
        **fields,
        attention=_ATTENTIONS[attention],  # type: ignore[arg-type]  # checked above
        patch_size=patches[0],
        tubelet_size=1 if is_sampled else patches[2],
        pooling=_choose_pooling(_CLASSIFIERS[classifier], merging),  # type: ignore[arg-type]
        representation_dim=_get(model, "representation_size"),
        patch_init=_INITS.get(_get(model, "temporal_encoding_config.kernel_init_method"), "normal"),  # type: ignore[arg-type]
        num_classes=num_classes or (sum(splits) if splits else _get(data, "num_classes")),
    )


def _check_patches(patches: list[Any], *, is_sampled: bool) -> list[str]:
    axes = ("rows", "columns") if is_sampled else ("rows", "columns", "frames")
    if len(patches) == len(axes) and patches[0] == patches[1]:
        return []
    return [f"patches.size = {patches} is not {', '.join(axes)} with equal sides"]


def _list_places(model: Any, attention: str, *, is_sampled: bool) -> dict[str, tuple[str, str]]:
    """Returns field of ours -> where Scenic's config has it: in "model" or "data", and the path in there."""
    is_factorized = attention == "factorized_encoder"
    tower = "spatial_transformer." if is_factorized else ""
    places = {
        "dim": ("model", "hidden_size"),
        "depth": ("model", f"{tower}num_layers"),
        "num_heads": ("model", f"{tower}num_heads"),
        "mlp_dim": ("model", f"{tower}mlp_dim"),
        "image_size": ("data", "crop_size"),
        "num_frames": ("data", "num_frames"),
    }
    if is_sampled:
        places["num_frames"] = ("model", "temporal_encoding_config.n_sampled_frames")
    if is_factorized and not _get(model, "attention_config.spatial_only_baseline"):
        names = {"temporal_depth": "num_layers", "temporal_num_heads": "num_heads", "temporal_mlp_dim": "mlp_dim"}
        places |= {ours: ("model", f"temporal_transformer.{theirs}") for ours, theirs in names.items()}
    return places


def read_preprocessing(config: Any, **changes: Any) -> Preprocessing:
    """Says how Scenic's video data sets make clips, and the views of a test.

    Args:
      config: with `dataset_configs`: `num_frames`, `stride`, `min_resize`, `crop_size`, `zero_centering`,
        `num_test_clips`, `do_three_spatial_crops`; what is missing is as in Scenic.
      **changes: fields of the result that differ.

    Returns:
      The recipe: frames a stride apart, the shorter side resized, squares cut, values of -1 to 1 or of 0 to 1.

    Raises:
      ValueError: values don't fit each other.
    """
    data = _get(config, "dataset_configs") or {}

    def get(name: str, default: Any) -> Any:
        value = _get(data, name)
        return default if value is None else value

    centre = 0.5 if get("zero_centering", True) else 0.0
    fields = {
        "num_frames": get("num_frames", 32),
        "image_size": get("crop_size", 224),
        "sampling": "windows",
        "stride": get("stride", 2),
        "num_clips": get("num_test_clips", 1),
        "resize": "shortest_edge",
        "shortest_edge": get("min_resize", 256),
        "kernel": "bilinear",
        "crop": "three_up" if get("do_three_spatial_crops", False) else "center",
        "mean": (centre,) * 3,
        "std": (centre or 1.0,) * 3,
    }
    return Preprocessing(**(fields | changes))


def _choose_pooling(pooling: str, merging: TokenMerging | None) -> str:
    is_by_size = merging is not None and merging.pooling == "by_size" and pooling in ("mean", "sum")
    return f"{pooling}_by_size" if is_by_size else pooling


def _get(tree: Any, path: str) -> Any:
    """Returns what stands at a dotted path, None where nothing does."""
    for name in path.split("."):
        if tree is None or not hasattr(tree, "keys") or name not in tree:
            return None
        tree = tree[name]
    return tree
