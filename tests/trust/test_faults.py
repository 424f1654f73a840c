"""Many faults in one message: the first ones and a number."""

from vidtldr_jax.trust.faults import Faults, join_faults, show


def test_a_message_lists_as_many_faults_as_its_limit_allows(monkeypatch):
    assert join_faults(["a", "b"]) == "a; b"
    many = [f"fault {number}" for number in range(1254)]
    assert join_faults(many).startswith("fault 0; fault 1; ")
    assert join_faults(many).endswith("; fault 19; ... and 1,234 more")
    monkeypatch.setenv("VIDTLDR_MAX_FAULTS", "2")
    assert join_faults(many) == "fault 0; fault 1; ... and 1,252 more"


def test_a_long_fault_loses_its_middle():
    text = join_faults(["a" * 10**6 + "z"])
    assert len(text) <= 300
    assert text.endswith("z")


def test_texts_are_made_for_faults_that_are_told_alone(monkeypatch):
    monkeypatch.setenv("VIDTLDR_MAX_FAULTS", "2")
    faults, made = Faults(), []
    assert not faults
    for number in range(5000):
        faults.add(lambda number=number: made.append(number) or f"fault {number}")
    assert (len(faults), made) == (5000, [0, 1])
    assert str(faults) == "fault 0; fault 1; ... and 4,998 more"


def test_a_value_is_quoted_without_its_middle():
    assert show("dog") == "'dog'"
    assert show(list(range(5))) == "[0, 1, 2, 3, 4]"
    for value in ("x" * 10**6, b"\xff" * 10**6, list(range(10**5))):
        assert len(show(value)) <= 60
