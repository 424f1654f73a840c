"""A function applied in worker processes, through the library grain: in order, read ahead, through shared memory."""

from __future__ import annotations

import gc
import multiprocessing
import os
import signal
import threading
import weakref
from collections.abc import Callable, Generator, Sequence
from multiprocessing import util
from typing import Any, Final, TypeVar

import numpy as np

from vidtldr_jax.data.errors import WorkerError

Item = TypeVar("Item")
Result = TypeVar("Result")

_RUNNING: Final[weakref.WeakSet[Generator[Any, None, None]]] = weakref.WeakSet()
_LONGEST_DELETION: Final = 5.0  # seconds; it is a matter of milliseconds, and no reason to hang


def map_in_workers(
    function: Callable[[Item], Result], items: Sequence[Item], *, num_workers: int
) -> Generator[Result, None, None]:
    """Applies a function in worker processes, ahead of the consumer.

    Args:
      function: importable or picklable. What it raises is raised here.
      items: at least one per worker, picklable; worker i takes every num_workers-th from i on.
      num_workers: processes, at least 1. Each holds at most four results that were not asked for yet: one in its hands,
        one in its queue, and the same again on this side.

    Returns:
      A generator of the results in order. Arrays, also in tuples, are copied out of shared memory, which is small in
      containers.

    Raises:
      WorkerError: grain is not installed, or a worker ended.
    """
    results = _map_in_workers(import_grain(), function, items, num_workers)
    _RUNNING.add(results)
    return results


def _map_in_workers(
    grain: Any, function: Callable[[Item], Result], items: Sequence[Item], num_workers: int
) -> Generator[Result, None, None]:
    # Threads within a worker would read ahead by themselves.
    in_turn = grain.ReadOptions(num_threads=0, prefetch_buffer_size=0)
    processes = grain.MultiprocessingOptions(num_workers=num_workers, per_worker_buffer_size=1)
    dataset = grain.MapDataset.source(items).map(function).to_iter_dataset(in_turn)
    iterator = iter(dataset.mp_prefetch(processes, worker_init_fn=_prepare_worker))
    try:
        # Nothing here holds on to what is shared while the consumer is busy.
        yield from map(_copy_arrays, iterator)
    except RuntimeError as error:
        if "process was terminated unexpectedly" not in str(error):
            raise
        raise WorkerError(
            f"workers live until all is read; one was {_find_reason(error)}: memory or /dev/shm ran out, "
            'a decoder crashed, or a script lacks `if __name__ == "__main__":`; take fewer workers, or none to see '
            "which video it is."
        ) from error
    finally:
        iterator.close()
        # What ended grain's threads holds on to their last results, in a circle.
        gc.collect()
        # Python would end before shared memory is given back, and warn of a leak. One thread does it, in order.
        deleting = getattr(grain.multiprocessing.SharedMemoryArray, "_del_thread_pool", None)
        if deleting is not None:
            deleting.apply_async(int).wait(_LONGEST_DELETION)


def _end_all() -> None:
    """Ends what a script has left open when it ends; later, what grain needs for that is gone."""
    for results in list(_RUNNING):
        results.close()


# First of what multiprocessing ends: its pools of threads, of which grain has one, have 15.
util.Finalize(None, _end_all, exitpriority=100)


def import_grain() -> Any:
    """Imports grain when it is needed.

    Returns:
      The module.

    Raises:
      WorkerError: it is not installed.
    """
    try:
        import grain
        from absl import flags
    except ImportError as error:
        raise WorkerError(
            "worker processes need grain, which is not installed; pip install 'vidtldr-jax[workers]', or "
            "take 0 workers."
        ) from error
    # grain asks absl for flags of its own, and absl refuses before someone has parsed a command line.
    if not flags.FLAGS.is_parsed():
        flags.FLAGS.mark_as_parsed()
    return grain


def _copy_arrays(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return np.array(value)
    if isinstance(value, tuple):
        parts = map(_copy_arrays, value)
        return type(value)(*parts) if hasattr(value, "_fields") else tuple(parts)
    return value


def _prepare_worker(index: int, count: int) -> None:
    """Runs first in every worker."""
    import jax

    # grain and this package import JAX. Nothing here computes with it, but if anything did, a worker would take memory
    # of an accelerator that the consumer fills, or fail where only one process may hold it. The environment variable
    # is read at the import, which has been; this setting is read when a device is first used.
    jax.config.update("jax_platforms", "cpu")
    # Ctrl-C reaches all processes of a terminal; the consumer ends its workers by itself.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """Ends this process when its parent is gone without a word: killed, or out of memory."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _find_reason(error: BaseException) -> str:
    """Returns grain's words without its advice, which is for whoever reads logs."""
    return str(error).split(". ", 1)[0].removeprefix("Worker process was ")
