"""The switch that leaves the comparison with digests out."""

import pytest

from vidtldr_jax.trust.digests import is_checking


@pytest.mark.parametrize(("text", "expected"), [(None, True), ("", True), ("1", True), (" 0 ", False)])
def test_files_are_compared_with_their_digests_unless_a_user_says_otherwise(monkeypatch, text, expected):
    monkeypatch.delenv("VIDTLDR_CHECK_DIGESTS", raising=False)
    if text is not None:
        monkeypatch.setenv("VIDTLDR_CHECK_DIGESTS", text)
    assert is_checking() is expected


def test_another_value_is_refused(monkeypatch):
    monkeypatch.setenv("VIDTLDR_CHECK_DIGESTS", "no")
    with pytest.raises(ValueError, match=r"VIDTLDR_CHECK_DIGESTS is 0 .* or 1; got 'no'; fix it or unset it"):
        is_checking()
