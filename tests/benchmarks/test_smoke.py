"""Every benchmark runs with a tiny model, writes nothing then, and its table can be made from what it says."""

import importlib
import json

import numpy as np
import pytest

from benchmarks import peak_memory, record
from benchmarks.models import read_published, scale_schedule
from scripts.tables.choices import make_attention_table, make_merging_table, make_rerank_table, make_scan_table
from scripts.tables.compile import make_compile_table
from scripts.tables.floor import make_floor_table
from scripts.tables.growth import make_memory_table, make_scaling_table
from scripts.tables.latency import make_latency_table
from scripts.tables.pixels import make_pixels_table
from scripts.tables.precision import make_bfloat16_table
from scripts.tables.remat import make_remat_table
from scripts.tables.schedules import make_schedules_table
from scripts.tables.start import make_start_table
from scripts.tables.throughput import make_throughput_table
from tests.reference.files import require_torch

# Script -> its table's maker, or None where it has none, or a tiny model's rounded numbers would divide by zero.
TABLES = {
    "attention": make_attention_table,
    "bfloat16": make_bfloat16_table,
    "compile": make_compile_table,
    "floor": make_floor_table,
    "latency": make_latency_table,
    "load": None,
    "memory": make_memory_table,
    "merging": make_merging_table,
    "pixels": make_pixels_table,
    "profile_scopes": None,
    "remat": make_remat_table,
    "rerank": make_rerank_table,
    "scaling": make_scaling_table,
    "scan": make_scan_table,
    "schedules": make_schedules_table,
    "start": make_start_table,
    "throughput": make_throughput_table,
    "umt_b16": None,
    "vs_official": None,
}
pytestmark = pytest.mark.once
NEED_TORCH = ("memory", "vs_official")


@pytest.fixture
def results(tmp_path, monkeypatch):
    monkeypatch.setattr(record, "RESULTS", tmp_path / "results")
    return tmp_path / "results"


@pytest.mark.parametrize("name", TABLES)
def test_a_smoke_run_measures_everything_and_writes_nothing(name, results, capsys):
    if name in NEED_TORCH:
        require_torch()
    importlib.import_module(f"benchmarks.{name}").main(["--smoke"])
    result = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert result["benchmark"].startswith(name)
    assert {"date", "commit", "machine"} < result.keys()
    assert not results.exists()
    if TABLES[name] is not None:
        table = TABLES[name](result)
        assert f"python benchmarks/{name}.py" in table
        assert "nan" not in table


def test_a_result_that_is_written_says_where_it_ran(results, capsys):
    record.finish("x", {"rows": [1]}, is_smoke=False)
    path = results / "x.json"
    assert capsys.readouterr().out == f"{path}\n"
    assert json.loads(path.read_text()).keys() == {"benchmark", "date", "commit", "machine", "rows"}


def test_a_fresh_process_reports_its_peak():
    script = importlib.import_module("benchmarks.memory").__file__
    peak = peak_memory.run_fresh(script, "--smoke", "--job", "ours plain 4")
    assert 0 < peak.level_bytes <= peak.peak_bytes
    with pytest.raises(RuntimeError, match="unrecognized arguments: --jib"):
        peak_memory.run_fresh(script, "--jib")


def test_the_peak_above_the_level_is_what_the_run_took():
    peak = peak_memory.measure(lambda: np.ones(2**23))
    assert 0.95 * 2**26 < peak.activation_bytes < 1.2 * 2**26


def test_the_same_schedule_of_two_tasks_is_one():
    published = read_published("umt-b16")
    assert published[0].r == ()
    assert [entry.names for entry in published if len(entry.names) > 1] == [("msrvtt_qa", "msvd_qa")]
    assert sum(len(entry.names) for entry in published) == 10


def test_a_schedule_keeps_its_share_of_more_tokens():
    assert scale_schedule((600, 200, 100), 2352) == "600,200,100"
    assert scale_schedule((600, 200, 100), 4704) == "1200,400,200"
    assert scale_schedule((), 4704) == "none"
