"""How much memory does one run need: ours, the official algorithm, and ours as the clip grows?

    python benchmarks/memory.py          # writes results/memory.json

UMT-B/16, batch 1, 224 x 224, float32, random weights, each measurement in a process of its own. With 12 frames: ours
and the official algorithm (said again in torch), plain and merged, and torch's fused attention. Ours goes on to 24, 48
and 64 frames; merged absorbs the same shares of the tokens as 600,200,100 of 2352. "Activations" is the peak of the
process above its level with the weights loaded, the program compiled and the libraries warm.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

from benchmarks import peak_memory, record
from benchmarks.models import MSRVTT, choose_config, scale_schedule
from vidtldr_jax.inference.timing import make_random_model, make_random_video
from vidtldr_jax.models.config import VideoViTConfig
from vidtldr_jax.reduction.schedule import parse_schedule

PRESET = "umt-b16"


class Job(NamedTuple):
    """One measurement.

    Attributes:
      who: "ours", "official", or "torch fused".
      form: "plain" or "merged".
      frames: of the clip.
    """

    who: Literal["ours", "official", "torch fused"]
    form: Literal["plain", "merged"]
    frames: int

    @property
    def name(self) -> str:
        """As it is asked for on the command line."""
        return f"{self.who} {self.form} {self.frames}"


def list_jobs(frames: Sequence[int]) -> list[Job]:
    """Lists the measurements: all with the first number of frames, ours with the others."""
    rivals = [Job("official", "merged", frames[0]), Job("official", "plain", frames[0])]
    ours = [Job("ours", form, count) for count in frames for form in ("merged", "plain")]
    return [*ours[:2], *rivals, Job("torch fused", "plain", frames[0]), *ours[2:]]


def find_schedule(config: VideoViTConfig, job: Job) -> str:
    """Returns what a job absorbs."""
    tokens = config.count_tokens(job.frames, config.image_size, config.image_size)
    return scale_schedule(MSRVTT, tokens) if job.form == "merged" else "none"


def measure(preset: str, job: Job, *, is_smoke: bool) -> peak_memory.Peak:
    """Measures one job in this process."""
    config, tiny = (choose_config(preset, is_smoke=smoke) for smoke in (is_smoke, True))
    schedule = find_schedule(config, job)
    if job.who == "ours":
        model = make_random_model(config, schedule)
        return peak_memory.measure_model(model, make_random_video(config, num_frames=job.frames))
    from benchmarks import rivals

    attention: Literal["official", "fused"] = "official" if job.who == "official" else "fused"
    runs = []
    for each in (tiny, config):  # the tiny one first, to warm the libraries
        classifier = rivals.make_classifier_config(each)
        r = parse_schedule(find_schedule(each, job._replace(frames=each.num_frames)))
        tensors = rivals.make_tensors(make_random_model(classifier))
        runs.append(rivals.make_run(tensors, classifier, make_random_video(classifier), r, attention))
    runs[0]()
    return peak_memory.measure(runs[1])


def run(preset: str, frames: Sequence[int], repeats: int, *, is_smoke: bool) -> dict[str, Any]:
    """Measures every job and returns plain data."""
    config, jobs = choose_config(preset, is_smoke=is_smoke), list_jobs(frames)
    peaks: dict[Job, list[peak_memory.Peak]] = {job: [] for job in jobs}
    for _ in range(repeats):
        for job in jobs:
            if is_smoke:
                peaks[job].append(measure(preset, job, is_smoke=True))
            else:
                peaks[job].append(peak_memory.run_fresh(__file__, "--preset", preset, "--job", job.name))
                print(f"{job.name}: {peaks[job][-1].activation_bytes / 2**20:.0f} MiB", flush=True)
    rows = []
    for job, measured in peaks.items():
        row = {
            **job._asdict(),
            "tokens": config.count_tokens(job.frames, config.image_size, config.image_size),
            "schedule": find_schedule(config, job),
            "activation_bytes": [peak.activation_bytes for peak in measured],
            "median_activation_bytes": statistics.median(peak.activation_bytes for peak in measured),
            "median_level_bytes": statistics.median(peak.level_bytes for peak in measured),
            "median_peak_bytes": statistics.median(peak.peak_bytes for peak in measured),
        }
        rows.append(row)
    return {"preset": preset, "image_size": config.image_size, "dtype": "float32", "repeats": repeats, "rows": rows}


def main(words: Sequence[str] | None = None) -> None:
    """Runs from the command line."""
    parser = record.make_parser(__doc__, repeats=3)
    parser.add_argument("--preset", default=PRESET, choices=["umt-b16", "umt-l16"])
    parser.add_argument("--frames", default="12,24,48,64", help="numbers of frames [default: %(default)s]")
    parser.add_argument("--job", help="measure one in this process and print it, such as 'ours merged 24'")
    arguments = parser.parse_args(words)
    if arguments.job:
        *who, form, count = arguments.job.split()
        job = Job(" ".join(who), form, int(count))
        peak_memory.report(measure(arguments.preset, job, is_smoke=arguments.smoke))
        return
    frames = [int(count) for count in arguments.frames.split(",")]
    frames, repeats = ([4], 1) if arguments.smoke else (frames, arguments.repeats)
    result = run(arguments.preset, frames, repeats, is_smoke=arguments.smoke)
    record.finish("memory", result, is_smoke=arguments.smoke)


if __name__ == "__main__":
    main()
