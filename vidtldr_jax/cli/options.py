"""Options that commands share, and the defaults behind them.

What imports JAX is imported where it is used, here and in every command: neither `--help` nor completion waits for it.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

import click

from vidtldr_jax.cli.choices import ChoiceType, NameType, is_completing
from vidtldr_jax.cli.group import CommandError
from vidtldr_jax.cli.names import DEFAULT_METHOD, METHODS, PRESETS, SHIPPED_MODELS
from vidtldr_jax.cli.runtime import log_model, log_weights, set_verbosity, use_compilation_cache
from vidtldr_jax.trust.nearest import suggest
from vidtldr_jax.trust.recovery import recover_and_tell

if TYPE_CHECKING:
    from jax.sharding import Mesh

    from vidtldr_jax.inference.model import VideoModel

Command = TypeVar("Command", bound=Callable[..., Any])

DEFAULT_MODEL: Final = "moving-objects"
DEFAULT_SCHEDULES: Final = {DEFAULT_MODEL: "100,40"}
# About what 600,200,100 are of UMT-B/16's 2352 tokens.
FALLBACK_SCHEDULE: Final = "0.25,0.11,0.06"


class ScheduleType(click.ParamType):
    """A schedule as it is written; read here so that a typing error is a usage error."""

    name = "schedule"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Returns the text unchanged, or fails."""
        if is_completing(ctx):
            return str(value)
        from vidtldr_jax.reduction.schedule import parse_schedule

        try:
            parse_schedule(value)
        except (ValueError, TypeError) as error:
            self.fail(str(error), param, ctx)
        return str(value)


class MethodType(NameType):
    """A method's name; one that is unknown is a usage error that names the nearest."""

    names = METHODS

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Returns the name unchanged, or fails."""
        if value in METHODS or is_completing(ctx):
            return str(value)
        from vidtldr_jax.reduction.methods import get_method

        try:
            return get_method(str(value)).name
        except ValueError as error:
            self.fail(str(error), param, ctx)


class PresetType(NameType):
    """A preset's name; one that is unknown is an error that names the nearest."""

    names = PRESETS

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Returns the name unchanged.

        Raises:
          CommandError: there is no such preset.
        """
        if value in PRESETS or is_completing(ctx):
            return str(value)
        from vidtldr_jax.models.presets import get_preset

        try:
            get_preset(str(value))
        except ValueError as error:
            raise CommandError(str(error)) from error
        return str(value)


class ModelType(NameType):
    """A checkpoint folder, a shipped model or an address on a hub, perhaps a preset; the nearest name is named."""

    paths = "dir"

    def __init__(self, *, with_presets: bool = False) -> None:
        self.with_presets = with_presets
        self.names = _list_models(with_presets=with_presets)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Returns the name unchanged.

        Raises:
          CommandError: it stands for no model.
        """
        if not is_completing(ctx):
            check_model_name(str(value), with_presets=self.with_presets)
        return str(value)


def choose_schedule(schedule: str | None, name: str) -> str:
    """Returns the schedule asked for, or the one that suits a model."""
    return schedule if schedule is not None else DEFAULT_SCHEDULES.get(name, FALLBACK_SCHEDULE)


def find_model(name: str) -> Path:
    """Return the folder of a model; one on a hub is downloaded.

    Args:
      name: a checkpoint folder, a shipped model, or one on a hub.

    Returns:
      The folder.

    Raises:
      CommandError: the name can't be one of a model.
    """
    from vidtldr_jax.inference.load import find_checkpoint

    check_model_name(name)
    folder = find_checkpoint(name)
    log_weights(name, folder)
    return folder


def open_model(
    name: str | Path, *, schedule: str | None, method: str | None = None, dtype: str = "float32", devices: int = 1
) -> VideoModel:
    """Loads a model for a command.

    Args:
      name: a checkpoint folder or a shipped model; or a path that `find_model` returned.
      schedule: as it was written.
      method: how tokens are chosen; None is vid-TLDR.
      dtype: of the computation.
      devices: over how many to split the clips.

    Returns:
      The model.

    Raises:
      CommandError: it can't be loaded, the schedule does not fit it, or there are fewer devices.
    """
    from vidtldr_jax.inference.load import load_model

    folder = name if isinstance(name, Path) else find_model(name)
    try:
        model = load_model(folder, schedule=schedule, method=method, dtype=dtype, mesh=choose_mesh(devices))
    except ValueError as error:
        raise refuse_model(error) from error
    log_model(model)
    return model


def refuse_model(error: ValueError, *, config: str | None = None) -> CommandError:
    """Return a command's error, which names the option or config of a schedule that does not fit a model.

    Args:
      error: what making the model raised.
      config: the config that the schedule is from; None where it is from --schedule.

    Returns:
      The error.
    """
    from vidtldr_jax.reduction.schedule import ScheduleError

    place = f"{config or '--schedule'}: " if isinstance(error, ScheduleError) else ""
    return CommandError(f"{place}{error}")


