"""search: the order of plain arithmetic, by similarity and by match, and indexes that can't be searched."""

import json
import os
import shutil

import numpy as np
import pytest

from tests.cli.conftest import save_model
from tests.cli.indexes import Exact, hash_bytes, make_place, read_rows
from tests.cli.test_main import assert_one_error
from tests.cli.umt_sets import make_umt, save_again
from vidtldr_jax.inference import load_model
from vidtldr_jax.models.clip_config import CLIPConfig
from vidtldr_jax.search.features import FeatureStore, read_features
from vidtldr_jax.search.index import search_index

TEXT = "w3 w4 w5"
LIMITS = ("--k-test", 2, "--max-text-tokens", 16)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return make_place(tmp_path_factory.mktemp("search"))


@pytest.fixture(scope="module")
def exact(place):
    return Exact(read_rows(place.index))


@pytest.fixture
def bare(call, place, tmp_path):
    """An index without tokens of half of the videos."""
    assert call("embed", *place.paths[:6], *place.words, "--out", tmp_path / "bare").exit_code == 0
    return tmp_path / "bare"


def assert_hits(results, expected):
    assert [hit["path"] for hit in results] == [path for path, _, _ in expected]
    assert [hit["rank"] for hit in results] == list(range(1, len(expected) + 1))
    np.testing.assert_allclose([hit["similarity"] for hit in results], [one[1] for one in expected], atol=1e-5, rtol=0)
    for hit, (_, _, match) in zip(results, expected, strict=True):
        assert hit["match"] == (None if match is None else pytest.approx(match, abs=1e-4))


@pytest.mark.parametrize("text", [TEXT, "w70", "w9 w1 w33 w33 w20 w8 w41 w50 w60"])
@pytest.mark.parametrize("rerank", [0, 5, 12])
def test_the_order_is_that_of_plain_arithmetic(call_json, place, exact, text, rerank):
    result = call_json("search", place.index, text, "--rerank", rerank, "--top-k", 12)
    expected = exact.find(text, rerank=rerank)
    assert_hits(result["results"], expected)
    assert result["reranked"] == rerank
    # That looking again changes something, or this would say little.
    assert ([one[0] for one in expected] != [one[0] for one in exact.find(text, rerank=0)]) == (rerank > 0)


def test_by_default_all_with_tokens_are_looked_at_again_and_the_best_five_shown(call_json, place, exact):
    result = call_json("search", place.index, TEXT)
    assert {name: value for name, value in result.items() if name != "results"} == {
        "index": str(place.index), "text": TEXT, "videos": 12, "reranked": 12, "schedule": "16,8",
        "errors": {}, "unknown_words": [],
    }  # fmt: skip
    assert_hits(result["results"], exact.find(TEXT, rerank=12)[:5])
    assert all(hit["exists"] for hit in result["results"])
    assert call_json("search", place.index, TEXT, "--rerank", 100)["results"] == result["results"]
    assert call_json("search", place.index, TEXT, "--top-k", 1)["results"] == result["results"][:1]


def test_people_get_a_table(call, place, exact):
    lines = call("search", place.index, TEXT, "--rerank", 2, "--top-k", 3).stdout.splitlines()
    assert lines[0].split() == ["video", "similarity", "match"]
    assert [line.split() for line in lines[1:]] == [
        [path, f"{cosine:.4f}", "-" if match is None else f"{match:.3f}"]
        for path, cosine, match in exact.find(TEXT, rerank=2)[:3]
    ]


def test_texts_are_cleaned_as_those_of_evaluations(call_json, place):
    plain = call_json("search", place.index, "w3 w4")
    for text in ("W3, w4!", "  w3-w4.  ", "(W3) / 'w4'"):
        assert call_json("search", place.index, text) == plain | {"text": text}
    assert call_json("search", place.index, "w4 w3")["results"] != plain["results"]


