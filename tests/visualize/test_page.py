"""The page carries what it draws, nothing that could be run instead of read, and asks nothing of the network."""

import base64
import dataclasses
import io
import json
import re

import numpy as np
import pytest
from PIL import Image

from tests.cli.hostile import LABEL, NAME, find_unsafe
from tests.visualize.histories import draw_by_hand, record
from vidtldr_jax.trust.harmless import make_harmless
from vidtldr_jax.visualize import make_page, write_page
from vidtldr_jax.visualize.colours import colour_layers


def read_data(page):
    (text,) = re.findall(r'<script type="application/json" id="history">(.*?)</script>', page, flags=re.DOTALL)
    return json.loads(text)


def decode(text, dtype, grid):
    return np.frombuffer(base64.b64decode(text), dtype).reshape(grid)


def test_it_holds_pictures_and_maps_of_every_layer():
    history = record("video_vit")
    data = read_data(make_page(history))
    assert (data["grid"], data["tubelet"]) == ([2, 3, 3], 2)
    with Image.open(io.BytesIO(base64.b64decode(data["frames"][3].removeprefix("data:image/jpeg;base64,")))) as image:
        assert np.abs(np.asarray(image).astype(int) - history.frames[3]).mean() < 4
    colours = colour_layers([layer.group for layer in history.layers])
    for layer, found, colour in zip(history.layers, data["layers"], colours):
        saliency = decode(found["saliency"], "u1", history.grid)
        assert ((saliency == 255) == np.isnan(layer.saliency)).all()
        np.testing.assert_allclose(saliency[saliency < 255] / 254, layer.saliency[saliency < 255], atol=0.002)
        if layer.layer == 1:
            assert found["group"] is found["weight"] is found["colour"] is None  # nothing is merged there
            continue
        np.testing.assert_array_equal(decode(found["group"], "<i4", history.grid), layer.group)
        np.testing.assert_array_equal(decode(found["weight"], "<f4", history.grid), layer.weight)
        np.testing.assert_array_equal(decode(found["colour"], "i1", history.grid), colour)
    assert [(layer["tokensIn"], layer["tokensOut"]) for layer in data["layers"]] == [(18, 13), (13, 13), (13, 10)]
    assert data["merged"]["predictions"] == [dict(one) for one in history.merged.predictions]


def test_a_method_that_scores_no_tokens_has_no_saliency_on_its_page():
    layers = tuple(layer._replace(saliency=np.ones_like(layer.saliency)) for layer in draw_by_hand().layers)
    assert {layer["saliency"] for layer in read_data(make_page(draw_by_hand(layers=layers)))["layers"]} == {None}


def test_a_clip_without_layers_has_a_page_of_patches_on_their_own():
    (layer,) = read_data(make_page(draw_by_hand(num_layers=0)))["layers"]
    np.testing.assert_array_equal(decode(layer["group"], "<i4", 18), np.arange(18))


@pytest.mark.parametrize("evil", ["</script><img src=x onerror=alert(1)>", "{{style}}", "a & b <i>", "<!-- <script>"])
def test_titles_and_labels_are_text_whatever_they_say(evil):
    history = draw_by_hand(title=evil)
    one = {"index": 0, "label": evil, "probability": 1.0}
    merged = dataclasses.replace(history.merged, predictions=(one,))
    page = make_page(dataclasses.replace(history, merged=merged))
    usual = make_page(draw_by_hand())
    assert page.count("<") - usual.count("<") == 0
    assert page.count("{{") == usual.count("{{") + 2 * evil.count("{{") + evil.count("{{")
    assert read_data(page)["merged"]["predictions"][0]["label"] == evil


@pytest.mark.parametrize("evil", [LABEL, NAME], ids=["label", "name"])
def test_what_is_shown_of_a_hostile_text_are_characters(tmp_path, evil):
    """A file's name need not even be Unicode, which no page can hold; bidirectional marks would turn it round."""
    history = draw_by_hand(title=evil)
    merged = dataclasses.replace(history.merged, predictions=({"index": 0, "label": evil, "probability": 1.0},))
    page = write_page(tmp_path / "a.html", dataclasses.replace(history, merged=merged)).read_text(encoding="utf-8")
    assert find_unsafe(page) == []
    assert read_data(page)["merged"]["predictions"][0]["label"] == make_harmless(evil)


def test_it_names_no_other_place():
    page = make_page(draw_by_hand())
    policy = re.search(r'Content-Security-Policy" content="([^"]+)"', page)[1]
    assert policy.startswith("default-src 'none'; img-src data:;")
    assert re.findall(r"https?:|//[a-z]", re.sub(r'(?<= )// .*|"data:[^"]+"', "", page)) == []


def test_it_is_written_whole(tmp_path):
    history = draw_by_hand()
    path = write_page(tmp_path / "a.html", history)
    assert path.read_text(encoding="utf-8") == make_page(history)
    assert [file.name for file in tmp_path.iterdir()] == ["a.html"]
