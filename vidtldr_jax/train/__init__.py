"""Fine-tuning and linear probing with optax: `prepare` says what is trained, `finetune` trains it."""

from vidtldr_jax.trust.versions import require_version

require_version("orbax-checkpoint")  # before the imports that another version could break

from vidtldr_jax.train.errors import TrainError
from vidtldr_jax.train.loop import finetune
from vidtldr_jax.train.recipe import Recipe
from vidtldr_jax.train.setup import Setup, prepare

__all__ = ["Recipe", "Setup", "TrainError", "finetune", "prepare"]