def test_a_video_that_is_gone_is_marked(call, call_json, place, tmp_path):
    videos = [shutil.copy(path, tmp_path) for path in place.paths[:3]]
    call("embed", *videos, *place.words, "--tokens", "--out", tmp_path / "index")
    (tmp_path / place.paths[1].name).unlink()
    hits = call_json("search", tmp_path / "index", TEXT)["results"]
    assert {hit["path"]: hit["exists"] for hit in hits} == dict(zip(videos, (True, False, True)))
    lines = call("search", tmp_path / "index", TEXT).stdout.splitlines()[1:]
    marked = [line for line in lines if line.split("  ")[1] == "(not there any more)"]
    assert [line.split("  ")[0] for line in marked] == [str(videos[1])]
    assert len(lines) == 3


def test_an_index_without_tokens_is_searched_by_similarity_alone(call, call_json, bare, exact):
    result = call_json("search", bare, TEXT, "--top-k", 6)
    known = {key: row for key, row in exact.rows.items() if key in read_rows(bare)}
    assert result["reranked"] == 0
    assert_hits(result["results"], Exact(known).find(TEXT, rerank=0))
    assert call_json("search", bare, TEXT, "--top-k", 6, "--rerank", 0) == result
    message = f"needs their tokens; {bare} has embeddings alone; embed the videos again with --tokens"
    assert_one_error(call("search", bare, TEXT, "--rerank", 5), message)


def test_the_model_may_have_moved_but_not_changed(call, call_json, place, tmp_path):
    model = shutil.copytree(place.model, tmp_path / "model")
    words = ("--model", model, "--schedule", "16,8", "--tokens", "--out", tmp_path / "index")
    call("embed", *place.paths[:3], *words)
    before = call_json("search", tmp_path / "index", TEXT)
    model.rename(tmp_path / "elsewhere")
    command = ("search", tmp_path / "index", TEXT)
    assert_one_error(call(*command), f"with its own model; it is no longer at {model}; give --model")
    assert call_json(*command, "--model", tmp_path / "elsewhere") == before
    tokenizer = ("--tokenizer", place.model.parent / "vocab.txt")
    bare = save_again(place.model, tmp_path / "bare", with_tokenizer=False)
    assert_one_error(call(*command, "--model", bare), "this one has none; give --tokenizer")
    assert call_json(*command, "--model", bare, *tokenizer) == before
    other = save_again(place.model, tmp_path / "other", is_changed=True) / "model.safetensors"
    ours, theirs = hash_bytes(place.model / other.name)[:12], hash_bytes(other)[:12]
    message = f"with its own model, SHA-256 {ours}...; the weights in {other.parent} have {theirs}...; give --model"
    assert_one_error(call(*command, "--model", other.parent), message)


def test_an_index_in_half_precision_is_searched_in_it(call, call_json, place, tmp_path):
    call("embed", *place.paths[:4], *place.words, "--dtype", "bfloat16", "--tokens", "--out", tmp_path / "index")
    result = call_json("search", tmp_path / "index", TEXT, "--rerank", 0)
    assert (result["schedule"], result["reranked"], len(result["results"])) == ("16,8", 0, 4)
    store = read_features(tmp_path / "index")
    for dtype in ("bfloat16", "float32"):
        hits = search_index(store, load_model(place.model, dtype=dtype), TEXT, top_k=5, rerank=0)
        is_it = [hit.similarity for hit in hits] == [hit["similarity"] for hit in result["results"]]
        assert is_it == (dtype == "bfloat16")


def test_a_folder_that_is_no_index_is_one_error(call, place, tmp_path):
    (tmp_path / "bad.mp4").write_text("not a video\n" * 50)
    call("embed", tmp_path / "bad.mp4", *place.words, "--out", tmp_path / "empty")
    message = f"an index has videos; {tmp_path / 'empty'} has none; add some with vidtldr embed"
    assert_one_error(call("search", tmp_path / "empty", TEXT), message)
    for folder in (place.videos, tmp_path / "nowhere", place.index.parent):
        assert_one_error(call("search", folder, TEXT), f"folder with description.json; {folder} has none; check the")
    assert_one_error(call("search", place.paths[0], TEXT), f"features are a folder; {place.paths[0]} is none")
    damaged = shutil.copytree(place.index, tmp_path / "damaged")
    (damaged / "part-000001.arrow").write_bytes(b"ARROW1")
    assert_one_error(call("search", damaged, TEXT), f"{damaged / 'part-000001.arrow'} is damaged")


