"""Runs command lines in processes of their own that share their imports. Two lines of input each: a JSON list of words
forks a process and prints its number; the next line waits for it to end and prints its exit code."""

import json
import os
import sys
import traceback

from vidtldr_jax.cli.main import cli


def run(words):
    silent = os.open(os.devnull, os.O_RDWR)
    os.dup2(silent, sys.stdin.fileno())
    os.dup2(silent, sys.stdout.fileno())  # what the parent says goes there
    try:
        cli(words)
    except SystemExit as error:
        os._exit(error.code)
    except BaseException:
        traceback.print_exc()
    os._exit(3)


def import_all(group):
    """Imports every command, so that the forked processes need not."""
    for command in group.commands.values():
        import_all(command) if hasattr(command, "commands") else None


if __name__ == "__main__":
    import_all(cli)
    while line := sys.stdin.readline():
        child = os.fork()
        if not child:
            run(json.loads(line))
        print(child, flush=True)
        sys.stdin.readline()
        # Until now its number is nobody else's, even if it has ended.
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
