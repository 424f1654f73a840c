"""Tables behind what was chosen: forms of attention, ways of summing, blocks under a scan."""

from __future__ import annotations

from typing import Any

from scripts.tables.origin import name_origin


def make_attention_table(result: dict[str, Any]) -> str:
    """Writes every form and block size, case by case."""
    lines = [
        "| sequences x tokens | saliency and sizes | form | block | ms | CPU-ms | x the fastest |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in result["rows"]:
        case = (row["sequences"], row["tokens"], row["with_saliency"])
        fastest = min(
            other["median_seconds"]
            for other in result["rows"]
            if (other["sequences"], other["tokens"], other["with_saliency"]) == case
        )
        lines.append(
            f"| {case[0]} x {case[1]} | {'yes' if case[2] else 'no'} | {row['form']} | {row['block_size'] or 'own'} "
            f"| {1e3 * row['median_seconds']:.1f} | {1e3 * row['median_cpu_seconds']:.1f} "
            f"| {row['median_seconds'] / fastest:.2f} |"
        )
    lines += [
        "",
        f"{result['heads']} heads of {result['channels']} channels, {result['dtype']}, medians of {result['repeats']} "
        f"alternating runs, {name_origin(result, 'benchmarks/attention.py')}",
    ]
    return "\n".join(lines)


def make_merging_table(result: dict[str, Any]) -> str:
    """Writes every way of summing absorbed tokens."""
    lines = ["| way | ms | CPU-ms |", "|---|---|---|"]
    lines += [f"| {row['way']} | {row['median_ms']:.2f} | {row['median_cpu_ms']:.2f} |" for row in result["rows"]]
    lines += [
        "",
        f"{result['absorbed']} of {result['tokens']} tokens of {result['dim']} channels, {result['dtype']}, medians of "
        f"{result['repeats']} alternating rounds of {result['loops']} runs, "
        f"{name_origin(result, 'benchmarks/merging.py')}",
    ]
    return "\n".join(lines)


def make_scan_table(result: dict[str, Any]) -> str:
    """Writes run time, compile time and planned memory of blocks one by one and under one scan."""
    lines = [
        "| tokens | schedule | ms, one by one | ms, scanned | scanned takes | compile, s | planned memory, MiB |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in result["rows"]:
        one, scanned = row["one by one"], row["scanned"]
        memory = " and ".join(f"{way['planned_bytes'] / 2**20:.0f}" for way in (one, scanned))
        lines.append(
            f"| {row['tokens']} | {row['schedule']} | {1e3 * one['median_seconds']:.0f} "
            f"| {1e3 * scanned['median_seconds']:.0f} | {row['slower']:+.1%} "
            f"| {one['compile_seconds']:.1f} and {scanned['compile_seconds']:.1f} | {memory} |"
        )
    lines += [
        "",
        f"{result['preset']}, {result['dtype']}, batch 1, random weights, medians of {result['repeats']} alternating "
        f"runs, {name_origin(result, 'benchmarks/scan.py')}",
    ]
    return "\n".join(lines)


def make_rerank_table(result: dict[str, Any]) -> str:
    """Writes how many pairs per second every way of re-ranking looks at."""
    plain = result["rows"][0]["pairs_per_second"]
    lines = ["| | GMACs a pair | pairs per second | x each by itself |", "|---|---|---|---|"]
    lines += [
        f"| {row['way']} | {row['gmacs_per_pair']:.2f} | {row['pairs_per_second']:.1f} ({row['slowest']:.1f} to "
        f"{row['fastest']:.1f}) | {row['pairs_per_second'] / plain:.1f} |"
        for row in result["rows"]
    ]
    lines += [
        "",
        f"UMT-B/16 for retrieval, {result['video_tokens']} video and {result['text_tokens']} text tokens, "
        f"{result['rows'][-1]['pairs']} texts of a video, {result['dtype']}, medians of {result['repeats']} "
        f"alternating runs, {name_origin(result, 'benchmarks/rerank.py')}",
    ]
    return "\n".join(lines)
