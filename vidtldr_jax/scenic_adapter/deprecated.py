"""A stand-in for `scenic.train_lib_deprecated`, which Scenic deleted in 2023 and ViViT's own trainer still imports.

    install_stand_in()
    from scenic.projects.vivit import trainer

Of that package the trainer uses a state that holds parameters inside an optimizer with `apply_gradient`, and functions
that `scenic.train_lib` still has. The optimizer here is optax's, by the same config fields; checkpoints have the layout
`optimizer/target`, as they had then.
"""

from __future__ import annotations

import importlib.util
import sys
import time
import types
from typing import Any, Final

import flax
import jax
import optax
from flax import jax_utils
from flax.training import checkpoints
from scenic.train_lib import lr_schedules, optimizers, train_utils

PACKAGE: Final = "scenic.train_lib_deprecated"
_MOST_KEPT: Final = 3
# As `scenic.train_lib.train_utils` has them.
_UNCHANGED: Final = (
    "barrier_across_hosts",
    "bind_rng_to_host_device",
    "get_dataset",
    "get_num_training_steps",
    "initialize_model",
    "log_eval_summary",
    "log_train_summary",
    "normalize_metrics_summary",
    "stack_forest",
    "sync_model_state_across_replicas",
    "unreplicate_and_get",
)


# What flax.struct adds, for the type checker.
_Struct: Any = object


@flax.struct.dataclass
class Optimizer(_Struct):
    """Parameters and the optimizer's state.

    Attributes:
      target: the parameters.
      state: of the gradient transformation.
      transformation: optax's, at a learning rate of 1.
    """

    target: Any
    state: Any
    transformation: optax.GradientTransformation = flax.struct.field(pytree_node=False)

    def apply_gradient(self, grad: Any, *, learning_rate: jax.Array) -> Optimizer:
        """Returns the optimizer after one step."""
        updates, state = self.transformation.update(grad, self.state, self.target)
        updates = jax.tree.map(lambda update: learning_rate * update, updates)
        return self.replace(target=optax.apply_updates(self.target, updates), state=state)


class OptimizerDefinition:
    """Makes an `Optimizer` of parameters, as a config describes it."""

    def __init__(self, config: Any) -> None:
        self._config = config

    def create(self, params: Any) -> Optimizer:
        """Returns an optimizer at its beginning."""
        description = optimizers.get_optax_optimizer_config(self._config)
        transformation = optimizers.get_optimizer(description, lambda step: 1.0, params=params)
        return Optimizer(params, transformation.init(params), transformation)


@flax.struct.dataclass
class TrainState(_Struct):
    """The state of training.

    Attributes:
      global_step: steps done.
      optimizer: parameters and optimizer.
      model_state: other variables of the module.
      rng: of the next steps.
      accum_train_time: seconds of training in earlier runs.
    """

    global_step: Any = 0
    optimizer: Any = None
    model_state: Any = None
    rng: Any = None
    accum_train_time: Any = 0


class Chrono:
    """Measures training without what lies between `pause` and `resume`.

    Attributes:
      accum_train_time: seconds of training, earlier runs included.
    """

    def __init__(
        self, first_step: int, total_steps: int, steps_per_epoch: int, global_bs: int, accum_train_time: float = 0
    ) -> None:
        del total_steps, steps_per_epoch
        self.accum_train_time = accum_train_time
        self._batch_size, self._last_step, self._seconds = global_bs, first_step, 0.0
        self._start: float | None = time.monotonic()

    def pause(self) -> None:
        """Stops the clock."""
        if self._start is not None:
            elapsed = time.monotonic() - self._start
            self._seconds += elapsed
            self.accum_train_time += elapsed
            self._start = None

    def resume(self) -> None:
        """Starts the clock again."""
        self._start = time.monotonic()

    def tick(self, step: int, writer: Any) -> None:
        """Writes the speed since the last tick."""
        steps = step - self._last_step
        if steps and self._seconds:
            writer.write_scalars(step, {"img/sec": steps * self._batch_size / self._seconds})
        self._last_step, self._seconds = step, 0.0


def restore_checkpoint(workdir: str, train_state: TrainState) -> tuple[TrainState, int]:
    """Returns the state of the last checkpoint in a folder, and its step; the given state and 0 where there is none."""
    restored = checkpoints.restore_checkpoint(workdir, train_state)
    return restored, int(restored.global_step)


def save_checkpoint(workdir: str, train_state: TrainState) -> None:
    """Writes the state of the first device and keeps the last few checkpoints."""
    state = jax.device_get(jax_utils.unreplicate(train_state))
    checkpoints.save_checkpoint(workdir, state, int(state.global_step), keep=_MOST_KEPT, overwrite=True)


def _decay_weight(weight: Any, *, lr: Any, decay: float) -> Any:
    return weight * (1 - lr * decay)


def install_stand_in() -> bool:
    """Puts the stand-in where `scenic.train_lib_deprecated` is missing.

    Returns:
      Whether it was missing.
    """
    if PACKAGE in sys.modules or importlib.util.find_spec(PACKAGE) is not None:
        return False
    parts: dict[str, dict[str, Any]] = {
        "lr_schedules": {"get_learning_rate_fn": lr_schedules.get_learning_rate_fn},
        "optimizers": {
            "get_optimizer": OptimizerDefinition,
            "tree_map_with_names": optimizers.tree_map_with_names,
            "decay_weight_fn": _decay_weight,
        },
        "pretrain_utils": {},  # the trainer asks it for init_from alone, which `initial` reads
        "train_utils": {
            **{name: getattr(train_utils, name) for name in _UNCHANGED},
            "TrainState": TrainState,
            "Chrono": Chrono,
            "restore_checkpoint": restore_checkpoint,
            "save_checkpoint": save_checkpoint,
        },
    }
    package = types.ModuleType(PACKAGE, __doc__)
    package.__path__ = []
    sys.modules[PACKAGE] = package
    for name, contents in parts.items():
        module = types.ModuleType(f"{PACKAGE}.{name}", __doc__)
        vars(module).update(contents)
        setattr(package, name, module)
        sys.modules[f"{PACKAGE}.{name}"] = module
    return True
