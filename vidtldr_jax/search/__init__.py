"""The store of features, an index over it, and looking again at the best of a search."""

from vidtldr_jax.search.arrow_parts import Feature, FeaturesError
from vidtldr_jax.search.features import FeatureStore, read_features
from vidtldr_jax.search.index import AddReport, Hit, add_videos, describe_index, list_videos, search_index
from vidtldr_jax.search.index_prune import Pruned, prune_index

__all__ = [
    "AddReport",
    "Feature",
    "FeatureStore",
    "FeaturesError",
    "Hit",
    "Pruned",
    "add_videos",
    "describe_index",
    "list_videos",
    "prune_index",
    "read_features",
    "search_index",
]
