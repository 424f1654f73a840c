"""Converts checkpoints of the original implementations; nothing in them is ever executed."""

from checkpoints_convert.convert import ConversionReport, convert_checkpoint
from checkpoints_convert.errors import ConversionError
from checkpoints_convert.families import FAMILIES
from checkpoints_convert.sources import open_source

__all__ = ["FAMILIES", "ConversionError", "ConversionReport", "convert_checkpoint", "open_source"]
