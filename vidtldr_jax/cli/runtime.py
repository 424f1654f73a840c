"""The process around a command: what is logged, and where compiled programs are kept between calls."""

from __future__ import annotations

import _thread
import atexit
import logging
import os
import signal
import sys
import threading
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from vidtldr_jax.cli.log_lines import HarmlessFormatter, HarmlessRecord, NoteHandler, print_traceback
from vidtldr_jax.cli.program_cache import use_program_cache
from vidtldr_jax.trust import notes
from vidtldr_jax.trust.private_folder import NotPrivateError, make_private_folder
from vidtldr_jax.trust.versions import NOTES

if TYPE_CHECKING:
    from vidtldr_jax.inference.model import VideoModel

log = logging.getLogger("vidtldr_jax")
_PROBING_LOGGERS = ("jax._src.xla_bridge", "jax._src.hardware_utils", "jax._src.cloud_tpu_init")


def set_verbosity(is_verbose: bool) -> None:
    """Let only errors through, or everything with -v; JAX says nothing of devices that it did not find."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(HarmlessFormatter("%(name)s: %(message)s"))
    handler.addFilter(lambda record: record.name != notes.LOGGER)
    logging.basicConfig(handlers=[handler])
    logger = logging.getLogger(notes.LOGGER)
    logger.handlers = [NoteHandler()]
    logger.setLevel(logging.WARNING)
    logging.getLogger().setLevel(logging.WARNING if is_verbose else logging.ERROR)
    log.setLevel(logging.DEBUG if is_verbose else logging.ERROR)
    for name in _PROBING_LOGGERS:
        logging.getLogger(name).setLevel(logging.INFO if is_verbose else logging.ERROR)
    for note in NOTES:  # of imports that were made before
        log.info(note)


def take_over_process() -> None:
    """Keep warnings off the terminal, and make what Python and other libraries log or raise only show characters.

    To be called where the process is ours alone.
    """
    warnings.simplefilter("ignore")
    logging.captureWarnings(True)  # of whoever puts them on again
    logging.setLogRecordFactory(HarmlessRecord)
    sys.excepthook = print_traceback
    threading.excepthook = lambda hook: print_traceback(hook.exc_type, hook.exc_value, hook.exc_traceback)
    sys.unraisablehook = _print_unraisable
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:  # a shell's `>&-` closed it
            setattr(sys, name, os.fdopen(os.open(os.devnull, os.O_WRONLY), "w", encoding="utf-8"))
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")


def end_interrupted(code: int) -> NoReturn:
    """End the process after Ctrl-C: XLA, stopped while it compiles, does not survive Python's own end.

    Args:
      code: of the exit.
    """
    atexit._run_exitfuncs()  # that of multiprocessing ends worker processes
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def _interrupt() -> None:
    if hasattr(signal, "pthread_kill"):
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)  # which wakes it, too
    else:
        _thread.interrupt_main()


def _print_unraisable(hook: Any) -> None:
    if hook.exc_type is KeyboardInterrupt:
        # Ctrl-C in a callback or a finaliser, which swallows it; at once, this function would.
        threading.Timer(0.05, _interrupt).start()
    else:
        print_traceback(hook.exc_type, hook.exc_value, hook.exc_traceback)


def find_cache_folder() -> Path:
    """Returns where things are kept between calls: below XDG_CACHE_HOME, if that is absolute, or ~/.cache.

    Raises:
      OSError: the user has no home.
    """
    base = Path(os.environ.get("XDG_CACHE_HOME") or ".")
    try:
        return base if base.is_absolute() else Path.home() / ".cache"
    except RuntimeError as error:
        raise OSError(str(error)) from error


def open_cache_folder(name: str, what: str) -> Path | None:
    """Makes a folder of the user alone below the cache folder.

    Args:
      name: of the folder.
      what: is kept there, for the message.

    Returns:
      The folder; None where it can't be made, or others could change what is in it, which is noted.
    """
    from vidtldr_jax.cli.output import print_note

    try:
        return make_private_folder(find_cache_folder(), "vidtldr-jax", name)
    except NotPrivateError as error:
        print_note(f"{what} are not kept: {error}")
    except OSError as error:
        log.info("%s are not kept: %s", what, error)
    return None


def use_compilation_cache() -> None:
    """Keeps compiled programs in the user's cache folder; where that can't be or isn't safe, nothing is kept."""
    from vidtldr_jax.cli.output import print_note

    folder = open_cache_folder("compiled", "compiled programs")
    if folder is None:
        return
    try:
        use_program_cache(folder, print_note)
    except NotImplementedError as error:
        print_note(f"compiled programs are not kept: {error}")
        return
    log.info("compiled programs are kept in %s", folder)


def log_weights(name: str, folder: Path) -> None:
    """Tells with -v which checkpoint stands behind a model's name."""
    log.info("model %s: weights in %s", name, folder.absolute())


def log_model(model: VideoModel) -> None:
    """Tells with -v what a model's schedule makes of a clip, and on what it is computed."""
    from vidtldr_jax.inference.device import describe_device

    if log.isEnabledFor(logging.INFO):
        log.info("schedule: %s", model.schedule.describe())
        log.info("computing in %s on %s", model.dtype, describe_device())
