"""What is known about each kind of checkpoint, one family per file."""

from checkpoints_convert.families.family import Family
from checkpoints_convert.families.huggingface_clip import HUGGINGFACE_CLIP
from checkpoints_convert.families.huggingface_videomae import HUGGINGFACE_VIDEOMAE
from checkpoints_convert.families.huggingface_vivit import HUGGINGFACE_VIVIT
from checkpoints_convert.families.openai_clip import OPENAI_CLIP
from checkpoints_convert.families.scenic_vivit import SCENIC_VIVIT
from checkpoints_convert.families.single_modality import SINGLE_MODALITY
from checkpoints_convert.families.umt_pretrained import UMT_PRETRAINED
from checkpoints_convert.families.umt_qa import UMT_QA
from checkpoints_convert.families.umt_retrieval import UMT_RETRIEVAL

FAMILIES: dict[str, Family] = {
    family.name: family
    for family in (
        UMT_RETRIEVAL,
        UMT_QA,
        UMT_PRETRAINED,
        SINGLE_MODALITY,
        HUGGINGFACE_VIDEOMAE,
        HUGGINGFACE_VIVIT,
        SCENIC_VIVIT,
        HUGGINGFACE_CLIP,
        OPENAI_CLIP,
    )
}

__all__ = ["FAMILIES", "Family"]
