"""Steps of the GPU check that go wrong, each in its own way."""

import os
import signal
import subprocess
import sys
import time


def hang(size, deadline, excluded):
    """Yields a row, starts a process that outlives nothing, and never ends."""
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    yield {"child": child.pid}
    time.sleep(600)


def die_in_a_kernel(size, deadline, excluded):
    """Yields a row and dies of a signal, unless kernels are left out."""
    yield {"excluded": list(excluded)}
    if "kernel" not in excluded:
        os.kill(os.getpid(), signal.SIGSEGV)
    yield {"reached": "the end"}


def fail(size, deadline, excluded):
    """Yields a row and raises."""
    yield {"tokens": size.oracle_tokens[0]}
    raise RuntimeError("the device went away")
