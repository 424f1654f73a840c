"""`vidtldr benchmark`: what merging brings on this machine."""

from __future__ import annotations

import functools
import time
from typing import TYPE_CHECKING, Any

import click

from vidtldr_jax.cli.comparison import MEMORY_MEANING, compare_models, list_rows, summarise_gain, warn_of_loss
from vidtldr_jax.cli.group import CommandError
from vidtldr_jax.cli.options import (
    DEFAULT_MODEL,
    choose_mesh,
    choose_schedule,
    devices_option,
    dtype_option,
    json_option,
    method_option,
    open_model,
    optional_model_option,
    preset_option,
    refuse_model,
    schedule_option,
    verbose_option,
)
from vidtldr_jax.cli.output import print_json, print_line, print_note, print_table, show_progress
from vidtldr_jax.cli.runtime import log_model
from vidtldr_jax.cli.size_search import (
    BUDGET_SECONDS,
    Size,
    choose_repeats,
    describe_search,
    find_paying_size,
    fits_memory,
    list_search,
    measure_size,
)

if TYPE_CHECKING:
    from vidtldr_jax.models.architectures import Config

_EPILOG = """\b
Examples:
  vidtldr benchmark
  vidtldr benchmark --preset umt-b16 --schedule 600,200,100 --repeats 5
  vidtldr benchmark --preset videomae-b16 --frames 32 --dtype bfloat16 --json
"""


@click.command(epilog=_EPILOG)
@optional_model_option
@preset_option
@schedule_option("Without it: one that suits the model.")
@method_option
@click.option("--batch-size", type=click.IntRange(min=1), default=1, show_default=True, help="Clips per run.")
@click.option("--frames", type=click.IntRange(min=1), help="Frames per clip.  [default: the model's]")
@click.option("--repeats", type=click.IntRange(min=1), default=7, show_default=True, help="Timed runs of each.")
@click.option(
    "--search/--no-search",
    default=True,
    show_default=True,
    help=f"Where merging does not pay, look for the size from which it does, for about {BUDGET_SECONDS:.0f} s.",
)
@devices_option
@dtype_option
@json_option
@verbose_option
def benchmark(
    model: str | None,
    preset: str | None,
    schedule: str | None,
    method: str | None,
    batch_size: int,
    frames: int | None,
    repeats: int,
    search: bool,
    devices: int,
    dtype: str,
    as_json: bool,
) -> None:
    """Times the plain against the merged model on random clips.

    Both are compiled ahead of time, without a cache; after a warm-up they run in turn (plain, merged, plain, ...), so
    that a drift of the machine's speed meets both. Weights don't matter for the time, so presets have random ones.

    Where merging does not pay, larger clips and then larger batches are measured too, with the schedule as it was
    written: ratios stay ratios and counts stay counts.
    """
    from vidtldr_jax.inference.device import describe_device
    from vidtldr_jax.inference.sharding import round_up_batch
    from vidtldr_jax.inference.timing import make_random_model, make_random_video
    from vidtldr_jax.models.presets import get_preset

    if model is not None and preset is not None:
        raise click.UsageError("give --model or --preset, not both.")
    name = preset or model or DEFAULT_MODEL
    written = choose_schedule(schedule, name)
    try:
        loaded = (
            make_random_model(get_preset(preset), written, method=method, dtype=dtype, mesh=choose_mesh(devices))
            if preset
            else open_model(name, schedule=written, method=method, dtype=dtype, devices=devices)
        )
        if preset:
            log_model(loaded)
        batch_size = round_up_batch(batch_size, loaded.mesh)
        shape = _find_shape(loaded.config, batch_size, frames)
        resolved = loaded.schedule_for(shape)
    except ValueError as error:
        raise refuse_model(error) from error
    start = Size(shape[1], batch_size)
    video = make_random_video(loaded.config, batch_size=batch_size, num_frames=start.frames)
    with show_progress(f"compiling and timing {repeats} runs of each"):
        began = time.monotonic()
        result = compare_models(loaded, video, repeats=repeats)
        first_seconds = time.monotonic() - began
    brought = None
    if search and not result["pays"] and not resolved.is_plain:
        with show_progress("merging does not pay; looking for the size from which it does"):
            brought = find_paying_size(
                functools.partial(measure_size, loaded, repeats=choose_repeats(result, repeats)),
                start,
                first_seconds=first_seconds,
                fits=functools.partial(fits_memory, loaded),
            )
    heading = {"model": name, "weights": "random" if preset else "trained", "device": describe_device()}
    setting = {"shape": list(shape), "dtype": dtype, "repeats": repeats, "memory_meaning": MEMORY_MEANING}
    warning = warn_of_loss(result)
    if as_json:
        print_json({**heading, **setting, **result, "warning": warning, **list_search(brought, result, start)})
        return
    _print(heading, setting, result, resolved.describe())
    if warning:
        print_note(warning)
    if brought is not None:
        print_note(describe_search(brought, start))


def _print(heading: dict[str, Any], setting: dict[str, Any], result: dict[str, Any], schedule: str) -> None:
    print_line(f"model     {heading['model']}, {heading['weights']} weights, {setting['dtype']}")
    print_line(
        f"clips     {' x '.join(str(side) for side in setting['shape'])} (batch, frames, rows, columns, colours)"
    )
    print_line(f"device    {heading['device']}")
    print_line(f"schedule  {schedule}")
    print_line()
    print_table(("", "plain", "merged"), list_rows(result, compile_label="compile"))
    print_line()
    print_line(summarise_gain(result))
    print_line(f"memory: {MEMORY_MEANING}")


def _find_shape(config: Config, batch_size: int, frames: int | None) -> tuple[int, ...]:
    count = config.num_frames if frames is None else frames
    if count % config.tubelet_size:
        raise CommandError(
            f"--frames is a multiple of the model's tubelet, {config.tubelet_size}; got {count}; "
            f"take {count + config.tubelet_size - count % config.tubelet_size}."
        )
    return (batch_size, count, config.image_size, config.image_size, config.num_channels)
