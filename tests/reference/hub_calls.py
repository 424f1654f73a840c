"""Runs Python against a made-up hub in a process of its own: huggingface_hub reads HF_ENDPOINT when it is imported."""

import os
import subprocess
import sys
from pathlib import Path

_ROOT = str(Path(__file__).resolve().parents[2])
# Retries wait; in a test nothing is gained by it.
_PRELUDE = "import time; time.sleep = lambda seconds: None\n"


def run_with_hub(code, *, endpoint, home, **environment):
    """Runs code; returns what it printed and what went to stderr."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "HUGGING"))}
    settings = {"HF_ENDPOINT": endpoint, "HF_HOME": str(home), "PYTHONPATH": _ROOT, **environment}
    command = [sys.executable, "-c", _PRELUDE + code]
    done = subprocess.run(command, capture_output=True, text=True, env=kept | settings, check=False)
    return done.returncode, done.stdout, done.stderr


def run_command_with_hub(*words, **settings):
    """Runs a command line of vidtldr."""
    code = f"from vidtldr_jax.cli.main import cli; cli({[str(word) for word in words]!r}, prog_name='vidtldr')"
    return run_with_hub(code, **settings)
