"""A model as a program that runs without this package: StableHLO, SavedModel, and their check."""

from vidtldr_jax.export.check import ExportCheck, check_export
from vidtldr_jax.export.files import ExportError, OpenedExport, open_export
from vidtldr_jax.export.program import Program, make_program
from vidtldr_jax.export.savedmodel import export_savedmodel
from vidtldr_jax.export.stablehlo import ExportedModel, export_model, save_export

__all__ = [
    "ExportCheck",
    "ExportError",
    "ExportedModel",
    "OpenedExport",
    "Program",
    "check_export",
    "export_model",
    "export_savedmodel",
    "make_program",
    "open_export",
    "save_export",
]
