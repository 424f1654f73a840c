"""The process that reads damaged inputs, one after the other, and says what each of them ended in.

    python -m scripts.fuzz.worker MODULE CLASS TEMPLATE

Reads the path of a folder per line from standard input; writes a line of JSON for each to standard output.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import time
from pathlib import Path
from typing import Any, Final

LONGEST_MESSAGE: Final = 4000  # characters of an error that is still a line


def judge(chosen: Any, folder: Path, expected: Any) -> tuple[str, str]:
    """Read one input.

    Args:
      chosen: a `FuzzClass`.
      folder: with the input's files.
      expected: what the sound files give.

    Returns:
      "read" or "refused", which are right; or "wrong", "undocumented"; and the details.
    """
    try:
        value = chosen.read(folder)
    except chosen.documented as error:
        message = str(error)
        if not message or len(message.splitlines()) > 1 or len(message) > LONGEST_MESSAGE:
            return (
                "undocumented",
                f"{type(error).__name__} of {len(message)} characters, not one line: {message[:300]!r}",
            )
        if chosen.is_naming and str(folder) not in message:
            return "undocumented", f"{type(error).__name__} that names no file: {message[:300]!r}"
        return "refused", message[:300]
    except BaseException as error:
        return "undocumented", f"{type(error).__name__}: {str(error)[:300]}"
    try:
        is_right = chosen.is_right(value, expected)
    except Exception as error:
        return "wrong", f"{type(error).__name__} while the result was looked at: {error}"
    return ("read", "") if is_right else ("wrong", repr(value)[:300])


def _read_peak() -> int:
    """Return the largest memory of this process since the last reset, in bytes; then reset it."""
    status = Path("/proc/self/status").read_text()
    peak = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM:")) * 1024
    Path("/proc/self/clear_refs").write_text("5")
    return peak


def main() -> None:
    """Serve until standard input ends."""
    home, name, template = sys.argv[1:]
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print must not mix with the answers
    chosen = importlib.import_module(home).load_classes()[name]
    expected = chosen.read(Path(template))
    assert chosen.is_right(expected, expected)
    _read_peak()
    before = _read_peak()
    print(json.dumps({"ready": True}), file=answers, flush=True)
    for line in sys.stdin:
        start = time.monotonic()
        outcome, detail = judge(chosen, Path(json.loads(line)), expected)
        answer = {
            "outcome": outcome,
            "detail": detail,
            "seconds": time.monotonic() - start,
            "bytes": max(0, _read_peak() - before),
        }
        print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    main()
