"""A SavedModel runs in TensorFlow without JAX, and gives what the model gives; skipped, with a line, without one."""

import importlib.util
import json
import os
import subprocess
import sys

import jax
import jaxtyping
import numpy as np
import pytest

from tests.export.test_stablehlo import make, make_inputs, run_model
from vidtldr_jax.export import savedmodel
from vidtldr_jax.export.check import check_export
from vidtldr_jax.export.savedmodel import DESCRIPTION, export_savedmodel

# JAX 0.12 writes StableHLO that TensorFlow 2.21 can't read.
IS_THERE = importlib.util.find_spec("tensorflow") is not None and jax.__version_info__ < (0, 11)
needs_tensorflow = pytest.mark.skipif(not IS_THERE, reason="needs TensorFlow and a JAX whose programs it reads")

SCRIPT = """
import sys
sys.modules |= dict.fromkeys(("jax", "jaxlib", "flax", "vidtldr_jax"))  # importing one of them is an ImportError
import numpy as np, tensorflow as tf
serve = tf.saved_model.load(sys.argv[1]).signatures["serving_default"]
found = {}
for name, video in np.load(sys.argv[2]).items():
    for output, value in serve(video=tf.constant(video)).items():
        found[f"{name} {output}"] = value.numpy()
np.savez(sys.argv[3], **found)
"""


@pytest.fixture(autouse=True, scope="module")
def _sizes_unchecked():
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


@needs_tensorflow
@pytest.mark.filterwarnings("ignore")  # TensorFlow's own
@pytest.mark.parametrize("name", ["merged", "frames merged"])
def test_a_process_with_tensorflow_alone_gets_the_models_numbers(tmp_path, name):
    export_savedmodel(make(name), tmp_path / "m")
    batches = {str(size): make_inputs(name, size)[0] for size in (1, 3)}
    np.savez(tmp_path / "in.npz", **batches)
    words = [sys.executable, "-P", "-c", SCRIPT, tmp_path / "m", tmp_path / "in.npz", tmp_path / "out.npz"]
    result = subprocess.run(words, capture_output=True, text=True, env=dict(os.environ), cwd=tmp_path, check=False)
    assert result.returncode == 0, result.stderr
    found = np.load(tmp_path / "out.npz")
    for size, video in batches.items():
        expected = np.asarray(run_model(name, [video])["out"])
        # Another version of XLA fuses and sums in another order.
        np.testing.assert_allclose(found[f"{size} logits"], expected, atol=1e-5 * np.abs(expected).max())


@needs_tensorflow
@pytest.mark.filterwarnings("ignore")
def test_texts_pixels_and_several_outputs(tmp_path):
    export_savedmodel(make("umt texts"), tmp_path / "texts", output="text_embedding")
    assert check_export(make("umt texts"), tmp_path / "texts").is_within
    options = {"output": ("tokens", "size"), "input_dtype": "uint8", "batch_size": 2}
    description = export_savedmodel(make("pixels"), tmp_path / "pixels", **options)
    assert json.loads((tmp_path / "pixels" / DESCRIPTION).read_text()) == description
    check = check_export(make("pixels"), tmp_path / "pixels")
    assert (check.is_within, check.batch_sizes) == (True, (2,))
    with pytest.raises(ValueError, match="nothing but a SavedModel is overwritten"):
        export_savedmodel(make("pixels"), tmp_path / "pixels", **options)
    export_savedmodel(make("pixels"), tmp_path / "pixels", overwrite=True, **options)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["pixels", "texts"]


def test_without_tensorflow_a_line_says_how_to_get_it(tmp_path, monkeypatch):
    monkeypatch.setattr(savedmodel.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r"pip install 'vidtldr-jax\[savedmodel\]'"):
        export_savedmodel(make("plain"), tmp_path / "m")


def test_a_folder_of_something_else_is_left_alone(tmp_path, monkeypatch):
    monkeypatch.setattr(savedmodel.importlib.util, "find_spec", lambda name: object())
    (tmp_path / "m").mkdir()
    with pytest.raises(ValueError, match="nothing but a SavedModel is overwritten, and only where that is asked for"):
        export_savedmodel(make("plain"), tmp_path / "m", overwrite=True)
