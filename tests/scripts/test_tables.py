"""Tables from made-up results: which number stands where."""

from scripts.tables.compile import make_compile_table
from scripts.tables.floor import make_floor_table
from scripts.tables.growth import make_memory_table, make_scaling_table
from scripts.tables.latency import make_latency_table
from scripts.tables.reliability import make_fuzz_table, make_kills_table
from scripts.tables.schedules import make_schedules_table

ORIGIN = {
    "date": "2026-01-02",
    "commit": "abc1234",
    "machine": {"processor": "CPU", "cores": 2, "jax": "1.2.3"},
    "dtype": "float32",
    "repeats": 3,
}


def read_rows(table):
    """Returns the cells of the table's rows, header and rule left out, and the text below."""
    head, *below = table.split("\n\n")
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in head.splitlines()[2:]]
    columns = head.splitlines()[0].strip("|").count("|") + 1
    assert all(len(row) == columns for row in rows), "a row has another number of cells than the header"
    return rows, "\n".join(below)


def make_run(**fields):
    times = {"seconds": [1.0, 2.0, 4.0], "median_seconds": 2.0, "compile_seconds": 5.25}
    return {"tokens_out": 9, "gmacs": 10.04, "published_gmacs": 10.0, "schedule": "none", "names": ["none"]} | {
        **times,
        **fields,
    }


def test_every_schedule_stands_in_its_row_with_what_it_realises():
    gain = {"mac_reduction": 2.0, "speedup": 1.9, "speedup_by_round": 1.88, "realised_share": 0.95}
    row = make_run(schedule="3", names=["a", "b"], gmacs=5.02, published_gmacs=5.0, tokens_out=6) | gain
    result = ORIGIN | {"preset": "umt-b16", "shape": [1, 2, 3, 3, 3], "plain": make_run(), "rows": [row]}
    rows, below = read_rows(make_schedules_table(result))
    assert rows[0][:6] == ["umt-b16", "none", "", "9", "10.0 (10.0)", "2.00 (1.00 to 4.00)"]
    assert rows[1] == [
        "umt-b16", "3", "a, b", "6", "5.0 (5.0)", "2.00 (1.00 to 4.00)", "2.00", "1.90", "1.88", "0.95", "5.2",
    ]  # fmt: skip
    assert "0.95 to 0.95 of what" in below
    assert "python benchmarks/schedules.py --preset umt-b16" in below


def test_memory_stands_beside_its_share_of_the_official_algorithm():
    def make_row(who, frames, mebibytes):
        activations = {"activation_bytes": [mebibytes * 2**20] * 3, "median_activation_bytes": mebibytes * 2**20}
        whole = {"median_peak_bytes": (mebibytes + 700) * 2**20}
        row = {"who": who, "form": "merged", "frames": frames, "tokens": 2**10 * frames, "schedule": "3"}
        return row | activations | whole

    measured = [make_row("ours", 2, 200), make_row("official", 2, 1000), make_row("ours", 4, 400)]
    rows, below = read_rows(make_memory_table(ORIGIN | {"preset": "umt-b16", "image_size": 224, "rows": measured}))
    assert rows[0] == ["ours merged", "2", "2048", "3", "200 (200 to 200)", "102400", "900"]
    assert [row[5] for row in rows] == ["102400", "512000", "102400"]
    assert below.startswith("Ours merged needs 20% of the official algorithm's")


def test_parts_stand_beside_their_bound_and_those_a_model_lacks_are_left_out():
    part = {"gmacs": 50.0, "seconds": 0.6, "cpu_seconds": 1.2, "floor_cpu_seconds": 1.0}
    part |= {"cpu_seconds_above": 0.2, "share_of_time_above": 0.25}
    none = dict.fromkeys(part, 0)
    models = {"plain": {"schedule": "none", "parts": {"mlp": part, "merging": none}}}
    models["merged"] = {"schedule": "3", "parts": {"merging": part}}
    measured = {"preset": "umt-b16", "shape": [1, 2], "matmul": {"gmacs_per_cpu_second": 50.0}, "models": models}
    rows, below = read_rows(make_floor_table(ORIGIN | measured))
    assert rows == [
        ["plain", "MLP", "50.0", "600.0", "1200.0", "1000.0", "200.0", "25%"],
        ["merged 3", "merging", "50.0", "600.0", "1200.0", "1000.0", "200.0", "25%"],
    ]
    assert "50 GMAC per CPU-second" in below


