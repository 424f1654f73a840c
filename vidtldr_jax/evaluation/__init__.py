"""Evaluators that Python can call: classification, retrieval, question answering; metrics without JAX."""
