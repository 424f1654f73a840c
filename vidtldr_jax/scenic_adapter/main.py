"""Training and evaluation through Scenic's own pipeline, with merging where the config asks for it.

    python -m vidtldr_jax.scenic_adapter.main --config=configs/mine.py --workdir=runs/mine

The flags are Scenic's. Trainers by `config.trainer_name`: `classification_trainer` (the default) of `scenic.train_lib`,
`objectvivit_trainer`, and `vivit_trainer`, for which `deprecated` stands in for what Scenic has deleted. The latter two
also test in several views while they train.
"""

from __future__ import annotations

import copy
import importlib
from collections.abc import Callable
from typing import Any, Final

from vidtldr_jax.scenic_adapter.availability import require_scenic

require_scenic(exits=__name__ == "__main__")

import jax  # noqa: E402  # Scenic's flags are defined by the imports below, after the check that explains what is missing
from absl import flags  # noqa: E402
from scenic import app  # noqa: E402
from scenic.train_lib import train_utils  # noqa: E402

from vidtldr_jax.scenic_adapter import datasets as _registered  # noqa: E402, F401
from vidtldr_jax.scenic_adapter.deprecated import install_stand_in  # noqa: E402
from vidtldr_jax.scenic_adapter.models import SUFFIX, get_model_cls  # noqa: E402

DEFAULT_TRAINER: Final = "classification_trainer"
_TRAINERS: Final = {
    DEFAULT_TRAINER: "scenic.train_lib.classification_trainer",
    "objectvivit_trainer": "scenic.projects.objectvivit.trainer",
    "vivit_trainer": "scenic.projects.vivit.trainer",
}


def get_trainer(trainer_name: str) -> Callable[..., Any]:
    """Looks a trainer up.

    Args:
      trainer_name: `config.trainer_name`.

    Returns:
      Its `train` function.

    Raises:
      ValueError: there is no such trainer, or the installed Scenic can't import it.
    """
    if trainer_name not in _TRAINERS:
        raise ValueError(
            f"get_trainer: trainers are {', '.join(_TRAINERS)}; {trainer_name!r} came; set config.trainer_name."
        )
    if trainer_name == "vivit_trainer":
        install_stand_in()
    try:
        train: Callable[..., Any] = importlib.import_module(_TRAINERS[trainer_name]).train
    except ImportError as error:
        raise ValueError(
            f"get_trainer: {trainer_name} must import; this Scenic's fails with {error}; set config.trainer_name = "
            f"{DEFAULT_TRAINER!r}, and test in several views with vidtldr_jax.scenic_adapter.evaluate."
        ) from error
    return train


def main(rng: jax.Array, config: Any, workdir: str, writer: Any) -> Any:
    """Trains and evaluates; `scenic.app` calls it.

    Args:
      rng: of first values, data and dropout.
      config: the experiment's ConfigDict.
      workdir: folder of checkpoints and logs; a run that stopped goes on from its last checkpoint.
      writer: of metrics.

    Returns:
      What the trainer returns: its state and the summaries of training and evaluation.
    """
    model_cls = get_model_cls(config.model_name)
    trainer = get_trainer(config.get("trainer_name", DEFAULT_TRAINER))
    data_rng, rng = jax.random.split(rng)
    address = flags.FLAGS.dataset_service_address
    dataset = train_utils.get_dataset(config, data_rng, dataset_service_address=address)
    scenic_config = copy.deepcopy(config)
    # The trainers compare names to know what to compute, and know Scenic's only.
    scenic_config.model_name = config.model_name.removesuffix(SUFFIX)
    return trainer(rng=rng, config=scenic_config, model_cls=model_cls, dataset=dataset, workdir=workdir, writer=writer)


if __name__ == "__main__":
    app.run(main=main)
