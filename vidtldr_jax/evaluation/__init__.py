"""Evaluators that Python can call: classification, retrieval and question answering.

    result = vt.evaluation.evaluate_retrieval(model, "annotation.json", "videos", out="results/retrieval.json")

Each takes a model and files, resumes from records beside `out`, and returns the plain data that its command prints with
`--json`. `metrics` works without JAX.
"""

import importlib
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from vidtldr_jax.evaluation import metrics
    from vidtldr_jax.evaluation.arguments import ArgumentError, MissingVideosError
    from vidtldr_jax.evaluation.classification import ClassificationResult, evaluate_classification
    from vidtldr_jax.evaluation.heads import Head
    from vidtldr_jax.evaluation.progress import Advance, Watch, watch_silently
    from vidtldr_jax.evaluation.question_answering import QuestionAnsweringResult, evaluate_question_answering
    from vidtldr_jax.evaluation.retrieval import RetrievalResult, evaluate_retrieval

__all__ = [
    "Advance",
    "ArgumentError",
    "ClassificationResult",
    "Head",
    "MissingVideosError",
    "QuestionAnsweringResult",
    "RetrievalResult",
    "Watch",
    "evaluate_classification",
    "evaluate_question_answering",
    "evaluate_retrieval",
    "metrics",
    "watch_silently",
]

_HOMES: Final = {
    "Advance": "progress",
    "ArgumentError": "arguments",
    "ClassificationResult": "classification",
    "Head": "heads",
    "MissingVideosError": "arguments",
    "QuestionAnsweringResult": "question_answering",
    "RetrievalResult": "retrieval",
    "Watch": "progress",
    "evaluate_classification": "classification",
    "evaluate_question_answering": "question_answering",
    "evaluate_retrieval": "retrieval",
    "watch_silently": "progress",
}


if not TYPE_CHECKING:  # else a name that is nowhere would pass as one that is made here

    def __getattr__(name: str) -> Any:
        """Import what is asked for the first time; metrics don't wait for JAX."""
        if name == "metrics":
            return importlib.import_module(f"{__name__}.metrics")
        if name not in _HOMES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        value = getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
        globals()[name] = value
        return value


def __dir__() -> list[str]:
    return sorted(__all__)
