"""Two processes that run together, as those of two hosts do."""

import os
import re
import socket
import subprocess
from concurrent import futures
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
_SECONDS = 400  # a pair that waits for each other would never end


def run_pair(make_command, *, cwd, num_devices):
    """Runs both processes; they must end in time, and where one fails, the output of both is shown.

    Args:
      make_command: a free port, as a text, and the number of a process -> its command.
      cwd: the folder that they run in.
      num_devices: pretended devices of each.
    """
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    flags = re.sub(r"--xla_force_host_platform_device_count=\d+", "", os.environ["XLA_FLAGS"])
    flags = f"{flags} --xla_force_host_platform_device_count={num_devices}".strip()
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]).rstrip(os.pathsep)
    environment = {**os.environ, "JAX_PLATFORMS": "cpu", "XLA_FLAGS": flags, "PYTHONPATH": path}
    fields = {"cwd": cwd, "env": environment, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    processes = [subprocess.Popen(make_command(port, number), **fields) for number in range(2)]
    with futures.ThreadPoolExecutor() as pool:  # each is read while it runs: a full pipe would stop it
        printed = list(pool.map(_wait_for, processes))
    shown = "\n".join(f"process {number}:\n{text[-4000:]}" for number, text in enumerate(printed))
    assert [process.returncode for process in processes] == [0, 0], shown


def _wait_for(process):
    """Returns what a process prints until it ends, or until it has taken too long."""
    try:
        return process.communicate(timeout=_SECONDS)[0]
    except subprocess.TimeoutExpired:
        process.kill()
        return f"{process.communicate()[0]}\nstill running after {_SECONDS} s"
