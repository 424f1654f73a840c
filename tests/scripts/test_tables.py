"""Tables from made-up results: which number stands where."""

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
