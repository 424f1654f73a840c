"""The pictures of docs/operator.md are those that its script draws."""

import importlib.util

import numpy as np
import pytest
from PIL import Image

from tests.docs.markdown_pages import ROOT

SCRIPT = ROOT / "docs" / "pictures" / "make_pictures.py"


@pytest.fixture(scope="module")
def pictures():
    spec = importlib.util.spec_from_file_location("make_pictures", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    look = module.look_inside()
    return {name: draw(look) for name, draw in module.PICTURES.items()}


@pytest.mark.parametrize("name", ["attention", "matching", "merging"])
def test_a_picture_is_what_the_script_draws(name, pictures):
    stored = np.asarray(Image.open(ROOT / "docs" / "images" / f"operator-{name}.png").convert("RGB"))
    drawn = pictures[name]
    assert drawn.shape == stored.shape
    # Another version of JAX or Pillow may round a pixel or a near tie elsewhere.
    is_other = np.abs(drawn.astype(int) - stored).max(-1) > 8
    assert is_other.mean() < 0.001


def test_the_page_shows_all_of_them(pictures):
    page = (ROOT / "docs" / "operator.md").read_text()
    assert [name for name in pictures if f"](images/operator-{name}.png)" not in page] == []
