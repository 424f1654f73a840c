"""Files of class embeddings that are none."""

import json
import re

import numpy as np
import pytest
import safetensors.numpy

from vidtldr_jax.evaluation.class_embeddings import read_class_embeddings


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["a", "a"], "1 names come twice"),
        (["a"], "there are 1 names for 2 embeddings"),
        ([0, 1], "Expected `str`, got `int`"),
        (2, "Expected `array`, got `int`"),
        ({"a": 0, "b": 1}, "Expected `array`, got `object`"),
    ],
)
def test_class_names_that_are_no_list_of_different_texts_are_refused(tmp_path, names, message):
    path = tmp_path / "classes.safetensors"
    embeddings = np.ones((2, 3), np.float32)
    safetensors.numpy.save_file({"embeddings": embeddings}, path, metadata={"names": json.dumps(names)})
    with pytest.raises(ValueError, match=re.escape(message)):
        read_class_embeddings(path, embed_dim=3)
