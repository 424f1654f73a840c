"""`vidtldr schedules`: every published schedule, counted here and as published."""

import json

import pytest

from tests.configs.test_umt_configs import PUBLISHED
from vidtldr_jax.models.presets import get_preset
from vidtldr_jax.reduction.published import PUBLISHED as OURS
from vidtldr_jax.reduction.published import find_published


def test_every_published_schedule_is_listed_with_its_tokens_and_both_counts(call_json):
    listed = call_json("schedules")
    rows = {(row["model"].replace("-", "_"), row["data_set"]): row for row in listed["schedules"]}
    expected = {(model, name): PUBLISHED[model][name] for model in ("umt_b16", "umt_l16") for name in PUBLISHED[model]}
    assert rows.keys() == expected.keys()
    for key, row in rows.items():
        published = expected[key]
        assert row["schedule"] == (",".join(map(str, published["r"])) or "none")
        assert (row["tokens_in"], row["tokens_out"]) == (PUBLISHED["tokens_in"], published["tokens_out"])
        assert row["published_gmacs"] == published["gmacs"]
        assert row["gmacs"] == published["gmacs"]
        assert row["note"] == published.get("note", "")
    config = get_preset("umt-b16")
    assert (listed["frames"], listed["image_size"]) == (config.num_frames, config.image_size)


def test_one_size_is_listed_alone(call):
    lines = call("schedules", "--size", "l16").stdout.splitlines()
    assert lines[1].split() == ["data", "set", "model", "schedule", "tokens", "GMACs", "published"]
    assert len(lines) == 2 + 1 + len([one for one in OURS if one.size == "l16"])
    assert not any("umt-b16" in line for line in lines)
    assert json.loads(call("schedules", "--size", "b16", "--json").stdout)["schedules"][1]["model"] == "umt-b16"


def test_what_was_not_published_is_refused():
    with pytest.raises(ValueError, match=r"published for msrvtt, .* with b16, l16; got 'msrvtt' with 'h'"):
        find_published("msrvtt", "h")
