"""Weights out of an ONNX file keep their names and values; converted encoders of one frame equal transformers' own."""

import numpy as np
import pytest

from benchmarks.onnx_weights import read_onnx_weights
from benchmarks.pretrained import convert_clip, convert_dinov2, get_features, name_as_dinov2
from tests.reference.files import require_module
from vidtldr_jax.data.preprocessing import Preprocessing
from vidtldr_jax.inference.model import VideoModel

HEAD_DIM = 8


@pytest.fixture
def onnx():
    return pytest.importorskip("onnx", reason="the reader of ONNX files is not checked: onnx is not installed")


def _write_onnx(onnx, nodes, arrays):
    tensors = [onnx.numpy_helper.from_array(values, name) for name, values in arrays.items()]
    made = [onnx.helper.make_node(op, inputs, [path], name=path) for path, op, inputs in nodes]
    return onnx.helper.make_model(onnx.helper.make_graph(made, "twin", [], [], tensors)).SerializeToString()


def test_a_matrix_without_a_name_belongs_to_the_module_that_multiplies_with_it(onnx):
    rng = np.random.default_rng(0)
    first, second, bias, table = (rng.standard_normal(n).astype(np.float32) for n in ((3, 5), (5, 3), 5, (1, 4, 3)))
    nodes = [
        ("/backbone/layer.0/mlp/fc2/MatMul", "MatMul", ["x", "onnx::MatMul_9"]),
        ("/backbone/layer.0/mlp/fc1/MatMul", "MatMul", ["x", "onnx::MatMul_8"]),
        ("/backbone/layer.0/mlp/fc1/Add", "Add", ["x", "backbone.layer.0.mlp.fc1.bias"]),
        ("/backbone/embeddings/Reshape_1", "Reshape", ["onnx::Reshape_7", "x"]),
    ]
    arrays = {"onnx::MatMul_8": first, "onnx::MatMul_9": second, "backbone.layer.0.mlp.fc1.bias": bias}
    weights = read_onnx_weights(_write_onnx(onnx, nodes, {**arrays, "onnx::Reshape_7": table}))
    expected = {
        "backbone.layer.0.mlp.fc1.weight": first.T,
        "backbone.layer.0.mlp.fc2.weight": second.T,
        "backbone.layer.0.mlp.fc1.bias": bias,
        "backbone.embeddings.Reshape_1": table,
    }
    assert weights.keys() == expected.keys()
    for name, values in expected.items():
        np.testing.assert_array_equal(weights[name], values)


def test_integers_with_a_scale_per_output_become_floats_within_half_a_step(onnx):
    rng = np.random.default_rng(1)
    matrix = rng.standard_normal((6, 4)).astype(np.float32) * np.array([1, 10, 0.1, 3], np.float32)
    scale = (np.abs(matrix).max(0) / 100).astype(np.float32)  # [out]
    zero_point = np.array([3, -4, 0, 9], np.int8)
    quantized = np.round(matrix / scale + zero_point).astype(np.int8)
    stem = "onnx::MatMul_1"
    nodes = [
        ("/head/MatMul_quant_scales_mul", "Mul", ["x_scale", f"{stem}_scale"]),
        ("/head/MatMul_quant", "MatMulInteger", ["x", f"{stem}_quantized", "x_zero", f"{stem}_zero_point"]),
    ]
    arrays = {f"{stem}_quantized": quantized, f"{stem}_scale": scale, f"{stem}_zero_point": zero_point}
    weights = read_onnx_weights(_write_onnx(onnx, nodes, arrays))
    assert weights.keys() == {"head.weight"}
    assert weights["head.weight"].dtype == np.float32
    assert (np.abs(weights["head.weight"].T - matrix) <= 0.5001 * scale).all()


def test_a_matrix_that_nothing_uses_is_an_error(onnx):
    with pytest.raises(ValueError, match="none uses onnx::MatMul_3; check"):
        read_onnx_weights(_write_onnx(onnx, [], {"onnx::MatMul_3": np.ones((2, 2), np.float32)}))


def test_an_exported_backbone_gets_transformers_names_and_one_table_of_positions():
    patches, cls = np.ones((1, 9, 4), np.float32), np.zeros((1, 1, 4), np.float32)
    attention = "encoder.layer.0.attention"
    weights = {
        "backbone.embeddings.Reshape_1": patches,
        "backbone.embeddings.Concat_6": cls,
        f"backbone.{attention}.attention.key.bias": np.arange(4.0),
        f"backbone.{attention}.output.dense.bias": np.arange(4.0),
        "decoder.final_conv.bias": np.ones(1),
    }
    state = name_as_dinov2(weights)
    assert state.keys() == {
        "embeddings.position_embeddings", f"{attention}.k_proj.bias", f"{attention}.o_proj.bias",
    }  # fmt: skip
    np.testing.assert_array_equal(state["embeddings.position_embeddings"], np.concatenate([cls, patches], axis=1))


def _take_state(twin):
    return {key: values.numpy() for key, values in twin.state_dict().items()}


def _encode(converted, images):
    params, config = converted
    preprocessing = Preprocessing(num_frames=1, image_size=images.shape[1])
    model = VideoModel(params, config, preprocessing=preprocessing)
    return get_features(model.encode_video(images[:, None]))


@pytest.mark.parametrize("image_size", [32, 48])
def test_a_dinov2_of_one_frame_is_transformers_own(image_size):
    transformers = require_module("transformers")
    from benchmarks.pretrained_originals import run_dinov2
    from tests.reference.huggingface import randomise

    shape = {"hidden_size": 24, "num_hidden_layers": 2, "mlp_ratio": 2, "image_size": 32, "patch_size": 8}
    state = _take_state(randomise(transformers.Dinov2Model(transformers.Dinov2Config(**shape, num_attention_heads=3))))
    images = np.random.default_rng(2).standard_normal((2, image_size, image_size, 3), np.float32)
    theirs = run_dinov2(state, images, head_dim=HEAD_DIM)
    ours = _encode(convert_dinov2(state, num_frames=1, image_size=image_size, head_dim=HEAD_DIM), images)
    np.testing.assert_allclose(ours, theirs, atol=1e-4 * np.abs(theirs).max())  # float32, summed in another order


def test_a_clip_of_one_frame_is_transformers_own():
    require_module("transformers")
    from benchmarks.pretrained_originals import run_clip
    from tests.reference.huggingface import make_clip

    state = _take_state(make_clip(num_attention_heads=3, hidden_act="quick_gelu"))
    images = np.random.default_rng(3).standard_normal((2, 32, 32, 3), np.float32)
    theirs = run_clip(state, images, head_dim=HEAD_DIM)
    ours = _encode(convert_clip(state, num_frames=1, head_dim=HEAD_DIM), images)
    np.testing.assert_allclose(ours, theirs, atol=1e-4 * np.abs(theirs).max())  # float32, summed in another order


def test_a_key_without_a_rule_is_named():
    with pytest.raises(ValueError, match=r"none has encoder\.layer\.0\.gate; leave"):
        convert_dinov2({"encoder.layer.0.gate": np.ones(1)}, num_frames=1, image_size=32)
