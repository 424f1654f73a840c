"""The size from which merging pays, looked for with a made-up clock and made-up measurements."""

import pytest

from tests.cli.conftest import CONFIG
from vidtldr_jax.cli import benchmark as benchmark_module
from vidtldr_jax.cli.size_search import (
    Search,
    Size,
    Trial,
    choose_repeats,
    describe_search,
    find_paying_size,
    fits_memory,
    list_search,
)
from vidtldr_jax.inference.timing import make_random_model

START = Size(frames=8, batch_size=1)


class Machine:
    """A machine whose measurements take `seconds` each and pay where `pays` says so."""

    def __init__(self, pays, seconds=1.0):
        self.pays, self.seconds, self.now = pays, seconds, 100.0

    def clock(self):
        return self.now

    def measure(self, size):
        self.now += self.seconds
        pays = self.pays(size)
        return Trial(*size, tokens=10 * size.frames, speedup=1.25 if pays else 0.75, pays=pays)

    def search(self, *, fits=lambda size: size.frames <= 128 and size.batch_size <= 16, **kwargs):
        first = {"first_seconds": self.seconds} | kwargs
        return find_paying_size(self.measure, START, fits=fits, clock=self.clock, **first)


def list_sizes(search):
    return [trial[:2] for trial in search.tried]


def test_frames_are_doubled_and_the_gap_is_halved():
    found, tried = search = Machine(lambda size: size.frames >= 40).search()
    assert list_sizes(search) == [(16, 1), (32, 1), (64, 1), (48, 1), (40, 1)]
    assert found == Trial(frames=40, batch_size=1, tokens=400, speedup=1.25, pays=True)
    assert found is tried[-1]
    assert Machine(lambda size: size.frames >= 16).search().found.frames == 16


def test_a_gap_that_narrows_from_below_keeps_the_smallest_that_paid():
    search = Machine(lambda size: size.frames > 48).search()
    assert list_sizes(search) == [(16, 1), (32, 1), (64, 1), (48, 1), (56, 1)]
    assert search.found.frames == 56


def test_batches_come_after_frames():
    search = Machine(lambda size: size.batch_size >= 3).search()
    assert list_sizes(search) == [(16, 1), (32, 1), (64, 1), (128, 1), (8, 2), (8, 4), (8, 3)]
    assert search.found[:2] == (8, 3)


def test_nothing_is_found_where_nothing_pays():
    search = Machine(lambda size: False).search()
    assert search.found is None
    assert list_sizes(search)[-1] == (8, 16)
    assert describe_search(search, START) == (
        "merging did not clearly pay at any larger size that was tried either: up to 128 frames (1280 tokens) at "
        "batch 1 and 8 frames (80 tokens) at batch 16."
    )


def test_nothing_is_begun_that_is_likely_to_end_past_the_budget():
    machine = Machine(lambda size: False, seconds=10.0)
    search = machine.search(budget_seconds=60.0)
    # 40 seconds are for frames, and the next size is taken to last 15.
    assert list_sizes(search) == [(16, 1), (32, 1), (64, 1), (8, 2), (8, 4)]
    assert machine.now <= 160.0
    late = Machine(lambda size: size.frames >= 32, seconds=10.0).search(budget_seconds=30.0)
    assert late.found is None
    assert "up to 16 frames" in describe_search(late, START)
    # Once something pays, the gap below may be narrowed down for all of the time.
    last = Machine(lambda size: size.frames >= 48, seconds=10.0).search(budget_seconds=60.0)
    assert list_sizes(last) == [(16, 1), (32, 1), (64, 1), (48, 1), (40, 1)]


def test_where_one_size_alone_takes_too_long_none_is_tried():
    search = Machine(lambda size: True).search(first_seconds=41.0)
    assert search == Search(None, ())
    assert describe_search(search, START).startswith("no larger size was tried")
    assert Machine(lambda size: True).search(fits=lambda size: False) == Search(None, ())


def test_a_find_is_told_with_the_options_that_show_it():
    search = Machine(lambda size: size.frames >= 16).search()
    assert describe_search(search, START) == (
        "merging pays from 16 frames (160 tokens) at batch 1, the smallest size that was tried with a clear gain: "
        "1.25 x the speed with the schedule as it was written; see it with --frames 16 --batch-size 1."
    )


def test_plain_data_name_the_start_where_it_pays_there():
    result = {"pays": True, "speedup": 1.5, "merged": {"schedule": {"tokens": [80, 40]}}}
    here = {"frames": 8, "batch_size": 1, "tokens": 80, "speedup": 1.5}
    assert list_search(None, result, START) == {"pays_from": here, "searched": []}
    loss = result | {"pays": False}
    assert list_search(None, loss, START) == {"pays_from": None, "searched": []}
    search = Machine(lambda size: size.frames >= 16).search()
    data = list_search(search, loss, START)
    assert data["pays_from"] == {"frames": 16, "batch_size": 1, "tokens": 160, "speedup": 1.25}
    assert data["searched"] == [data["pays_from"] | {"pays": True}]


def test_short_runs_are_repeated_more_often_than_was_asked_for():
    def choose(seconds, repeats):
        run = {"median_seconds": seconds}
        return choose_repeats({"plain": run, "merged": run}, repeats)

    assert [choose(0.001, 7), choose(0.025, 7), choose(3.0, 7), choose(3.0, 1), choose(0.001, 99)] == [51, 20, 7, 5, 99]


def test_memory_bounds_the_tokens_of_a_batch():
    model = make_random_model(CONFIG)  # 8 tokens a frame
    assert fits_memory(model, Size(8192, 1))
    assert not fits_memory(model, Size(8192 + 2, 1))
    assert fits_memory(model, Size(4096, 2))
    assert not fits_memory(model, Size(4096, 3))


@pytest.fixture
def losing(monkeypatch):
    """Makes every comparison a loss below 16 frames, so that nothing depends on this machine."""
    compare = benchmark_module.compare_models

    def compare_and_lose(*args, **kwargs):
        return compare(*args, **kwargs) | {"pays": False, "speedup": 0.5}

    sizes = []

    def measure_size(model, size, *, repeats):
        sizes.append(size)
        return Trial(*size, tokens=8 * size.frames, speedup=1.5, pays=size.frames >= 16)

    monkeypatch.setattr(benchmark_module, "compare_models", compare_and_lose)
    monkeypatch.setattr(benchmark_module, "measure_size", measure_size)
    return sizes


def test_the_command_says_from_which_size_merging_pays(call, call_json, model, losing):
    words = ("benchmark", "--model", model, "--schedule", "8,4", "--repeats", 1)
    result = call(*words)
    assert result.exit_code == 0, result.output
    notes = [line for line in result.stderr.splitlines() if line.startswith("note: ")]
    assert "merging does not pay here" in notes[0]
    assert "merging pays from 16 frames (128 tokens) at batch 1" in notes[1]
    answer = call_json(*words)
    assert answer["pays_from"] == {"frames": 16, "batch_size": 1, "tokens": 128, "speedup": 1.5}
    assert [trial["frames"] for trial in answer["searched"]] == [8, 16, 12]


def test_the_command_looks_no_further_where_that_is_not_asked_for_or_senseless(call_json, model, losing):
    words = ("benchmark", "--model", model, "--repeats", 1)
    for more in (("--no-search",), ("--schedule", "none")):
        answer = call_json(*words, *more)
        assert (answer["pays_from"], answer["searched"]) == (None, [])
    assert losing == []
