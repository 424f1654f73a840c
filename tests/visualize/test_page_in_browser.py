"""The page in a real browser: Debian's Chromium, headless, driven by Playwright.

Where either is missing the tests skip and say so; VIDTLDR_REQUIRE_BROWSER=1 makes that a failure.
"""

import importlib.util
import os
import shutil

import numpy as np
import pytest

from tests.visualize.histories import draw_by_hand, record
from vidtldr_jax.visualize import draw_merge_map, draw_saliency, reconstruct_frames, write_page
from vidtldr_jax.visualize.colours import colour_layers

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
IS_MISSING = CHROMIUM is None or importlib.util.find_spec("playwright") is None
# Nothing but the page is to be loaded.
FLAGS = (
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"),
    *("--disable-component-update", "--disable-sync"),
)
pytestmark = pytest.mark.skipif(
    IS_MISSING and os.environ.get("VIDTLDR_REQUIRE_BROWSER") != "1",
    reason="needs a Chromium on the PATH and the Python package playwright",
)
# JPEG, and bilinear against whole pixels at patches' edges.
CLOSE = 6


@pytest.fixture(scope="module")
def browser():
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=CHROMIUM, args=list(FLAGS))
        yield running
        running.close()


@pytest.fixture
def open_page(browser, tmp_path):
    """Opens the page of a history; fails at the end if the browser had anything to complain about, or was sent away."""
    said, opened = [], []

    def open_history(history, **context):
        tab = browser.new_page(**context)
        opened.append(tab)
        tab.on("console", lambda message: said.append(message.text))
        tab.on("pageerror", lambda error: said.append(str(error)))
        tab.on("request", lambda request: said.append(request.url) if request.url.startswith("http") else None)
        tab.goto(write_page(tmp_path / "page.html", history).as_uri())
        tab.wait_for_selector("html[data-ready]", timeout=20_000)
        return tab

    yield open_history
    for tab in opened:
        tab.close()
    assert said == []


def read_pixels(tab, name):
    """Returns what a canvas shows, [Y, X, 3]."""
    found = tab.evaluate(
        """(id) => {
          const { width, height } = document.getElementById(id);
          const copy = new OffscreenCanvas(width, height).getContext("2d", { willReadFrequently: true });
          copy.drawImage(document.getElementById(id), 0, 0);
          return [height, width, Array.from(copy.getImageData(0, 0, width, height).data)];
        }""",
        f"view-{name}",
    )
    return np.array(found[2], np.uint8).reshape(found[0], found[1], 4)[..., :3].astype(int)


def point_at(tab, row, column, *, of=3, view="groups"):
    box = tab.locator(f"#view-{view}").bounding_box()
    tab.mouse.move(box["x"] + (column + 0.5) * box["width"] / of, box["y"] + (row + 0.5) * box["height"] / of)


def move_slider(tab, name, value):
    tab.locator(f"#{name}").fill(str(value))


def read_patch(tab):
    return tab.locator("#patch").inner_text().split("\n\n")


@pytest.mark.parametrize("name", ["video_vit", "vivit", "factorised encoder"])
def test_pictures_are_those_that_python_draws_in_every_frame_and_layer(open_page, name):
    history = record(name)
    tab = open_page(history)
    colours = colour_layers([layer.group for layer in history.layers])
    for frame, number in [(0, 0), (3, 1), (2, 2)]:
        move_slider(tab, "frame", frame)
        move_slider(tab, "layer", number)
        layer, pixels, step = history.layers[number], history.frames[frame], frame // 2
        means = reconstruct_frames(history.frames, layer.group, layer.weight)[frame].astype(int)
        expected = {
            "frame": pixels,
            "saliency": draw_saliency(pixels, layer.saliency[step]),
            "groups": draw_merge_map(pixels, layer.group[step], colours[number][step]),
        }
        for view, picture in expected.items():
            assert np.abs(read_pixels(tab, view) - picture.astype(int)).mean() < CLOSE, (view, frame, number)
        is_held = (layer.group[step] >= 0).repeat(32, axis=0).repeat(32, axis=1)
        assert np.abs(read_pixels(tab, "means") - means)[is_held].mean() < CLOSE


def test_scrubbing_changes_the_frame_and_the_layer(open_page):
    tab = open_page(record("video_vit"))
    assert tab.locator("#frame-now").inner_text() == "1 of 4"
    assert tab.locator("#layer-now").inner_text() == "2: 13 to 10 tokens"
    before = read_pixels(tab, "frame")
    move_slider(tab, "frame", 2)
    assert tab.locator("#frame-now").inner_text() == "3 of 4"
    assert np.abs(read_pixels(tab, "frame") - before).mean() > 10
    groups = read_pixels(tab, "groups")
    move_slider(tab, "layer", 0)
    assert tab.locator("#layer-now").inner_text() == "0: 18 to 13 tokens"
    assert np.abs(read_pixels(tab, "groups") - groups).max() > 30


