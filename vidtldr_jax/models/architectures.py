"""Architectures by name: the description that config.json holds, and the module that it describes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, NamedTuple

from vidtldr_jax.models import clip, umt, video_vit, vivit
from vidtldr_jax.models.clip_config import CLIPConfig
from vidtldr_jax.models.config import VideoViTConfig
from vidtldr_jax.models.umt_config import UMTConfig
from vidtldr_jax.models.vivit_config import ViViTConfig
from vidtldr_jax.ops.checks import check_count
from vidtldr_jax.reduction.fitting import check_config

_NAME_FIELD: Final = "name"
Config = VideoViTConfig | ViViTConfig | UMTConfig | CLIPConfig


class Architecture(NamedTuple):
    """One kind of model.

    Attributes:
      config_class: its frozen description.
      module_class: its Flax module.
      init: makes the variables of a module from a description and a random key; every parameter is among them.
    """

    config_class: Any
    module_class: Any
    init: Callable[[Any, Any], Any]


ARCHITECTURES: Final[dict[str, Architecture]] = {
    VideoViTConfig.architecture: Architecture(VideoViTConfig, video_vit.VideoViT, video_vit.init_variables),
    ViViTConfig.architecture: Architecture(ViViTConfig, vivit.ViViT, vivit.init_variables),
    UMTConfig.architecture: Architecture(UMTConfig, umt.UMT, umt.init_variables),
    CLIPConfig.architecture: Architecture(CLIPConfig, clip.CLIPVision, clip.init_variables),
}


def describe_config(config: Config) -> dict[str, Any]:
    """Returns a description as plain data for JSON, the architecture's name first."""
    return {_NAME_FIELD: config.architecture, **config.to_dict()}


def restore_config(fields: Mapping[str, Any]) -> Config:
    """Builds a description from plain data.

    Args:
      fields: what `describe_config` returned; without a name it is the joint space-time ViT, as first published.

    Returns:
      The description.

    Raises:
      ValueError: the architecture is unknown, or fields are.
    """
    name = fields.get(_NAME_FIELD, VideoViTConfig.architecture)
    if name not in ARCHITECTURES:
        raise ValueError(
            f"architectures are {', '.join(ARCHITECTURES)}; got {name!r}; convert the weights with this version."
        )
    rest = {field: value for field, value in fields.items() if field != _NAME_FIELD}
    return ARCHITECTURES[name].config_class.from_dict(rest)


def init_variables(config: Config, key: Any) -> Any:
    """Makes a module's variables.

    Args:
      config: the description.
      key: of the random initial values.

    Returns:
      What the module's `init` returns, nested.

    Raises:
      ValueError: config describes no model.
    """
    check_config(config)
    return ARCHITECTURES[config.architecture].init(config, key)


def make_module(config: Config, *, r: tuple[int, ...] = (), **fields: Any) -> Any:
    """Makes the module of a description.

    Args:
      config: the description.
      r: tokens that each layer absorbs; empty, or 0 everywhere, is the plain model.
      **fields: the module's others: method, form, dtype, param_dtype, is_stacked, drop_rates, remat,
        merging.

    Returns:
      A Flax module of (video, trace=False, deterministic=True).

    Raises:
      ValueError: config describes no model, or r is no sequence of whole numbers from 0 on.
    """
    check_config(config)
    if not isinstance(r, Sequence):
        raise ValueError(f"r has one number for each block; got {r!r}; resolve_schedule makes such a tuple.")
    r = tuple(check_count("r", number, least=0) for number in r)
    return ARCHITECTURES[config.architecture].module_class(config, r=r if any(r) else (), **fields)