def choose_mesh(devices: int) -> Mesh | None:
    """Returns a mesh of as many devices as were asked for, None for one.

    Args:
      devices: how many.

    Returns:
      The mesh.

    Raises:
      CommandError: there are fewer.
    """
    import jax

    from vidtldr_jax.inference.sharding import make_mesh

    found = jax.local_devices()
    if devices > len(found):
        raise CommandError(
            f"--devices is at most the number of devices, {len(found)} ({found[0].platform}); got {devices}; take "
            "fewer."
        )
    return None if devices == 1 else make_mesh(found[:devices])


def check_model_name(name: str, *, with_presets: bool = False) -> None:
    """Refuses what is no path, no address on a hub and no known name, with the nearest.

    Args:
      name: what was asked for.
      with_presets: whether a preset's name would do.

    Raises:
      CommandError: there is no such model.
    """
    recover_and_tell(name)
    if Path(name).exists() or name in _list_models(with_presets=with_presets):
        return
    from vidtldr_jax.inference.hub import SCHEME

    if not name.startswith(SCHEME):
        raise CommandError(_explain_unknown_model(name, with_presets=with_presets))


def _list_models(*, with_presets: bool) -> tuple[str, ...]:
    return (*SHIPPED_MODELS, *(PRESETS if with_presets else ()))


def _explain_unknown_model(name: str, *, with_presets: bool) -> str:
    known = _list_models(with_presets=with_presets)
    rule = f"a model is a checkpoint folder or one of {', '.join(known)}"
    if name in PRESETS:
        return f"{rule}; {name!r} is an architecture without weights; use it with info or benchmark --preset."
    hint = suggest(name, known, otherwise="check the path, or convert the weights first.")
    return f"{rule}; there is no {name!r}; {hint}"


def model_option(command: Command) -> Command:
    """Adds --model."""
    text = "Checkpoint folder (model.safetensors + config.json), or the name of a shipped model."
    kind = ModelType()
    option = click.option(
        "--model", type=kind, default=DEFAULT_MODEL, show_default=True, metavar="FOLDER|NAME", help=text
    )
    return option(command)


def optional_model_option(command: Command) -> Command:
    """Adds --model where something else may stand in for it."""
    text = f"Checkpoint folder or shipped model.  [default: {DEFAULT_MODEL}]"
    return click.option("--model", type=ModelType(), metavar="FOLDER|NAME", help=text)(command)


def preset_option(command: Command) -> Command:
    """Adds --preset."""
    text = "Published architecture with random weights, such as umt-b16."
    return click.option("--preset", type=PresetType(), metavar="NAME", help=text)(command)


def schedule_option(text: str) -> Callable[[Command], Command]:
    """Adds --schedule, with what is done where it is missing."""
    forms = 'Tokens that each layer loses: "600,200,100", ratios "0.25,0.25", a constant "60x12", or "none".'
    return click.option("--schedule", type=ScheduleType(), metavar="TEXT", help=f"{forms} {text}")


def method_option(command: Command) -> Command:
    """Adds --method."""
    text = f"How tokens are chosen: {', '.join(METHODS)}.  [default: {DEFAULT_METHOD}]"
    return click.option("--method", type=MethodType(), metavar="NAME", help=text)(command)


def dtype_option(command: Command) -> Command:
    """Adds --dtype."""
    kinds = ChoiceType(["float32", "bfloat16"])
    return click.option("--dtype", type=kinds, default="float32", show_default=True, help="Computation dtype.")(command)


def devices_option(command: Command) -> Command:
    """Adds --devices."""
    text = "Devices (GPUs, TPU cores) to split the clips of a batch over; its size is rounded up to a multiple."
    return click.option("--devices", type=click.IntRange(min=1), default=1, show_default=True, help=text)(command)


def json_option(command: Command) -> Command:
    """Adds --json."""
    return click.option("--json", "as_json", is_flag=True, help="Print JSON and nothing else.")(command)


def json_lines_option(command: Command) -> Command:
    """Adds --json to a command that prints one result after the other."""
    text = "Print JSON Lines and nothing else: one object per video, as soon as it is there."
    return click.option("--json", "as_json", is_flag=True, help=text)(command)


def cache_option(command: Command) -> Command:
    """Adds --no-cache; without it, compiled programs are kept from call to call."""

    def start_cache(ctx: click.Context, param: click.Parameter, value: bool) -> None:
        if not value and not is_completing(ctx):
            use_compilation_cache()

    text = "Keep no compiled programs in the user's cache folder (XDG_CACHE_HOME moves it)."
    return click.option("--no-cache", is_flag=True, expose_value=False, callback=start_cache, help=text)(command)


def verbose_option(command: Command) -> Command:
    """Adds -v."""

    def switch(ctx: click.Context, param: click.Parameter, value: bool) -> None:
        if value:
            set_verbosity(True)

    # Eager: what other options log is shown too.
    return click.option(
        "-v",
        "--verbose",
        is_flag=True,
        expose_value=False,
        is_eager=True,
        callback=switch,
        help="Print more to stderr.",
    )(command)
