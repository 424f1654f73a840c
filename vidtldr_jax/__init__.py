"""Training-free token reduction for video transformers in JAX and Flax."""

__version__ = "0.1.0"
