"""No array is broadcast to more axes silently: it runs where a user sets `jax_numpy_rank_promotion` to "raise"."""

import jax
import pytest


@pytest.fixture(autouse=True)
def _ranks_are_not_promoted():
    with jax.numpy_rank_promotion("raise"):
        yield