def test_time_over_size_stands_with_its_runs_and_exponents():
    size = {"frames": 8, "batch": 2, "tokens": 1568, "gmacs": 99.6, "seconds": [2.0], "median_cpu_seconds": 4.0}
    plain = size | {"form": "plain", "median_seconds": 2.0, "repeats": 1, "warm_up": 0}
    merged = size | {"form": "merged", "median_seconds": 1.0, "repeats": 7, "warm_up": 1}
    fit = {"axis": "batch", "form": "plain", "points": 5, "median_seconds": 1.1, "median_cpu_seconds": 1.2, "gmacs": 1}
    result = ORIGIN | {"preset": "umt-b16", "image_size": 224, "rows": [plain, merged], "exponents": [fit]}
    rows, below = read_rows(make_scaling_table(result))
    assert rows[0][-2:] == ["1, no warm-up", ""]
    assert rows[1] == ["8", "2", "1568", "merged", "100", "1.00 (2.00 to 2.00)", "4.00", "7", "2.00"]
    assert "| batch (5 sizes) | plain | 1.10 | 1.20 | 1.00 |" in below


def test_compiling_stands_step_by_step_with_both_starts():
    steps = {"trace": 1.0, "lower": 0.5, "compile": 4.0}
    starts = {"first": steps | {"first_result": 12.34}, "second": {"compile": 0.25, "first_result": 7.0}}
    row = {"preset": "umt-b16", "schedule": "3", "layers": "unrolled", "steps": steps, "seconds": [5.4, 5.6]}
    row |= {"median_seconds": 5.5, "starts": starts | {"cache_bytes": 2_500_000}}
    rows, below = read_rows(make_compile_table(ORIGIN | {"num_starts": 3, "rows": [row]}))
    assert rows == [
        ["umt-b16", "3", "unrolled", "1.00", "0.50", "4.00", "5.50 (5.40 to 5.60)", "12.3", "7.0", "0.25", "2.5"]
    ]
    assert "medians of 3 alternating runs" in below


def test_predictions_that_the_table_leaves_out_are_named_below_it():
    def make_row(predicted, seconds, error, relative):
        numbers = {"predicted_seconds": predicted, "lower_quartile_seconds": seconds}
        return numbers | {"error": error, "relative_error": relative}

    rows = [make_row(4.0, 4.04, -0.01, 0.0), make_row(3.0, 2.5, 0.2, 0.19), make_row(2.0, 2.2, -0.09, -0.1)]
    setting = {"name": "umt-b16", "batch_size": 2, "rows": rows, "drift": 0.01, "table_seconds": 99.6, "tries": 1}
    table = make_latency_table(ORIGIN | {"settings": [setting | {"other_tries": []}]})
    [cells], below = read_rows(table)
    assert cells == [
        "umt-b16", "2", "4040", "2", "2000 to 3000", "2200 to 2500", "20.0%", "19.0%", "1.0%", "1", "100",
    ]  # fmt: skip
    assert "the other" not in below
    others = [{"drift": 0.3, "errors": [-0.5, 0.1, -0.25]}, {"drift": 0.2, "errors": [0.2, 0.0, 0.0]}]
    table = make_latency_table(ORIGIN | {"settings": [setting | {"other_tries": others}]})
    assert "(the others: off by 25.0% at most)" in read_rows(table)[1]


def test_damaged_inputs_stand_with_their_share_of_right_answers():
    row = {"name": "index", "answer": "one line", "tried": 200, "right": 199, "most_seconds": 0.26, "most_mib": 3}
    row |= {"counts": {"read": 2, "refused": 197, "wrong": 1}}
    killed = {"name": "embed", "kills": 20, "in_writing": 7, "faults": []}
    rows, below = read_rows(make_fuzz_table(ORIGIN | {"seed": 3, "rows": [row]}))
    assert rows == [["index", "one line", "200", "2", "197", "99.5%", "0.3", "3"]]
    assert below.startswith("199 of 200 inputs got the documented answer; seed 3; ")
    result = ORIGIN | {"seed": 3, "rows": [killed, killed | {"faults": ["a was lost"]}]}
    rows, below = read_rows(make_kills_table(result))
    assert rows == [["`vidtldr embed`", "20", "7", "nothing"], ["`vidtldr embed`", "20", "7", "1"]]
    assert below.startswith("40 kills; seed 3; ")
