"""Configs: Python files with `get_config`, which returns an `ml_collections.ConfigDict`."""

from __future__ import annotations

import importlib.util
import inspect
import logging
import sys
from pathlib import Path
from typing import Any, Final

from vidtldr_jax.cli.group import CommandError
from vidtldr_jax.trust.nearest import suggest

log = logging.getLogger("vidtldr_jax")

RUNS_CODE: Final = "The file is run as Python: give only one that you trust."  # in the help of each --config
_INSTALL: Final = "pip install 'vidtldr-jax[configs]'"


def run_config(place: str) -> Any:
    """Runs a config file.

    Args:
      place: its path, perhaps with :argument behind it.

    Returns:
      What its `get_config` returned, a ConfigDict.

    Raises:
      CommandError: there is no such file, it can't be run, or needs a package that is missing.
    """
    head, mark, argument = place.partition(".py:")
    path = Path(head + ".py" if mark else place)
    if not path.is_file():
        names = [str(other) for other in path.parent.glob("*.py")] if path.parent.is_dir() else []
        hint = suggest(str(path), names, otherwise="check it.")
        raise CommandError(f"a config is a Python file, perhaps with :argument; there is no {str(path)!r}; {hint}")
    spec = importlib.util.spec_from_file_location("vidtldr_config", path)
    if spec is None or spec.loader is None:
        raise CommandError(f"a config is a Python file, perhaps with :argument; {place!r} is none; give another.")
    module = importlib.util.module_from_spec(spec)
    keeps_bytecode, sys.dont_write_bytecode = sys.dont_write_bytecode, True  # no __pycache__ beside a user's file
    try:
        spec.loader.exec_module(module)
        get_config = module.get_config
        if argument and not inspect.signature(get_config).parameters:
            raise CommandError(f"get_config of {path} takes no argument; got {argument!r}; leave it out.")
        config = get_config(argument) if argument else get_config()
    except CommandError:
        raise
    except ModuleNotFoundError as error:
        hint = _INSTALL if error.name == "ml_collections" else "install it"
        raise CommandError(f"{path} needs the module {error.name}, which is not installed; {hint}.") from error
    except (Exception, SystemExit) as error:  # whatever a user's file may do wrong; leaving would look like success
        reason = " ".join(str(error).split())
        raise CommandError(f"{path} can't be run ({type(error).__name__}: {reason}); fix it.") from error
    finally:
        sys.dont_write_bytecode = keeps_bytecode
    log.info("config %s: %s", path, f"argument {argument}" if argument else "no argument")
    if not hasattr(config, "get"):
        raise CommandError(f"get_config returns a ConfigDict; that of {path} does not; fix it.")
    return config
