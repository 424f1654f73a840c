"""What is known about each kind of checkpoint, one family per file."""

from checkpoints_convert.families.family import Family
from checkpoints_convert.families.huggingface_videomae import HUGGINGFACE_VIDEOMAE
from checkpoints_convert.families.single_modality import SINGLE_MODALITY

FAMILIES: dict[str, Family] = {family.name: family for family in (SINGLE_MODALITY, HUGGINGFACE_VIDEOMAE)}

__all__ = ["FAMILIES", "Family"]
