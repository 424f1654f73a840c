"""Limits: a default each, raised by the environment, named in the message."""

import pytest

from vidtldr_jax.trust.limits import LIMITS, LimitError, check_limit, get_limit, name_variable
from vidtldr_jax.trust.regular import NotRegularError, check_regular


@pytest.mark.parametrize("name", LIMITS)
def test_every_limit_has_its_default_and_its_variable(name, monkeypatch):
    monkeypatch.delenv(name_variable(name), raising=False)
    default, unit = LIMITS[name]
    assert get_limit(name) == default
    check_limit(name, default, "a file")
    with pytest.raises(
        LimitError, match=rf"a file may have at most .* \(.*{unit.split(',')[0]}.*\); got .*; set VIDTLDR_MAX"
    ):
        check_limit(name, default + 1, "a file")
    monkeypatch.setenv(name_variable(name), str(default + 1))
    check_limit(name, default + 1, "a file")


def test_a_limit_may_be_written_with_an_exponent(monkeypatch):
    monkeypatch.setenv("VIDTLDR_MAX_FRAMES", " 3e6 ")
    assert get_limit("frames") == 3_000_000


@pytest.mark.parametrize("text", ["many", "0", "-1", "nan", "inf", "0.5"])
def test_what_is_no_limit_is_refused_by_name(text, monkeypatch):
    monkeypatch.setenv("VIDTLDR_MAX_FRAMES", text)
    with pytest.raises(LimitError, match="VIDTLDR_MAX_FRAMES is a number of at least 1; got"):
        get_limit("frames")


def test_only_regular_files_pass(tmp_path):
    (tmp_path / "a").write_bytes(b"")
    (tmp_path / "link").symlink_to(tmp_path / "a")
    check_regular(tmp_path / "a")
    check_regular(tmp_path / "link")
    for path, kind in ((tmp_path, "a folder"), ("/dev/null", "a character device")):
        with pytest.raises(NotRegularError, match=f"is {kind}; give a file"):
            check_regular(path)
    with pytest.raises(FileNotFoundError):
        check_regular(tmp_path / "none")
