"""What commands print: progress without a terminal, names that are no Unicode."""

import json
import logging
import os

from vidtldr_jax.cli import output
from vidtldr_jax.cli.group import format_error


def test_without_a_terminal_progress_is_told_now_and_then(monkeypatch, caplog, capsys):
    now = [0.0]
    monkeypatch.setattr(output.time, "monotonic", lambda: now[0])
    with caplog.at_level(logging.INFO, "vidtldr_jax"), output.watch_progress("reading", total=9, known=2) as advance:
        for _ in range(6):
            now[0] += 12.0
            advance(1)
    assert caplog.messages == ["reading: 5 of 9", "reading: 8 of 9"]
    assert capsys.readouterr() == ("", "")


def test_names_that_are_no_unicode_are_printed_and_read_again(capsys):
    name = os.fsdecode(b"caf\xe9.mp4")
    output.print_json({"path": name, "other": "naïve", "share": float("nan")})
    assert json.loads(capsys.readouterr().out) == {"path": name, "other": "naïve", "share": None}
    output.print_json({"other": "naïve"})
    assert "naïve" in capsys.readouterr().out
    output.print_table(("video",), [(name,)])
    output.print_note(name)
    assert format_error(name) == "error: caf\\udce9.mp4"
    assert capsys.readouterr() == ("video\ncaf\\udce9.mp4\n", "note: caf\\udce9.mp4\n")
