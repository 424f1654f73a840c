"""The command group: every failure becomes one line that starts with `error:` and an exit code, 1 or 2."""

from __future__ import annotations

import importlib
import logging
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NoReturn

import click

from vidtldr_jax.cli.log_lines import print_traceback
from vidtldr_jax.cli.output import print_labelled
from vidtldr_jax.trust.nearest import suggest
from vidtldr_jax.trust.regular import NotRegularError
from vidtldr_jax.trust.versions import VersionError

log = logging.getLogger("vidtldr_jax")


class CommandError(click.ClickException):
    """The work failed for a reason that the user can do something about; the message is one line."""


class LazyCommands(Mapping[str, click.Command]):
    """Commands by name; the module of a command is imported when the command is looked up."""

    def __init__(self, prefix: str, names: Sequence[str]) -> None:
        """Takes what stands before a command's name in that of its module, and the names."""
        self.prefix = prefix
        self.names = tuple(names)

    def __getitem__(self, name: str) -> click.Command:
        """Imports a command."""
        if name not in self.names:
            raise KeyError(name)
        command: click.Command = getattr(importlib.import_module(f"{self.prefix}{name}"), name)
        return command

    def __iter__(self) -> Iterator[str]:
        return iter(self.names)

    def __len__(self) -> int:
        return len(self.names)


class CommandGroup(click.Group):
    """A group with nearest names for unknown commands, and one-line errors."""

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Lists the commands with the whole first sentence of each one's help."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, self.commands[name].get_short_help_str(1000)) for name in sorted(self.commands)])

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Finds the command; an unknown one is answered with the nearest name."""
        name = args[0]
        known = self.list_commands(ctx)
        if name not in known and not name.startswith("-"):
            hint = suggest(name, known, otherwise=f"commands are {', '.join(known)}.", cutoff=0.5)
            raise click.UsageError(f"there is no command {name!r}; {hint}", ctx)
        return super().resolve_command(ctx, args)

    def main(  # type: ignore[override]  # click overloads this by standalone_mode
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        standalone_mode: bool = True,
        **extra: Any,
    ) -> Any:
        """Runs a command line and, in standalone mode, leaves with its exit code."""
        try:
            code = super().main(args, prog_name=prog_name, standalone_mode=False, **extra)
            sys.stdout.flush()
        except BrokenPipeError:
            _discard_unwritten()  # whoever read our output has gone
            sys.exit(1)
        except click.UsageError as error:
            _fail(_describe_usage(error), 2)
        except click.Abort:
            _fail("interrupted", 1)
        except click.ClickException as error:
            _fail(error.format_message(), 1)
        except VersionError as error:
            _fail(str(error), 1)
        except OSError as error:
            _discard_unwritten()
            _fail(describe_os_error(error), 1)
        except Exception as error:
            if (message := _explain(error)) is None:
                raise
            _fail(message, 1)
        if not standalone_mode:
            return code
        sys.exit(code if isinstance(code, int) else 0)


def describe_os_error(error: OSError) -> str:
    """Says in one line what the system refused, and for which file."""
    if isinstance(error, NotRegularError):
        return str(error)
    place = f"{str(error.filename)!r}: " if error.filename is not None else ""
    told = "".join(f"; {note}" for note in getattr(error, "__notes__", ()))  # such as what is safe
    return f"{place}{error.strerror or error}; check the path, its permissions and the space left{told}"


def print_error(message: str, *, about: str | None = None) -> None:
    """Tell a failure, to stderr.

    Args:
      message: what is wrong.
      about: name of the video or file that it is about, which is printed in front as it is.
    """
    print_labelled("error:", "red", " ".join(message.split()), about=about)


def _explain(error: Exception) -> str | None:
    """Returns what to tell of an error that a user can do something about, None of a bug."""
    # Only what has failed waits for these imports.
    import jax

    from checkpoints_convert.errors import ConversionError
    from vidtldr_jax.data.errors import VideoReadError, WorkerError
    from vidtldr_jax.data.text import TextError
    from vidtldr_jax.inference.checkpoint import CheckpointError
    from vidtldr_jax.inference.finite import NotFiniteError
    from vidtldr_jax.trust.limits import LimitError

    known = (VideoReadError, WorkerError, TextError, CheckpointError, ConversionError, NotFiniteError, LimitError)
    if isinstance(error, known):
        return str(error)
    is_of_memory = isinstance(error, jax.errors.JaxRuntimeError) and "RESOURCE_EXHAUSTED" in str(error)
    if is_of_memory or isinstance(error, MemoryError):
        return f"memory ran out ({_first_line(error)}); take a smaller --batch-size or a smaller model"
    return None


def _describe_usage(error: click.UsageError) -> str:
    help_command = f"see {error.ctx.command_path} --help" if error.ctx else "see --help"
    message = error.format_message().rstrip()
    if isinstance(error, click.NoSuchOption):
        message = f"there is no option {error.option_name!r}"
        if error.possibilities:
            message += f"; did you mean {error.possibilities[0]!r}?"
    return f"{message if message.endswith(('.', '?', ')')) else f'{message}.'} ({help_command})"


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:200]


def _discard_unwritten() -> None:
    """Gives up what standard output can't take; else Python tries again at exit, with a code of its own."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _fail(message: str, code: int) -> NoReturn:
    error = sys.exception()
    if error is not None and log.isEnabledFor(logging.DEBUG):
        print_traceback(type(error), error, error.__traceback__)
    print_error(message)
    sys.exit(code)
