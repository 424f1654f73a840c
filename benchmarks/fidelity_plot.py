"""What fidelity.json says, as a plot: cosine to the unmerged feature against cost."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from vidtldr_jax.reduction.methods import METHODS


def draw_plot(result: dict[str, Any], path: Path) -> Path:
    """Draws the first setting's cosines against multiply-accumulates and measured time; merging solid, dropping dashed.

    Args:
      result: of the benchmark, with both stages.
      path: of the picture.

    Returns:
      The path.
    """
    import matplotlib as mpl

    mpl.use("agg")
    from matplotlib import pyplot as plt

    setting = result["settings"][0]
    plain = setting["rows"][0]
    times = {
        (row["method"], row["budget"]): row["ratio"]
        for row in result["times"]["rows"]
        if (row["encoder"], row["num_frames"]) == (setting["encoder"], setting["num_frames"])
    }
    figure, axes = plt.subplots(1, 2, figsize=(11, 4.4), sharey=True, layout="constrained")
    for number, method in enumerate(dict.fromkeys(row["method"] for row in setting["rows"])):
        if method not in METHODS:
            continue
        rows = [row for row in setting["rows"] if row["method"] == method]
        look = {"color": plt.get_cmap("tab20")(number), "linestyle": "-" if METHODS[method].grows else "--"}
        wide = {"linewidth": 2.6, "zorder": 5} if method == "vidtldr" else {"linewidth": 1.3}
        cosines = [row["cosine"] for row in rows]
        ratios = ([times.get((method, row["budget"])) for row in rows], [row["gmacs"] / plain["gmacs"] for row in rows])
        for place, values in zip(axes, ratios, strict=True):
            if None not in values:
                place.plot(values, cosines, marker="o", markersize=3, label=method, **(look | wide))
    for place, what in zip(axes, ("measured time", "multiply-accumulates"), strict=True):
        place.plot(1, 1, "k*", markersize=11)
        place.set(xlabel=f"{what}, share of the plain model's")
        place.grid(alpha=0.3)
    axes[0].set(ylabel="cosine to the unmerged feature")
    figure.suptitle(f"{setting['encoder']} on {setting['num_clips']} real clips, {setting['num_frames']} frames")
    handles, labels = axes[1].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=6, fontsize=8, frameon=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110, metadata={"Software": None})
    plt.close(figure)
    return path
