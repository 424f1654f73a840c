"""What commands print: progress without a terminal, hostile texts, long messages, narrow encodings."""

import io
import json
import logging
import os
import sys

import pytest

from tests.cli.hostile import LABEL, NAME, Terminal, find_unsafe
from vidtldr_jax.cli import output
from vidtldr_jax.cli.group import print_error
from vidtldr_jax.cli.log_lines import HarmlessFormatter, HarmlessRecord, print_traceback


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
    print_error(name)
    assert capsys.readouterr() == ("video\ncaf\\udce9.mp4\n", "note: caf\\udce9.mp4\nerror: caf\\udce9.mp4\n")


@pytest.mark.parametrize("text", [LABEL, NAME])
def test_every_door_makes_text_harmless(text, capsys):
    output.print_line(text)
    output.print_table((text, "b"), [(text, text)], title=text)
    output.print_note(text, about=text)
    print_error(text, about=text)
    written = capsys.readouterr()
    assert [find_unsafe(stream) for stream in written] == [[], []]
    assert written.out.count("\n") == 4
    assert written.err.count("\n") == 2
    output.print_json({text: [text]})
    written = capsys.readouterr()
    assert find_unsafe(written.out) == []
    assert json.loads(written.out) == {text: [text]}


def test_a_name_in_front_of_a_message_is_printed_as_it_is(capsys):
    """A folder may be called like a function."""
    print_error("it has no frames", about="my_frames")
    print_error("broken", about="two  spaces\nand a line.mp4")
    assert capsys.readouterr().err == (
        "error: my_frames: it has no frames\nerror: two  spaces\\x0aand a line.mp4: broken\n"
    )


@pytest.mark.parametrize(
    "message",
    [
        "read_clip: x.mp4: a model's scores must be finite",
        "scores: a.mp4 is no video",
        "my_config: unknown field 'schedul'",
        "Experiment: a/read_frames: b.py: fix it",
    ],
)
def test_an_error_keeps_a_file_name_that_looks_like_the_name_of_a_function(capsys, message):
    print_error(message.replace(" ", "\n", 1))
    assert capsys.readouterr().err == f"error: {message}\n"


def test_a_long_message_keeps_its_beginning_and_its_end_and_counts_the_rest(capsys, caplog):
    message = "keys don't fit: " + ", ".join(f"key{number}" for number in range(100_000)) + "; check --family"
    print_error(message)
    line = capsys.readouterr().err
    assert line.count("\n") == 1
    assert len(line) < 2200
    assert line.startswith("error: keys don't fit: key0, key1,")
    assert line.endswith("; check --family\n")
    kept = 2000
    assert f"[... {len(message) - kept:,} characters left out; -v shows them ...]" in line
    with caplog.at_level(logging.DEBUG, "vidtldr_jax"):
        print_error(message)
    assert capsys.readouterr().err == f"error: {message}\n"


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp1252"])
def test_a_terminal_without_a_character_gets_an_escape(monkeypatch, encoding):
    """Printing must not fail half-way where the locale is an old one."""
    streams = [io.TextIOWrapper(io.BytesIO(), encoding=encoding) for _ in range(2)]
    monkeypatch.setattr(sys, "stdout", streams[0])
    monkeypatch.setattr(sys, "stderr", streams[1])
    output.print_line("貓.mp4")
    output.print_table(("video",), [("貓.mp4",)])
    output.print_note("貓.mp4")
    output.print_json({"video": "貓😀.mp4"})
    for stream in streams:
        stream.flush()
    out, err = (stream.buffer.getvalue().decode(encoding) for stream in streams)
    assert out.startswith("\\u8c93.mp4\nvideo\n\\u8c93.mp4\n{")
    assert json.loads(out.split("\n", 3)[3]) == {"video": "貓😀.mp4"}
    assert err == "note: \\u8c93.mp4\n"


def test_log_lines_and_tracebacks_are_harmless(capsys):
    formatter = HarmlessFormatter("%(name)s: %(message)s")
    try:
        raise ValueError(LABEL)
    except ValueError as error:
        info = (type(error), error, error.__traceback__)
    record = logging.LogRecord("vidtldr_jax", logging.INFO, "here", 1, "reading %s", (NAME,), info)
    first, *rest = formatter.format(record).split("\n")
    assert first.startswith("vidtldr_jax: reading na\\x1b")
    assert rest[0] == "Traceback (most recent call last):"
    assert find_unsafe("\n".join([first, *rest])) == []
    print_traceback(*info)
    assert find_unsafe(capsys.readouterr().err) == []
    foreign = HarmlessRecord("transformers", logging.WARNING, "here", 1, "keys: %s", (LABEL,), None)
    assert find_unsafe(logging.Formatter().format(foreign)) == []


def test_a_bar_shows_its_description_as_characters(monkeypatch):
    """rich takes "[red]" in a description for its own markup, and lets escape sequences through."""
    stream = Terminal(io.BytesIO(), encoding="utf-8", write_through=True)
    monkeypatch.setattr(sys, "stderr", stream)
    monkeypatch.setenv("TERM", "xterm-256color")
    with output.show_progress(f"reading {LABEL}", total=2) as progress:
        progress.update(progress.task_ids[0], description=f"writing {NAME}", completed=1)
    written = stream.buffer.getvalue()
    assert find_unsafe(written, is_terminal=True) == []
    assert b"writing na\\x1b" in written


def test_a_table_on_a_terminal_shows_markup_and_codes_of_emoji_as_they_are(monkeypatch):
    stream = Terminal(io.BytesIO(), encoding="utf-8", write_through=True)
    monkeypatch.setattr(sys, "stdout", stream)
    monkeypatch.setenv("COLUMNS", "200")
    output.print_table(("[red]a[/]", "b"), [("[red]x[/]", ":warning:")], title="[bold]t:warning:")
    written = stream.buffer.getvalue().decode()
    for text in ("[red]a[/]", "[red]x[/]", ":warning:", "[bold]t:warning:"):
        assert text in written
