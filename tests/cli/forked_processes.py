"""Command lines in processes of their own, which can be killed and share imports and compiled programs."""

import contextlib
import json
import os
import signal
import subprocess
import sys

from tests.cli.test_main import ROOT


class ForkedProcesses:
    """Runs `vidtldr` in processes that are forked from one that has imported everything; one at a time."""

    def __init__(self, folder):
        self.log = folder / "stderr.txt"
        command = [sys.executable, "-m", "tests.cli.forked_calls"]
        environment = os.environ | {"PYTHONPATH": ROOT, "XDG_CACHE_HOME": str(folder / "cache")}
        with self.log.open("w") as log:
            self.parent = subprocess.Popen(
                command, env=environment, cwd=ROOT, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log
            )

    def start(self, *words):
        """Starts a command line; returns the process's number."""
        self._say(json.dumps([*map(str, words)]))
        return int(self.parent.stdout.readline())

    def wait(self):
        """Waits for what was started; returns its exit code."""
        self._say("")
        return int(self.parent.stdout.readline())

    def kill(self, process):
        """Kills what was started, if it still runs; returns its exit code."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(process, signal.SIGKILL)
        return self.wait()

    def close(self):
        self.parent.stdin.close()
        self.parent.wait()
        self.parent.stdout.close()

    def _say(self, line):
        self.parent.stdin.write(f"{line}\n")
        self.parent.stdin.flush()