def test_pointing_shows_the_group_its_members_size_and_saliency(open_page):
    history = record("video_vit")
    tab = open_page(history)
    layer = history.layers[2]
    counts = np.bincount(layer.group[layer.group >= 0])
    token = next(t for t in np.unique(layer.group[0]) if t >= 0 and counts[t] > 1)
    row, column = np.argwhere(layer.group[0] == token)[0]
    clean = read_pixels(tab, "groups")
    point_at(tab, row, column)
    place, group, saliency, *members = read_patch(tab)
    assert place == f"frames 1 to 2, row {row + 1}, column {column + 1}"
    size = layer.weight[layer.group == token].sum()
    assert group == f"one of a group of {counts[token]} patches, size {size:.2f}"
    assert saliency == f"saliency in layer 2: {layer.saliency[0, row, column]:.2f}"
    expected = [
        f"frames {2 * step + 1} to {2 * step + 2}: {count}"
        for step in range(2)
        if (count := int((layer.group[step] == token).sum()))
    ]
    assert "\n".join(members).split("\n") == expected
    changed = np.abs(read_pixels(tab, "groups") - clean).max(-1).reshape(3, 32, 3, 32).max((1, 3)) > 60
    assert changed[layer.group[0] == token].all()
    tab.mouse.move(2, 2)
    assert "Point at a picture" in read_patch(tab)[0]


def test_a_dropped_patch_says_in_which_layer(open_page):
    history = record("video_vit")
    tab = open_page(history)
    dropped = np.argwhere(history.group == -1)
    assert len(dropped)
    step, row, column = dropped[0]
    move_slider(tab, "frame", 2 * step)
    point_at(tab, row, column)
    first = next(layer.layer for layer in history.layers if layer.group[step, row, column] == -1)
    assert read_patch(tab)[1].startswith(f"dropped in layer {first}")


def test_everything_can_be_reached_by_keys(open_page):
    history = record("video_vit")
    tab = open_page(history)
    for key, frame in [("ArrowRight", 2), ("ArrowRight", 3), ("ArrowLeft", 2), ("ArrowLeft", 1), ("ArrowLeft", 4)]:
        tab.keyboard.press(key)
        assert tab.locator("#frame-now").inner_text() == f"{frame} of 4"
    tab.keyboard.press("ArrowUp")
    assert tab.locator("#layer-now").inner_text().startswith("1:")
    tab.keyboard.press("w")
    assert read_patch(tab)[0] == "frames 3 to 4, row 2, column 2"
    tab.keyboard.press("d")
    tab.keyboard.press("s")
    assert read_patch(tab)[0] == "frames 3 to 4, row 3, column 3"
    tab.keyboard.press("Enter")
    tab.keyboard.press("ArrowRight")
    assert read_patch(tab)[0] == "held, frames 3 to 4, row 3, column 3"
    tab.keyboard.press("ArrowLeft")
    tab.keyboard.press("Escape")
    assert "Point at a picture" in read_patch(tab)[0]
    tab.keyboard.press("Tab")
    assert tab.evaluate("document.activeElement.id") == "play"
    tab.keyboard.press("Space")
    assert tab.locator("#play").inner_text() == "Stop"
    tab.wait_for_selector("#frame-now:not(:text-is('4 of 4'))", timeout=20_000)
    tab.keyboard.press("Space")
    assert tab.locator("#play").inner_text() == "Play"
    tab.keyboard.press("Tab")
    tab.keyboard.press("Tab")
    assert tab.evaluate("document.activeElement.id") == "layer"
    tab.keyboard.press("ArrowRight")
    assert tab.locator("#layer-now").inner_text().startswith("2:")


def test_both_answers_stand_side_by_side_and_bars_lead_to_their_layer(open_page):
    history = record("video_vit")
    tab = open_page(history)
    rows = [row.split("\t") for row in tab.locator("#answers").inner_text().splitlines()]
    assert [cell.strip() for cell in rows[0][1:]] == ["plain", "merged"]
    best = history.merged.predictions[0]
    assert rows[2][2].strip() == f"{100 * best['probability']:.1f} % {best['label']}"
    tab.locator("#tokens button").nth(0).click()
    assert tab.locator("#layer-now").inner_text() == "0: 18 to 13 tokens"


def test_a_phone_shows_it_without_scrolling_sideways_in_the_dark_too(open_page):
    tab = open_page(record("video_vit"), viewport={"width": 380, "height": 800}, color_scheme="dark")
    assert tab.evaluate("document.documentElement.scrollWidth") <= 380
    assert tab.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(24, 24, 28)"


@pytest.mark.parametrize("changes", [{"num_layers": 0}, {"title": "</script><img src=x onerror=alert(1)>"}])
def test_odd_clips_open_too(open_page, changes):
    tab = open_page(draw_by_hand(**changes))
    assert tab.locator("h1").inner_text() == changes.get("title", "by hand")
