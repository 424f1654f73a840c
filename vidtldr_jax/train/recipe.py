"""How a model is fine-tuned: every number that decides the result, in one frozen description that checks itself."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any, Final, Literal, Self

from vidtldr_jax.reduction.methods import get_method
from vidtldr_jax.reduction.schedule import parse_schedule
from vidtldr_jax.trust.fields import check_choices, check_counts, is_count, is_finite
from vidtldr_jax.trust.nearest import describe_unknown_fields

# Fields of the module. A run's description leaves them out at their defaults: runs of versions without them go on.
_OF_A_MODULE: Final = ("dropout", "attention_dropout", "drop_path", "head_dropout", "remat")
# What a compiled step depends on.
_OF_A_STEP: Final = (
    *("batch_size", "accumulation", "learning_rate", "warmup", "weight_decay", "beta2", "layer_decay"),
    *("label_smoothing", "mixup", "ema", "clip_norm", "dtype", "probe"),
    *_OF_A_MODULE,
)
_COUNTS: Final = ("batch_size", "accumulation")
_COUNTS_OR_NONE: Final = ("steps", "evaluate_every", "few")
_FLAGS: Final = ("probe", "random_time", "mirror", "new_head", "remat")
_CHOICES: Final[dict[str, tuple[str, ...]]] = {"dtype": ("float32", "bfloat16"), "keep": ("last", "best")}
# Field -> lowest, highest, whether the highest itself is allowed.
_RANGES: Final[dict[str, tuple[float, float, bool]]] = {
    "warmup": (0, 1, False),
    "weight_decay": (0, math.inf, False),
    "label_smoothing": (0, 1, False),
    "mixup": (0, math.inf, False),
    "ema": (0, 1, False),
    "clip_norm": (0, math.inf, False),
    "dropout": (0, 1, False),
    "attention_dropout": (0, 1, False),
    "drop_path": (0, 1, False),
    "head_dropout": (0, 1, False),
}
# Those that must be above 0.
_POSITIVE: Final[dict[str, tuple[float, bool]]] = {
    "learning_rate": (math.inf, False),
    "layer_decay": (1, True),
    "crop": (1, True),
    "beta2": (1, False),
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Recipe:
    """How a model is fine-tuned.

    Attributes:
      steps: optimiser steps; None counts `epochs` instead.
      epochs: passes over the training videos, where `steps` is None.
      batch_size: clips of a step, all parts together.
      accumulation: parts of a batch whose gradients are added up before a step; divides batch_size.
      learning_rate: the highest one, after the warm-up; half a cosine leads towards 0.
      warmup: share of the steps over which the rate grows from near 0.
      weight_decay: AdamW's, on parameters of two axes and more, position tables and class tokens left out.
      beta2: AdamW's decay of squared gradients.
      layer_decay: factor of the rate from each block to the one before; 1 is the same for all.
      label_smoothing: share of every target that is spread over all classes.
      mixup: both parameters of the Beta distribution that says how much of another clip is blended in; 0 for none.
      ema: decay of the moving average of the parameters that is evaluated and kept; 0 for none.
      clip_norm: gradients are shortened to this norm; 0 for no limit.
      dtype: computation dtype; parameters, gradients and the optimiser are float32.
      seed: of the order, of what is random in clips, and of a new head.
      probe: train the classifier alone; the encoder stays as it is to the bit.
      random_time: take a random frame of every segment, or a random window where the model samples windows.
      crop: cut a random part out of every clip, each of its sides at least this share of the frame's; 1 takes what
        evaluation takes.
      mirror: mirror half of the clips; not where left and right are what classes differ in.
      few: labels per class that are used; None for all.
      schedule: tokens that every layer absorbs in training, as it is written; "none" for no merging.
      eval_schedule: the same in evaluation; None is `schedule`.
      method: how tokens are reduced, in training and evaluation.
      evaluate_every: steps between evaluations; None evaluates at the end only.
      keep: whether the parameters of the "last" step or of the "best" evaluation become the model.
      new_head: train a new classifier, of the classes of the list of videos, although the model has one.
      dropout: share of values that are dropped where the model's original drops them: of the tokens after positions are
        added, of what attention and MLP add, and inside a ViViT's MLP.
      attention_dropout: share of attention weights that are dropped; above 0, whole maps are held.
      drop_path: share of examples for which the last block adds nothing; it grows linearly from 0 in the first block.
      head_dropout: share of values that are dropped before the classifier.
      remat: compute every block again in the backward pass, for less memory and more time.
    """

    steps: int | None = None
    epochs: float = 20.0
    batch_size: int = 8
    accumulation: int = 1
    learning_rate: float = 5e-4
    warmup: float = 0.1
    weight_decay: float = 0.05
    beta2: float = 0.999
    layer_decay: float = 0.75
    label_smoothing: float = 0.0
    mixup: float = 0.0
    ema: float = 0.0
    clip_norm: float = 1.0
    dtype: Literal["float32", "bfloat16"] = "float32"
    seed: int = 0
    probe: bool = False
    random_time: bool = True
    crop: float = 1.0
    mirror: bool = False
    few: int | None = None
    schedule: str = "none"
    eval_schedule: str | None = None
    method: str = "vidtldr"
    evaluate_every: int | None = None
    keep: Literal["last", "best"] = "last"
    new_head: bool = False
    dropout: float = 0.0
    attention_dropout: float = 0.0
    drop_path: float = 0.0
    head_dropout: float = 0.0
    remat: bool = False

    def __post_init__(self) -> None:
        faults = check_counts(self, _COUNTS)
        faults += [
            f"{name} = {getattr(self, name)!r} is neither None nor a positive int"
            for name in _COUNTS_OR_NONE
            if getattr(self, name) is not None and not is_count(getattr(self, name))
        ]
        faults += [f"{n} = {getattr(self, n)!r} is neither true nor false" for n in _FLAGS if not _is_flag(self, n)]
        faults += check_choices(self, _CHOICES)
        for name, (low, high, is_closed) in _RANGES.items():
            if not _is_within(getattr(self, name), low, high, is_closed):
                faults.append(f"{name} = {getattr(self, name)!r} is not {_describe_range(low, high, is_closed)}")
        for name, (high, is_closed) in _POSITIVE.items():
            value = getattr(self, name)
            if not (_is_within(value, 0, high, is_closed) and value > 0):
                faults.append(f"{name} = {value!r} is not above 0" + _describe_limit(high, is_closed))
        if not (is_finite(self.epochs) and self.epochs > 0):
            faults.append(f"epochs = {self.epochs!r} is not above 0")
        if not is_count(self.seed, least=0):
            faults.append(f"seed = {self.seed!r} is not an int from 0 on")
        if not faults:
            faults = self._find_misfits()
        if faults:
            raise ValueError(f"{'; '.join(faults)}; change these fields.")

    def _find_misfits(self) -> list[str]:
        faults = []
        if self.batch_size % self.accumulation:
            faults.append(f"batch_size = {self.batch_size} is not a multiple of accumulation = {self.accumulation}")
        for name in ("schedule", "eval_schedule"):
            try:
                parse_schedule(getattr(self, name))
            except (ValueError, TypeError) as error:
                faults.append(f"{name} = {getattr(self, name)!r} is no schedule ({error})")
        if self.probe and not self.is_random:
            if self.mixup:
                faults.append(f"mixup = {self.mixup} blends clips, and a probe without random clips reads them once")
            faults += [
                f"{name} = {getattr(self, name)} is of a model that runs in every step; a probe without random clips "
                "runs it once"
                for name in _OF_A_MODULE
                if getattr(self, name)
            ]
        try:
            get_method(self.method)
        except ValueError as error:
            faults.append(f"method = {self.method!r} is none ({error})")
        return faults

    @property
    def is_random(self) -> bool:
        """Whether a video gives another clip each time."""
        return self.random_time or self.mirror or self.crop < 1

    def strip(self) -> Self:
        """Returns what a step itself depends on, all else at its default: recipes that agree in it share a program."""
        kept = {name: getattr(self, name) for name in _OF_A_STEP}
        return type(self)(**kept, random_time=self.is_random)

    def count_steps(self, num_videos: int) -> int:
        """Returns the optimiser steps for so many training videos, at least 1."""
        if self.steps is not None:
            return self.steps
        return max(1, math.ceil(self.epochs * num_videos / self.batch_size))

    def to_dict(self) -> dict[str, Any]:
        """Returns the fields as plain data for JSON; what earlier versions did not have is left out at its default."""
        fields = dataclasses.asdict(self)
        return {name: value for name, value in fields.items() if value or name not in _OF_A_MODULE}

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> Self:
        """Builds a recipe from plain data; what is left out has its default.

        Args:
          fields: name -> value.

        Returns:
          The recipe.

        Raises:
          ValueError: unknown fields, all named together, or values that don't fit.
        """
        known = [field.name for field in dataclasses.fields(cls)]
        faults = describe_unknown_fields(fields, known)
        if faults:
            raise ValueError(f"{'; '.join(faults)}; fields are {', '.join(known)}.")
        return cls(**fields)


def _is_flag(recipe: Recipe, name: str) -> bool:
    return isinstance(getattr(recipe, name), bool)


def _is_within(value: Any, low: float, high: float, is_closed: bool) -> bool:
    return is_finite(value) and low <= value and (value <= high if is_closed else value < high)


def _describe_range(low: float, high: float, is_closed: bool) -> str:
    return f"a number from {low:g} on" + _describe_limit(high, is_closed)


def _describe_limit(high: float, is_closed: bool) -> str:
    if math.isinf(high):
        return ""
    return f" and at most {high:g}" if is_closed else f" and below {high:g}"
