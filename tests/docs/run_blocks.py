"""Runs blocks of Python one after the other in one namespace, as a page shows them."""

import contextlib
import io
import json
import sys


def run_blocks(blocks):
    """Returns what each block prints; blocks are pairs of a place and a text."""
    names = {"__name__": "__main__"}
    printed = []
    for place, text in blocks:
        with contextlib.redirect_stdout(io.StringIO()) as output:
            exec(compile(text, place, "exec"), names)
        printed.append(output.getvalue())
    return printed


if __name__ == "__main__":
    json.dump(run_blocks(json.load(sys.stdin)), sys.stdout)
