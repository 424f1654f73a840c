"""Evaluations against an oracle that goes video by video, in three families; what is read, timed and recorded."""

import functools
import itertools
import json

import numpy as np
import pytest

from tests.data.making import write_video
from vidtldr_jax.data import Preprocessing, read_frames
from vidtldr_jax.data.manifest import ManifestEntry
from vidtldr_jax.evaluation.class_embeddings import ClassEmbeddings
from vidtldr_jax.evaluation.heads import Head
from vidtldr_jax.evaluation.views import evaluate_videos, sum_seconds, summarise
from vidtldr_jax.inference import VideoModel
from vidtldr_jax.inference.checkpoint import find_param_shapes
from vidtldr_jax.models import VideoViTConfig
from vidtldr_jax.models.clip_config import CLIPConfig
from vidtldr_jax.models.vivit_config import ViViTConfig
from vidtldr_jax.trust.records import Records

SIZES = {"num_frames": 4, "image_size": 16, "patch_size": 8, "dim": 8, "depth": 2, "num_heads": 2, "mlp_dim": 16}
CONFIGS = {
    "video_vit": VideoViTConfig(**SIZES, tubelet_size=2, num_classes=9),
    "vivit": ViViTConfig(**SIZES, tubelet_size=2, num_classes=9),
    "vivit factorised": ViViTConfig(
        **SIZES, tubelet_size=2, num_classes=9, attention="factorized_encoder", temporal_depth=1
    ),
    "clip": CLIPConfig(**SIZES, encoding="per_frame", embed_dim=5),
}
VIEWS = {"sampling": "windows", "num_clips": 2, "resize": "shortest_edge", "shortest_edge": 20, "crop": "three_up"}
LABEL = (Head("label", 9),)
TWO_HEADS = (Head("noun", 6), Head("verb", 3))
CLASSES = ClassEmbeddings(
    tuple("abcdefghi"),
    (lambda vectors: vectors / np.linalg.norm(vectors, axis=1, keepdims=True))(
        np.random.default_rng(3).normal(size=(9, 5))
    ),
    20.0,
)


@functools.cache
def make_model(name):
    """Returns a model with a schedule that merges; weights are large, so that videos get different classes."""
    config = CONFIGS[name]
    rng = np.random.default_rng(1)
    params = {
        path: (rng.normal(size=shape) * 1.5 + path.endswith("scale")).astype(np.float32)
        for path, shape in find_param_shapes(config).items()
    }
    recipe = Preprocessing(num_frames=4, image_size=16, **VIEWS)
    return VideoModel(params, config, preprocessing=recipe, schedule="2" if config.num_tokens > 7 else "1")


@pytest.fixture(scope="module")
def entries(tmp_path_factory):
    """Six videos, the fourth of which is none; labels of two heads."""
    folder = tmp_path_factory.mktemp("videos")
    paths = [write_video(folder / f"{n}.mp4", num_frames=14, first_number=40 * n) for n in range(6)]
    paths[3].write_text("not a video\n" * 50)
    rng = np.random.default_rng(0)
    return [ManifestEntry(path.name, path, (int(rng.integers(6)), int(rng.integers(3)))) for path in paths]


def use_one_label(entries):
    return [entry._replace(labels=(entry.labels[0],)) for entry in entries]


def run(models, entries, *, path=None, heads=LABEL, average="logits", **options):
    with Records(path, {"run": 1}) as records:
        evaluate_videos(models, entries, heads=heads, average=average, records=records, **{"batch_size": 1} | options)
        return records, summarise(records, entries, tuple(models), heads)


def score_one_by_one(model, path, average, classes):
    """The scores of one video in plain NumPy, view by view; only the model itself is ours."""
    total = 0
    for view in read_frames(path, model.preprocessing).frames:
        out = model.encode_video(view[None])
        if classes is None:
            row = np.asarray(out.logits, np.float64)[0]
        else:
            vector = np.asarray(out.embedding, np.float64)[0]
            row = np.array([classes.scale * vector @ text / np.sqrt(vector @ vector) for text in classes.vectors])
        total = total + (np.exp(row) / np.exp(row).sum() if average == "probabilities" else row)
    return total / model.preprocessing.num_views


@pytest.mark.parametrize("average", ["logits", "probabilities"])
@pytest.mark.parametrize("name", CONFIGS)
def test_every_family_s_accuracy_is_the_oracle_s(entries, name, average):
    model, classes = make_model(name), CLASSES if name == "clip" else None
    entries = use_one_label(entries)
    records, found = run({"merged": model}, entries, average=average, classes=classes)
    ranks = []
    for entry in entries:
        if entry.name == "3.mp4":
            ranks.append(9)
            continue
        scores = score_one_by_one(model, entry.path, average, classes)
        order = sorted(range(9), key=lambda index: -scores[index])
        ranks.append(order.index(entry.labels[0]))
        (given,) = records.found[entry.name]["ways"]["merged"]
        assert given["top"] == order[:5]
        np.testing.assert_allclose(given["scores"], scores[order[:5]], rtol=1e-4, atol=1e-5)
    assert found["accuracy"]["merged"]["label"]["top_1"]["right"] == ranks.count(0)
    assert found["accuracy"]["merged"]["label"]["top_5"]["right"] == sum(rank < 5 for rank in ranks)
    assert len(set(ranks)) > 2