def test_features_of_an_evaluation_are_no_index(call, place, tmp_path):
    entries = [{"video": path.name, "caption": f"w{number}"} for number, path in enumerate(place.paths[:4])]
    (tmp_path / "a.json").write_text(json.dumps(entries))
    files = ("--annotation", tmp_path / "a.json", "--videos", place.videos, "--out", tmp_path / "r.json")
    evaluated = call("evaluate", "retrieval", *place.words, *files, "--keep-features", *LIMITS)
    assert evaluated.exit_code == 0, evaluated.output
    for kind in ("videos", "texts"):
        folder = tmp_path / "r.features" / kind
        message = f"an index is made by vidtldr embed; {folder} is something else; give another folder"
        for words in ((), ("--model", place.model)):
            assert_one_error(call("search", folder, TEXT, *words), message)
        assert_one_error(call("embed", place.videos, *place.words, "--out", folder), "has features of another run")
    assert_one_error(call("search", tmp_path / "r.features", TEXT), "has none; check the path")


def test_an_index_of_a_model_that_does_not_read_is_one_error(call, place, tmp_path):
    config = CLIPConfig(
        encoding="per_frame", num_frames=4, image_size=16, patch_size=8, dim=8, depth=2, num_heads=2, mlp_dim=16,
        embed_dim=16,
    )  # fmt: skip
    model = save_model(tmp_path / "clip", config=config, labels=None, family="clip")
    call("embed", *place.paths[:2], "--model", model, "--out", tmp_path / "index")
    message = f"a UMT for retrieval is needed; {str(model)!r} is a clip model; take another checkpoint"
    assert_one_error(call("search", tmp_path / "index", TEXT), message)
    # Embeddings of one length are not enough.
    assert_one_error(call("search", tmp_path / "index", TEXT, "--model", place.model), "with its own model, SHA-256")


def test_wrong_uses_are_one_error(call, place, tmp_path):
    command = ("search", place.index)
    assert_one_error(call(*command, " .!"), "a text has words; ' .!' has none; write some")
    assert_one_error(call(*command, ""), "a text has words; '' has none")
    assert_one_error(call(*command), "Missing argument 'TEXT'", exit_code=2)
    assert_one_error(call(*command, TEXT, "--top-k", 0), "--top-k", exit_code=2)
    assert_one_error(call(*command, TEXT, "--rerank", -1), "--rerank", exit_code=2)
    assert_one_error(call(*command, TEXT, "--model", "no-model"), "there is no 'no-model'")
    answering = make_umt(tmp_path, "question_answering")
    assert_one_error(call(*command, TEXT, "--model", answering), "is a UMT for question_answering")
    with FeatureStore(tmp_path / "own", json.loads((place.index / "description.json").read_text())["run"]) as store:
        shutil.copy(next(place.index.glob("part-000000-*.arrow")), store.folder)
    assert_one_error(call("search", store.folder, TEXT), "it is not noted where that is; give --model")
    assert call("search", store.folder, TEXT, "--model", place.model).exit_code == 0


def test_names_that_are_no_utf_8_and_texts_that_are_too_long_are_told(call, call_json, place, tmp_path):
    odd = tmp_path / os.fsdecode(b"caf\xe9.mp4")
    shutil.copy(place.paths[0], odd)
    assert call("embed", odd, *place.words, "--out", tmp_path / "index").exit_code == 0
    (hit,) = call_json("search", tmp_path / "index", TEXT)["results"]
    assert hit["path"] == str(odd)
    shown = call("search", tmp_path / "index", " ".join(["w3"] * 40))
    assert (shown.exit_code, shown.stderr) == (0, "note: the text is longer than 20 tokens; its end was cut off\n")
    assert "caf\\udce9.mp4" in shown.stdout
