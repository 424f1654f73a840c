"""The command group: every failure becomes one line that starts with `error:` and an exit code, 1 or 2."""

from __future__ import annotations

import difflib
import logging
import os
import re
import sys
import traceback
from collections.abc import Sequence
from typing import Any, NoReturn

import click
import jax

from checkpoints_convert.errors import ConversionError
from vidtldr_jax.data.errors import VideoReadError, WorkerError
from vidtldr_jax.data.text import TextError
from vidtldr_jax.inference.checkpoint import CheckpointError

log = logging.getLogger("vidtldr_jax")
# snake_case, a class, or a method of one
_NAME = r"(?:[a-z]+(?:_[a-z]+)+|[A-Z]\w*(?:\.[a-z_]+)?): "
_FUNCTION_NAME = re.compile(rf"^{_NAME}|(?<=: ){_NAME}")


class CommandError(click.ClickException):
    """The work failed for a reason that the user can do something about; the message is one line."""


class CommandGroup(click.Group):
    """A group with nearest names for unknown commands, and one-line errors."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Finds the command; an unknown one is answered with the nearest name."""
        name = args[0]
        if self.get_command(ctx, name) is None and not name.startswith("-"):
            known = self.list_commands(ctx)
            near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
            hint = f"did you mean {near[0]!r}?" if near else f"commands are {', '.join(known)}."
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
        except (VideoReadError, WorkerError, TextError, CheckpointError, ConversionError) as error:
            _fail(str(error), 1)
        except OSError as error:
            _discard_unwritten()
            _fail(describe_os_error(error), 1)
        except (MemoryError, jax.errors.JaxRuntimeError) as error:
            if isinstance(error, MemoryError) or "RESOURCE_EXHAUSTED" in str(error):
                _fail(f"memory ran out ({_first_line(error)}); take a smaller --batch-size or a smaller model", 1)
            raise
        if not standalone_mode:
            return code
        sys.exit(code if isinstance(code, int) else 0)


def describe_os_error(error: OSError) -> str:
    """Says in one line what the system refused, and for which file."""
    place = f"{str(error.filename)!r}: " if error.filename else ""
    return f"{place}{error.strerror or error}; check the path, its permissions and the space left"


def format_error(message: str) -> str:
    """Returns the line that tells a failure."""
    return f"error: {strip_function_name(message)}".encode(errors="backslashreplace").decode()


def strip_function_name(message: str) -> str:
    """Puts a message on one line; the name of the function that refused is for callers, not for users."""
    return _FUNCTION_NAME.sub("", " ".join(message.split()))


def _describe_usage(error: click.UsageError) -> str:
    help_command = f"see {error.ctx.command_path} --help" if error.ctx else "see --help"
    message = error.format_message().rstrip()
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
    if log.isEnabledFor(logging.DEBUG):
        traceback.print_exc()
    click.echo(format_error(message), err=True)
    sys.exit(code)
