"""The accuracy benchmark's tables from a made-up result: which number stands where."""

from __future__ import annotations

from scripts.tables.trained import make_trained_summary, make_trained_table

METHODS = {"vidtldr": 0.8, "tome": 0.85, "random_drop": 0.5}


def make_row(method, budget, mean, low=0.0):
    difference = {"mean": mean - METHODS["vidtldr"], "low": low, "high": low + 0.1}
    return {
        "method": method, "budget": budget, "mean": mean, "spread": 0.012, "scores": [mean] * 2, "gmacs": budget / 500,
        "to_vidtldr": difference, "to_plain": difference,
    }  # fmt: skip


def make_result(low=0.01):
    rows = [make_row("plain", 100, 0.9)]
    rows += [make_row(name, budget, mean, low) for budget in (70, 50, 30) for name, mean in METHODS.items()]
    task = {
        "name": "moving_objects",
        "metric_in_words": "accuracy",
        "about": {"clips": 7},
        "models": [{}, {}],
        "controls": {"middle_frame_repeated": [0.1, 0.2]},
        "rows": rows,
    }
    origin = {"commit": "abc", "date": "2026-01-02", "machine": {"processor": "CPU", "cores": 2, "jax": "1.2.3"}}
    time = {"ratio": 0.66, "gmacs": 0.1}
    times = origin | {"batch": 8, "dtype": "float32", "repeats": 3}
    times["rows"] = [{"method": name, "budget": budget} | time for name in METHODS for budget in (70, 50, 30)]
    return origin | {"tasks": [task], "times": times}


def read_rows(text, header):
    """Returns the cells of the first table below a line that starts so."""
    lines = text[text.index(header) :].splitlines()
    first = next(number for number, line in enumerate(lines) if line.startswith("|---"))
    rows = []
    for line in lines[first + 1 :]:
        if not line.startswith("|"):
            break
        rows.append([cell.strip() for cell in line.strip("|").split("|")])
    return rows


def test_scores_differences_and_times_stand_in_their_methods_rows_best_ones_bold():
    text = make_trained_table(make_result())
    assert "Plain: 90.0 ± 1.2." in text
    scores = read_rows(text, "**Motions**")
    assert scores[0] == ["vidtldr", *["80.0 ± 1.2"] * 3]
    assert scores[1] == ["tome", *["**85.0 ± 1.2**"] * 3]
    differences = read_rows(text, "Points above vid-TLDR")
    assert [row[0] for row in differences] == ["tome", "random_drop"]
    assert differences[0][1] == "**+5.0 (+1.0 to +11.0)**"
    assert read_rows(text, "**Time**")[2] == ["random_drop", *["0.66 (0.50)"] * 3]
    assert "middle frame repeated 15.0%" in text
    assert "- moving objects: tome by up to 5.0 points (at 70 %), surely at 70, 50, 30 %" in text
    assert "`python benchmarks/accuracy.py`" in text


def test_a_difference_whose_interval_holds_0_is_not_bold():
    assert read_rows(make_trained_table(make_result(low=-0.01)), "Points above")[0][1] == "+5.0 (-1.0 to +9.0)"


def test_one_model_has_no_spread_and_no_seeds():
    result = make_result()
    task = result["tasks"][0]
    task["models"] = [{}]
    task["rows"] = [row | {"scores": [row["mean"]], "spread": 0.0} for row in task["rows"]]
    text = make_trained_table(result)
    assert "accuracy, one model. Plain: 90.0." in text
    assert read_rows(text, "**Motions**")[1] == ["tome", *["**85.0**"] * 3]
    assert "±" not in text
    assert "seeds" not in text
    assert "7 held-out clips, 1 model. " in text


def test_what_became_of_objects_stands_beside_its_method():
    result = make_result()
    fate = {"object_detail": 0.75, "background_detail": 0.4, "object_mixed": 0.1, "object_vanished": 0.02}
    rows = [{"method": name, "budget": budget, **fate} for name in METHODS for budget in (50, 30)]
    result["tasks"][0]["fates"] = {"clips": 5, "object_share": 0.25, "rows": rows}
    text = make_trained_table(result)
    assert "on 5 of the clips; 25% of all tokens show an object" in text
    assert read_rows(text, "Where the tokens go")[1] == ["tome", *["0.75 / 0.40, 10% mixed, 2% gone"] * 2]


def test_the_summary_names_the_best_other_method():
    text = make_trained_summary(make_result())
    rows = read_rows(text, "| task |")
    assert rows[0][:3] == ["Motions", "100 %", "90.0 ± 1.2 (plain)"]
    assert rows[2] == ["Motions", "50 %", "80.0 ± 1.2", "85.0 ± 1.2 (tome)", "50.0 ± 1.2"]
    assert "2 trained models, 7 held-out clips" in text


def test_a_result_without_times_has_no_table_of_them():
    result = make_result()
    del result["times"]
    assert "**Time**" not in make_trained_table(result)
