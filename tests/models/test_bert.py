"""BERT equals Hugging Face's on random weights: encoder, encoder that looks at a context, decoder with a word head."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import traverse_util

from tests.reference.files import require_module
from vidtldr_jax.models.bert import Bert, LanguageModelHead
from vidtldr_jax.models.bert_config import BertConfig

FIELDS = {"vocab_size": 50, "max_positions": 16, "dim": 24, "depth": 3, "num_heads": 4, "mlp_dim": 40}
TEXT = BertConfig(**FIELDS)
LOOKING = BertConfig(**FIELDS, fusion_from_layer=0, context_dim=24)
LATE = BertConfig(**FIELDS, fusion_from_layer=2, context_dim=20)
DECODER = BertConfig(**FIELDS, fusion_from_layer=0, is_causal=True)
IDS = np.random.default_rng(0).integers(1, 50, (4, 9))
MASK = np.arange(9)[None] < np.array([9, 5, 1, 7])[:, None]
CONTEXT = np.random.default_rng(1).normal(size=(4, 6, 24)).astype(np.float32)
CONTEXT_MASK = np.arange(6)[None] < np.array([6, 2, 4, 1])[:, None]


def make_twin(class_name, **fields):
    torch, transformers = require_module("torch"), require_module("transformers")
    config = transformers.BertConfig(
        vocab_size=50, max_position_embeddings=16, hidden_size=24, num_hidden_layers=3, num_attention_heads=4,
        intermediate_size=40, attn_implementation="eager", tie_word_embeddings=False, **fields,
    )  # fmt: skip
    extra = {"add_pooling_layer": False} if class_name == "BertModel" else {}
    model = getattr(transformers, class_name)(config, **extra).eval()
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for values in model.parameters():  # scales and biases too: at 1 and 0 a swap does not show
            values += 0.25 * torch.randn(values.shape, generator=generator)
    return torch, model


def carry_over(state):
    """Carries Hugging Face's weights over by hand; returns BERT's parameters and those of the word head."""
    state = {key.removeprefix("bert."): value.detach().numpy() for key, value in state.items()}
    flat = {
        f"{name}_embed": state[f"embeddings.{name}_embeddings.weight"] for name in ("word", "position", "token_type")
    }
    modules = {"embeddings.LayerNorm": "embed_norm"}
    for i in range(3):
        for theirs, ours, norm in (("attention", "attn", "attn_norm"), ("crossattention", "cross_attn", "cross_norm")):
            for name in ("query", "key", "value"):
                modules[f"encoder.layer.{i}.{theirs}.self.{name}"] = f"layer_{i}/{ours}/{name}"
            modules[f"encoder.layer.{i}.{theirs}.output.dense"] = f"layer_{i}/{ours}/proj"
            modules[f"encoder.layer.{i}.{theirs}.output.LayerNorm"] = f"layer_{i}/{norm}"
        modules[f"encoder.layer.{i}.intermediate.dense"] = f"layer_{i}/mlp/fc1"
        modules[f"encoder.layer.{i}.output.dense"] = f"layer_{i}/mlp/fc2"
        modules[f"encoder.layer.{i}.output.LayerNorm"] = f"layer_{i}/mlp_norm"
    head = {"transform.dense": "dense", "transform.LayerNorm": "norm", "decoder": "output"}
    modules |= {f"cls.predictions.{theirs}": f"head/{ours}" for theirs, ours in head.items()}
    for theirs, ours in modules.items():
        if f"{theirs}.weight" in state:
            is_norm = theirs.endswith("LayerNorm")
            flat[f"{ours}/{'scale' if is_norm else 'kernel'}"] = state[f"{theirs}.weight"].T
            flat[f"{ours}/bias"] = state[f"{theirs}.bias"]
    params = traverse_util.unflatten_dict(flat, sep="/")
    return params, params.pop("head", None)


def make(config, seed=0):
    context = None if config.fusion_from_layer is None else jnp.zeros((4, 6, config.context_dim or config.dim))
    shapes = jax.eval_shape(Bert(config).init, jax.random.key(0), IDS, MASK, context)["params"]
    rng = np.random.default_rng(seed)

    def draw(path, leaf):  # scales and biases too: at 1 and 0 a swap does not show
        return (0.3 * rng.normal(size=leaf.shape) + (path[-1].key == "scale")).astype(np.float32)

    return jax.tree_util.tree_map_with_path(draw, shapes)


@functools.cache
def compile_call(model, method):
    return jax.jit(lambda p, *a: model.apply({"params": p}, *a, method=method))


def run(model, params, *arguments, method=None):
    return np.asarray(compile_call(model, method)(params, *arguments))


def test_a_text_encoder_equals_hugging_faces():
    torch, twin = make_twin("BertModel")
    params, _ = carry_over(twin.state_dict())
    with torch.no_grad():
        wanted = twin(torch.tensor(IDS), attention_mask=torch.tensor(MASK.astype(int))).last_hidden_state.numpy()
    tokens = run(Bert(TEXT), params, IDS, MASK)
    np.testing.assert_allclose(tokens, wanted, atol=2e-5, rtol=0)  # float32 rounding of three layers
    np.testing.assert_array_equal(tokens, run(Bert(TEXT), params, IDS, MASK, method="encode_text"))


@pytest.mark.parametrize("context_mask", [None, CONTEXT_MASK], ids=["all seen", "padded"])
def test_an_encoder_that_looks_at_a_context_equals_hugging_faces(context_mask):
    # There only a decoder has cross-attention; a mask of all pairs makes it look both ways.
    torch, twin = make_twin("BertModel", is_decoder=True, add_cross_attention=True)
    params, _ = carry_over(twin.state_dict())
    pairs = torch.where(torch.tensor(MASK)[:, None, None, :].expand(4, 1, 9, 9), 0.0, -1e30)
    given = {} if context_mask is None else {"encoder_attention_mask": torch.tensor(context_mask.astype(int))}
    with torch.no_grad():
        wanted = twin(
            torch.tensor(IDS), attention_mask=pairs, encoder_hidden_states=torch.tensor(CONTEXT), use_cache=False,
            **given,
        ).last_hidden_state.numpy()  # fmt: skip
    tokens = run(Bert(LOOKING), params, IDS, MASK, CONTEXT, context_mask)
    np.testing.assert_allclose(tokens, wanted, atol=2e-5, rtol=0)


def test_a_decoder_with_its_word_head_equals_hugging_faces():
    torch, twin = make_twin("BertLMHeadModel", is_decoder=True, add_cross_attention=True)
    params, head = carry_over(twin.state_dict())
    with torch.no_grad():
        wanted = twin(
            torch.tensor(IDS), attention_mask=torch.tensor(MASK.astype(int)),
            encoder_hidden_states=torch.tensor(CONTEXT), use_cache=False,
        ).logits.numpy()  # fmt: skip
    tokens = run(Bert(DECODER), params, IDS, MASK, CONTEXT)
    logits = run(LanguageModelHead(DECODER), head, tokens)
    np.testing.assert_allclose(logits, wanted, atol=1e-4, rtol=0)


def test_only_layers_from_the_fusion_layer_on_look_at_the_context():
    params = make(LATE)
    assert ["cross_attn" in params[f"layer_{i}"] for i in range(3)] == [False, False, True]
    assert params["layer_2"]["cross_attn"]["key"]["kernel"].shape == (20, 24)
    model = Bert(LATE)
    text = run(model, params, IDS, MASK, method="encode_text")
    contexts = jax.random.normal(jax.random.key(3), (2, 4, 6, 20))
    fused = [run(model, params, text, MASK, context, method="fuse") for context in contexts]
    whole = run(model, params, IDS, MASK, contexts[0])
    # Two programs for the same numbers round apart by 1e-6; another context differs by far more.
    np.testing.assert_allclose(whole, fused[0], atol=2e-6)
    assert np.abs(fused[0] - fused[1]).max() > 1e-2


def test_texts_in_a_row_share_a_context():
    params = make(LOOKING)
    shared = run(Bert(LOOKING), params, IDS, MASK, CONTEXT[:2], CONTEXT_MASK[:2])
    own = run(Bert(LOOKING), params, IDS, MASK, CONTEXT[[0, 0, 1, 1]], CONTEXT_MASK[[0, 0, 1, 1]])
    np.testing.assert_allclose(shared, own, atol=1e-5)


@pytest.mark.parametrize("config", [TEXT, DECODER], ids=["encoder", "decoder"])
def test_padding_changes_no_token(config):
    params = make(config)
    context = CONTEXT if config is DECODER else None
    other = np.where(MASK, IDS, 1 + IDS % 49)
    before, after = (np.asarray(run(Bert(config), params, ids, MASK, context)) for ids in (IDS, other))
    np.testing.assert_array_equal(before[MASK], after[MASK])
    assert np.abs(before[~MASK] - after[~MASK]).max() > 1e-2


def test_a_decoder_sees_no_later_token_and_an_encoder_does():
    other = IDS.copy()
    other[:, 4:] = 1 + other[:, 4:] % 49
    seen = np.ones_like(IDS)
    for config, is_causal in ((DECODER, True), (LOOKING, False)):
        params = make(config)
        before, after = (run(Bert(config), params, ids, seen, CONTEXT) for ids in (IDS, other))
        assert (np.abs(before[:, :4] - after[:, :4]).max() < 1e-6) == is_causal


def test_half_precision_stays_near():
    params = make(TEXT)
    exact = run(Bert(TEXT), params, IDS, MASK)
    half = Bert(TEXT, dtype=jnp.bfloat16, param_dtype=jnp.bfloat16)
    tokens = run(half, jax.tree.map(lambda x: x.astype(jnp.bfloat16), params), IDS, MASK)
    assert tokens.dtype == jnp.bfloat16
    assert 0 < np.abs(tokens.astype(jnp.float32) - exact).max() < 0.2


def test_what_does_not_fit_is_refused_by_name(shapes_unchecked):
    params = make(LATE)
    with pytest.raises(ValueError, match="a text has at most 16 tokens; got 17"):
        Bert(LATE).apply({"params": params}, np.ones((1, 17), int), np.ones((1, 17), int), method="encode_text")
    with pytest.raises(ValueError, match=r"layers from 2 on look at a context \[G, M, 20\]"):
        Bert(LATE).apply({"params": params}, IDS, MASK, CONTEXT)
    with pytest.raises(ValueError, match="got none; give such a one"):
        Bert(LATE).apply({"params": params}, IDS, MASK)
    with pytest.raises(ValueError, match="layers from None on"):
        Bert(TEXT).apply({"params": make(TEXT)}, IDS, MASK, CONTEXT)
    unknown = Bert(TEXT).apply({"params": make(TEXT)}, np.full_like(IDS, 50), MASK)
    assert np.isnan(unknown).all(), "a word that is not in the table must show"


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"depth": 0}, "depth = 0 is not a positive int"),
        ({"num_heads": 5}, "dim = 24 is not a multiple of num_heads = 5"),
        ({"fusion_from_layer": 3}, "fusion_from_layer = 3 is no layer of 0 to 2"),
        ({"gelu": "relu"}, "gelu = 'relu' is none of exact, tanh"),
        ({"norm_eps": 0.0}, "norm_eps = 0.0 is not a positive number"),
        ({"is_causal": 1}, "is_causal = 1 is neither True nor False"),
        ({"context_dim": -1}, "context_dim = -1 is not a positive int"),
    ],
)
def test_a_description_checks_itself(change, text):
    with pytest.raises(ValueError, match=text):
        BertConfig(**{**FIELDS, **change})


def test_a_description_survives_json():
    assert BertConfig.from_dict(LATE.to_dict()) == LATE
    with pytest.raises(ValueError, match=r"unknown field 'dims' \(did you mean 'dim'\?\)"):
        BertConfig.from_dict({**LATE.to_dict(), "dims": 3})
