"""Scenic's ViViT model classes with merging: losses, metrics and initialisation are Scenic's, only the module is ours.

Importing this file imports Scenic, and TensorFlow with it.
"""

from __future__ import annotations

from typing import Any, Final

import flax.linen as nn
import jax.numpy as jnp
from absl import logging

from vidtldr_jax.reduction.fitting import fit_schedule
from vidtldr_jax.reduction.methods import get_method
from vidtldr_jax.scenic_adapter.availability import require_scenic
from vidtldr_jax.scenic_adapter.config_fields import MODEL_NAMES, SUFFIX
from vidtldr_jax.scenic_adapter.modules import MergingViViT
from vidtldr_jax.scenic_adapter.settings import TokenMerging, read_architecture, read_token_merging

require_scenic()

from scenic.projects.vivit import model as vivit_model  # noqa: E402  # after the check, which explains what is missing


def build_merging_module(config: Any, *, num_classes: int, merging: TokenMerging) -> MergingViViT:
    """Builds the module that a Scenic config describes.

    Args:
      config: the experiment's ConfigDict.
      num_classes: of the data set.
      merging: what `read_token_merging` read.

    Returns:
      A module with Scenic's parameter tree.

    Raises:
      ValueError: the config describes no ViViT, or one that can't merge.
    """
    model = config.model
    architecture = read_architecture(config, num_classes=num_classes)
    is_sampled = model.temporal_encoding_config.method == "temporal_sampling"
    module = MergingViViT(
        architecture,
        schedule=merging.schedule,
        method=get_method(merging.method),
        num_sampled_frames=model.temporal_encoding_config.n_sampled_frames if is_sampled else None,
        # What Scenic takes where a config says nothing.
        dropout_rate=model.get("dropout_rate", 0.1),
        attention_dropout_rate=model.get("attention_dropout_rate", 0.1),
        stochastic_droplayer_rate=model.get("stochastic_droplayer_rate", 0.0),
        return_prelogits=model.get("return_prelogits", False),
        return_preclassifier=model.get("return_preclassifier", False),
        form=merging.attention,
        dtype=getattr(jnp, config.get("model_dtype_str", "float32")),
    )
    module.check_mergeable()
    resolved = fit_schedule(architecture, merging.schedule, method=merging.method)
    logging.info("token merging (%s, pooling %s): %s", merging.method, merging.pooling, resolved.describe())
    return module


class _WithMerging:
    """Builds Scenic's own module where nothing is merged, and `MergingViViT` where something is."""

    config: Any
    dataset_meta_data: dict[str, Any]

    def build_flax_model(self) -> nn.Module:
        """Builds the module."""
        merging = read_token_merging(self.config.model)
        if merging is None or merging.is_plain:
            return super().build_flax_model()  # type: ignore[misc]  # Scenic's class comes after this one
        num_classes = self.dataset_meta_data["num_classes"]
        return build_merging_module(self.config, num_classes=num_classes, merging=merging)


class ViViTClassificationModelTokenMerging(_WithMerging, vivit_model.ViViTClassificationModel):
    """One label of many."""


class ViViTMultilabelClassificationModelTokenMerging(_WithMerging, vivit_model.ViViTMultilabelClassificationModel):
    """Any number of labels."""


class ViViTMultiHeadClassificationModelTokenMerging(_WithMerging, vivit_model.ViViTMultiHeadClassificationModel):
    """One label of many in each of several groups, such as nouns and verbs."""


_CLASSES: Final = {
    f"vivit_classification{SUFFIX}": ViViTClassificationModelTokenMerging,
    f"vivit_multilabel_classification{SUFFIX}": ViViTMultilabelClassificationModelTokenMerging,
    f"vivit_multihead_classification{SUFFIX}": ViViTMultiHeadClassificationModelTokenMerging,
}


def get_model_cls(model_name: str) -> Any:
    """Looks a model class up.

    Args:
      model_name: one of Scenic's ViViT names, alone or with "_token_merging" behind it.

    Returns:
      Our class for a name with the suffix, Scenic's for one without.

    Raises:
      ValueError: neither knows the name.
    """
    if model_name in _CLASSES:
        return _CLASSES[model_name]
    try:
        return vivit_model.get_model_cls(model_name)
    except ValueError as error:
        raise ValueError(f"models are {', '.join(MODEL_NAMES)}; got {model_name!r}; choose one of these.") from error
