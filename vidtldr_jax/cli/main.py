"""`vidtldr`: the group of commands."""

from __future__ import annotations

import click

from vidtldr_jax import __version__
from vidtldr_jax.cli.group import CommandGroup, LazyCommands
from vidtldr_jax.cli.runtime import end_interrupted, set_verbosity, take_over_process

_EPILOG = """\b
Examples:
  vidtldr demo
  vidtldr visualize clip.mp4 --html clip.html
  vidtldr classify clip.mp4 --schedule 100,40
  vidtldr embed videos/ --model checkpoints/umt-b16-msrvtt --tokens --out index
  vidtldr search index "a dog catches a frisbee"
  vidtldr evaluate classification --manifest val.csv
  vidtldr finetune --data train.csv --val val.csv --out runs/mine
  vidtldr convert vit_b16_k400.pth checkpoints/umt-b16-k400
  vidtldr export --model checkpoints/umt-b16-k400 --schedule 600,200,100 --out model.stablehlo
  vidtldr info umt-b16 --schedule 600,200,100
  vidtldr plan --preset umt-b16 --max-gmacs 178

Exit codes: 0 done, 1 something failed, 2 wrong usage.
"""
# Command `x` is the function x in the module x beside this one.
_COMMANDS = LazyCommands(
    "vidtldr_jax.cli.",
    (
        "demo",
        "visualize",
        "classify",
        "embed",
        "search",
        "ask",
        "evaluate",
        "finetune",
        "plan",
        "schedules",
        "convert",
        "export",
        "info",
        "benchmark",
        "completion",
    ),
)


@click.group(
    cls=CommandGroup,
    commands=_COMMANDS,
    epilog=_EPILOG,
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.version_option(__version__, prog_name="vidtldr")
@click.option("-v", "--verbose", is_flag=True, help="Print more to stderr.")
def cli(verbose: bool) -> None:
    """Makes trained video transformers cheaper without training (vid-TLDR), in JAX."""
    set_verbosity(verbose)


def main() -> None:
    """Runs the command line of this process."""
    take_over_process()
    try:
        cli(prog_name="vidtldr")
    except SystemExit as left:
        if isinstance(left.__context__, click.Abort):
            end_interrupted(1)
        raise
