"""Colours are for terminals: none in a pipe, none with NO_COLOR, and no escapes at all on a dumb terminal."""

import os
import pty
import re
import subprocess
import sys

import pytest

from tests.cli.test_main import ROOT

# What a command may print and draw, and a failure.
EVERYTHING = """
import sys
from vidtldr_jax.cli.group import print_error
from vidtldr_jax.cli.output import print_note, print_table, show_progress
print_table(("name", "value"), [("a", "1")], title="title")
print_note("something")
with show_progress("working", total=2) as progress:
    progress.advance(progress.task_ids[0])
with show_progress("waiting"):
    pass
print_error("failed")
"""
COLOUR = re.compile("\x1b\\[[0-9;]*m")
PLAIN = ("NO_COLOR", "FORCE_COLOR", "CLICOLOR_FORCE", "TTY_COMPATIBLE", "TTY_INTERACTIVE", "COLORTERM", "TERM")


def make_environment(**environment):
    return {k: v for k, v in os.environ.items() if k not in PLAIN} | {"PYTHONPATH": ROOT} | environment


def run_on_terminal(*words, **environment):
    """Runs Python with both outputs on a pseudo-terminal; returns what is written there."""
    master, slave = pty.openpty()
    environment = make_environment(TERM="xterm-256color") | environment
    with subprocess.Popen([sys.executable, *words], stdout=slave, stderr=slave, env=environment) as process:
        os.close(slave)
        written = b""
        while True:
            try:
                part = os.read(master, 65536)
            except OSError:  # Linux tells so that nobody can write any more
                break
            if not part:
                break
            written += part
    os.close(master)
    assert process.returncode in (0, 2)
    return written.decode()


def test_a_terminal_gets_red_errors_yellow_notes_a_table_and_a_bar():
    written = run_on_terminal("-c", EVERYTHING)
    assert "\x1b[31merror:\x1b[0m failed" in written
    assert "\x1b[33mnote:\x1b[0m something" in written
    assert "┃" in written
    assert "working" in written
    assert COLOUR.search(run_on_terminal("-m", "vidtldr_jax", "clasify"))


def test_no_color_is_respected():
    written = run_on_terminal("-c", EVERYTHING, NO_COLOR="1")
    assert "error: failed" in written
    assert "┃" in written
    assert "working" in written
    assert COLOUR.findall(written) == []


def test_a_dumb_terminal_gets_no_escapes():
    written = run_on_terminal("-c", EVERYTHING, TERM="dumb")
    assert "note: something" in written
    assert "┃" in written
    assert "working" not in written
    assert "\x1b" not in written


@pytest.mark.parametrize("forced", [{}, {"FORCE_COLOR": "1", "CLICOLOR_FORCE": "1", "TTY_COMPATIBLE": "1"}])
def test_a_pipe_gets_plain_text_and_no_progress(forced):
    environment = make_environment(TERM="xterm-256color", **forced)
    command = [sys.executable, "-c", EVERYTHING]
    result = subprocess.run(command, capture_output=True, text=True, env=environment, check=True)
    assert result.stdout == "title\nname  value\na         1\n"
    assert result.stderr == "note: something\nerror: failed\n"
