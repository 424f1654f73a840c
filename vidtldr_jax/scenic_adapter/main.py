"""Training and evaluation through Scenic's own pipeline, with merging where the config asks for it.

    python -m vidtldr_jax.scenic_adapter.main --config=configs/mine.py --workdir=runs/mine

The flags are Scenic's. The config is run as Python: give only one that you trust.

Trainers by `config.trainer_name`: `classification_trainer` (the default) of `scenic.train_lib`, `objectvivit_trainer`,
and `vivit_trainer`, for which `deprecated` stands in for what Scenic has deleted. The latter two also test in several
views while they train.
"""

from __future__ import annotations

import copy
import importlib
import sys
from collections.abc import Callable
from typing import Any, Final

from vidtldr_jax.scenic_adapter.availability import require_scenic

require_scenic(exits=__name__ == "__main__")

import jax  # noqa: E402  # Scenic's flags are defined by the imports below, after the check that explains what is missing
from absl import flags, logging  # noqa: E402
from scenic import app  # noqa: E402

from vidtldr_jax.scenic_adapter.config_check import check_config, check_sharing, find_ignored  # noqa: E402
from vidtldr_jax.scenic_adapter.config_fields import DEFAULT_TRAINER, SUFFIX, TRAINERS  # noqa: E402
from vidtldr_jax.scenic_adapter.datasets import build_dataset  # noqa: E402
from vidtldr_jax.scenic_adapter.deprecated import install_stand_in  # noqa: E402
from vidtldr_jax.scenic_adapter.initial import start_from  # noqa: E402
from vidtldr_jax.scenic_adapter.models import get_model_cls  # noqa: E402
from vidtldr_jax.scenic_adapter.one_line import end_in_one_line  # noqa: E402

# What a module is called in the package index, where that is another name.
_PACKAGES: Final = {"sklearn": "scikit-learn"}


def get_trainer(trainer_name: str) -> Callable[..., Any]:
    """Looks a trainer up.

    Args:
      trainer_name: `config.trainer_name`.

    Returns:
      Its `train` function.

    Raises:
      ValueError: there is no such trainer, or the installed Scenic can't import it.
    """
    if trainer_name not in TRAINERS:
        raise ValueError(f"trainers are {', '.join(TRAINERS)}; got {trainer_name!r}; set config.trainer_name.")
    if trainer_name == "vivit_trainer":
        install_stand_in()
    try:
        train: Callable[..., Any] = importlib.import_module(TRAINERS[trainer_name]).train
    except ImportError as error:
        missing = (error.name or "").split(".")[0]
        if missing == "big_vision":
            advice = "put a clone of https://github.com/google-research/big_vision on PYTHONPATH"
        elif isinstance(error, ModuleNotFoundError) and missing not in ("", "scenic"):
            advice = f"pip install {_PACKAGES.get(missing, missing)}"
        else:
            advice = "update the clone of Scenic"
        raise ValueError(
            f"{trainer_name} needs what Scenic imports for it; got {error}; {advice}, or set config.trainer_name = "
            f"{DEFAULT_TRAINER!r}, and test in several views with "
            "vidtldr_jax.scenic_adapter.evaluate."
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
    with end_in_one_line():
        return train(rng, config, workdir, writer)


def train(rng: jax.Array, config: Any, workdir: str, writer: Any) -> Any:
    """Trains as `main` does, and raises what it refuses.

    Args:
      rng: of first values, data and dropout.
      config: the experiment's ConfigDict.
      workdir: folder of checkpoints and logs.
      writer: of metrics.

    Returns:
      What the trainer returns.

    Raises:
      ValueError: the config asks for what nobody would do, lacks fields, or does not fit the devices or files.
    """
    check_config(config, is_training=True)
    for note in find_ignored(config):
        logging.warning("no effect: %s", note)
    devices = {"num_devices": jax.device_count(), "num_local_devices": jax.local_device_count()}
    check_sharing(config, **devices, is_training=True)
    model_cls = get_model_cls(config.model_name)
    trainer = get_trainer(config.get("trainer_name") or DEFAULT_TRAINER)
    data_rng, rng = jax.random.split(rng)
    address = flags.FLAGS.dataset_service_address
    dataset = build_dataset(config, data_rng, address=address)
    scenic_config = copy.deepcopy(config)
    # The trainers compare names to know what to compute, and know Scenic's only.
    scenic_config.model_name = config.model_name.removesuffix(SUFFIX)
    trainer_config = copy.deepcopy(scenic_config)
    trainer_config.init_from = None  # it is read here
    train_utils = sys.modules[trainer.__module__].train_utils
    options = {"rng": rng, "model_cls": model_cls, "dataset": dataset, "workdir": workdir, "writer": writer}
    with start_from(scenic_config, model_cls, dataset.meta_data, workdir, train_utils=train_utils):
        return trainer(config=trainer_config, **options)


if __name__ == "__main__":
    app.run(main=main)
