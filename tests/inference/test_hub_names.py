"""hf:// names are checked here, before any library or network sees them."""

import builtins

import pytest

from vidtldr_jax.inference import CheckpointError, load_model
from vidtldr_jax.inference.hub import HubPlace, download_file, load_tokenizer, parse_place

HOSTILE = [
    "hf://..", "hf://../..", "hf://a/..", "hf://./b", "hf://a/.", "hf://a/.b", "hf://a/b.", "hf://a/b--c", "hf://a/b..c",
    "hf://a-/b", "hf://a/-b", "hf://a/b.git", "hf://a//b", "hf:////a/b", "hf://a/b//c", "hf://a/b/../../../etc/passwd",
    "hf://a/b/..", "hf://a/b/./c", "hf://a/b/c\\..\\d", "hf://a/b/%2e%2e/c", "hf://a%2fb/c", "hf://a/b?x=1", "hf://a/b#c",
    "hf://a/b/c?d", "hf://a/b/c#d", "hf://a/b/c:d", "hf://a/https://evil.example/x", "hf://https://evil.example/x",
    "hf://user:secret@evil.example/x", "hf://evil.example:8080/x", "hf://a/b@", "hf://a/b@..", "hf://a/b@x..y",
    "hf://a/b@-x", "hf://a/b@x@y", "hf://a/b@x%2f..", "hf://a/b@x y", "hf://a/b c", "hf://a/b\n", "hf://a/b\nc", "hf://a/b\0",
    "hf://a/b/c\n", "hf://a/b/\x1b[2J", "hf://a/b/\u202egpj", "hf://a/b/\ud800", "hf://\u0430/b", "hf://a/b/c\u2028",
    "hf://" + "a" * 97 + "/b", "hf://a/" + "b" * 97, "hf://a/b@" + "c" * 97, "hf://a/b/" + "c" * 1001, "hf://", "hf:///",
    "hf://a/b/*", "hf://a/b/c|d", "hf://a/b/c d", "HF://a/b", "https://a/b", "a/b", "", "/a/b", "hf://@/b", "hf://a/@x",
]  # fmt: skip


@pytest.fixture(autouse=True)
def _no_library(monkeypatch):
    usual = builtins.__import__

    def refuse(name, *rest, **more):
        assert name.split(".")[0] != "huggingface_hub", "a name is checked before the library is imported"
        return usual(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", refuse)


@pytest.mark.parametrize("text", HOSTILE)
def test_what_is_no_name_is_refused_in_one_short_harmless_line(text):
    with pytest.raises(CheckpointError, match="a place on a hub is hf://owner/name") as error:
        parse_place(text)
    message = str(error.value)
    assert message.isprintable()
    assert len(message) < 700


@pytest.mark.parametrize("text", [text for text in HOSTILE if text.startswith("hf://")])
def test_every_door_checks_names(text):
    for door in (load_model, load_tokenizer):
        with pytest.raises(CheckpointError, match="a place on a hub is hf://owner/name"):
            door(text)


@pytest.mark.parametrize(
    "name", ["..", "../x", "a/../b", "a\\b", "a%2fb", "/etc/passwd", "", "a//b", "a\n", "https://x/y"]
)
def test_a_name_that_a_file_of_a_repository_gives_is_checked_too(name):
    with pytest.raises(CheckpointError, match="is no path in a repository; fix it"):
        download_file(HubPlace("a/b", None, None), name)


def test_names_of_the_hub_are_read():
    assert parse_place("hf://google-bert/bert-base-uncased") == ("google-bert/bert-base-uncased", None, None)
    assert parse_place("hf://a_b/_c.d-e_2@v1.0-rc.1+x") == ("a_b/_c.d-e_2", "v1.0-rc.1+x", None)
    assert parse_place("hf://a/b@0123456789abcdef0123456789abcdef01234567/x-y_z/w+1.pth") == (
        "a/b", "0123456789abcdef0123456789abcdef01234567", "x-y_z/w+1.pth",
    )  # fmt: skip
    assert parse_place("hf://a/b/.hidden/ü.bin") == ("a/b", None, ".hidden/ü.bin")
    assert parse_place("hf://a/b/") == ("a/b", None, None)
    assert parse_place("hf://" + "a" * 96 + "/" + "b" * 96).revision is None