def test_several_heads_are_ranked_apart_and_counted_together(entries):
    model = make_model("vivit")
    _, found = run({"merged": model}, entries, heads=TWO_HEADS)
    right = []
    for entry in entries:
        if entry.name != "3.mp4":
            scores = score_one_by_one(model, entry.path, "logits", None)
            right.append((scores[:6].argmax() == entry.labels[0], scores[6:].argmax() == entry.labels[1]))
    counts = {name: tops["top_1"]["right"] for name, tops in found["accuracy"]["merged"].items()}
    nouns, verbs = zip(*right)
    assert counts == {"noun": sum(nouns), "verb": sum(verbs), "joint": sum(map(all, right))}


def test_a_video_that_cannot_be_read_is_named_and_counts_as_wrong(entries):
    _, found = run({"merged": make_model("vivit")}, use_one_label(entries))
    assert list(found["errors"]) == ["3.mp4"]
    assert "FFmpeg" in found["errors"]["3.mp4"] or "text" in found["errors"]["3.mp4"]
    assert found["accuracy"]["merged"]["label"]["top_1"]["of"] == 6


def test_scores_that_are_not_finite_are_an_error_and_never_right(entries):
    model = make_model("video_vit")
    broken = VideoModel(
        {**model.params, "head": {name: value * np.nan for name, value in model.params["head"].items()}},
        model.config, preprocessing=model.preprocessing,
    )  # fmt: skip
    _, found = run({"plain": broken}, [entry._replace(labels=(0,)) for entry in entries[:2]])
    assert [error.split(";")[0] for error in found["errors"].values()] == ["a model's logits must be finite"] * 2
    assert found["accuracy"]["plain"]["label"]["top_1"]["right"] == 0


def test_two_ways_see_the_same_views_and_are_compared_video_by_video(entries, monkeypatch):
    model = make_model("video_vit")
    entries = use_one_label(entries)
    plain = model.with_schedule(None)
    records, found = run({"merged": model, "plain": plain}, entries)
    alone = {way: run({way: one}, entries)[0].found for way, one in (("merged", model), ("plain", plain))}
    for entry in entries:
        assert records.found[entry.name].get("ways", {}) == {
            way: alone[way][entry.name]["ways"][way] for way in alone if entry.name != "3.mp4"
        }
    tops = {
        way: [r["ways"][way][0]["top"][0] for r in records.found.values() if "ways" in r] for way in ("merged", "plain")
    }
    labels = [entry.labels[0] for entry in entries if entry.name != "3.mp4"]
    triples = list(zip(tops["merged"], tops["plain"], labels))
    assert found["agreement"] == {
        "same": sum(a == b for a, b, _ in triples),
        "of": 5,
        "value": sum(a == b for a, b, _ in triples) / 5,
        "right_only_merged": sum(a == label != b for a, b, label in triples),
        "right_only_plain": sum(b == label != a for a, b, label in triples),
    }
    paces = sum_seconds(records, entries)
    assert set(paces.computing) == {"merged", "plain"}
    assert 0 < sum(paces.computing.values()) < paces.total


def test_whatever_the_break_and_the_batches_the_result_is_the_same(entries, tmp_path):
    model = make_model("vivit factorised")
    entries = use_one_label(entries)
    _, whole = run({"merged": model}, entries)
    for number, batch_size in itertools.product(range(len(entries)), (1, 4)):
        path = tmp_path / f"{number}-{batch_size}.jsonl"
        run({"merged": model}, entries[:number] or entries[:1], path=path)
        assert run({"merged": model}, entries, path=path, batch_size=batch_size)[1] == whole


def test_what_is_known_is_not_run_again_but_an_error_is_tried_again(entries, tmp_path):
    model, path, seen = make_model("vivit"), tmp_path / "a.jsonl", []
    entries = use_one_label(entries)
    run({"merged": model}, entries[1:5], path=path)
    run({"merged": model}, entries, path=path, progress=lambda entry: seen.append(entry.name))
    assert seen == ["0.mp4", "3.mp4", "5.mp4"]
    assert len(path.read_text().splitlines()) == 1 + 4 + 3


def test_there_is_one_compilation_and_it_is_not_counted_as_a_video_s_time(entries, traced_shapes):
    model, entries = make_model("video_vit"), use_one_label(entries)
    with Records(None, {}) as records:
        compiling = evaluate_videos(
            {"merged": model}, entries, heads=LABEL, average="logits", records=records, batch_size=4
        )
    assert traced_shapes == [(4, 4, 16, 16, 3)]
    assert compiling > 0.1
    assert sum_seconds(records, entries).total < compiling + 5


def test_a_record_is_written_before_the_next_video_is_asked_for(entries, tmp_path):
    path = tmp_path / "a.jsonl"

    def check(entry):
        assert json.loads(path.read_text().splitlines()[-1])["key"] == entry.name

    run({"merged": make_model("vivit")}, use_one_label(entries), path=path, progress=check, batch_size=1)


def test_heads_that_do_not_fit_the_model_are_refused(entries):
    with pytest.raises(ValueError, match=r"as the model, 9; got 6 \(noun\) \+ 4 \(verb\)"):
        run({"merged": make_model("vivit")}, entries, heads=(Head("noun", 6), Head("verb", 4)))
