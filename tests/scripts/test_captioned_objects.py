"""Cut-outs with captions: what clips show, which pairs are held out, the loss and the ranking, the text tower."""

from __future__ import annotations

import dataclasses
import re

import jax
import numpy as np
import pytest
import safetensors.numpy
from PIL import Image

NUM_FRAMES = 15  # odd: the middle frame is the middle of the clip
PAIRS = ((0, 1), (2, 3), (4, 5), (6, 7))


def draw(motion, num_scenes=300, seed=0):
    import motions

    cutout = np.arange(num_scenes) % 5
    motion = np.full(num_scenes, motion)
    return motions.draw_scenes(np.random.default_rng(seed), cutout, motion, num_photos=3, num_frames=NUM_FRAMES)


@pytest.fixture(scope="module")
def photos():
    rng = np.random.default_rng(5)
    return [Image.fromarray(rng.integers(0, 256, (90, 120, 3), dtype=np.uint8)) for _ in range(3)]


def make_square(value=1.0):
    picture = np.zeros((32, 32, 4), np.float32)
    picture[1:31, 1:31] = (value, 0.0, 0.0, 1.0)
    return picture


def test_with_the_same_chances_all_motions_show_the_same_middle_frame_and_other_ends(photos):
    import motions

    pictures = np.random.default_rng(0).random((5, 32, 32, 4), np.float32)
    clips = [
        motions.render_scenes(draw(motion, 4), pictures, photos, image_size=24, brightness=0.9) for motion in range(8)
    ]
    for clip in clips[1:]:
        np.testing.assert_array_equal(clip[:, NUM_FRAMES // 2], clips[0][:, NUM_FRAMES // 2])
        assert (clip[:, 0] != clips[0][:, 0]).any()


@pytest.mark.parametrize(("motion", "opposite"), PAIRS)
def test_motions_of_a_pair_are_each_others_reversal_in_time(motion, opposite):
    one, other = draw(motion), draw(opposite)  # the same chances
    moved = []
    for name in ("place", "side", "angle"):
        moved.append(np.ptp(getattr(one, name), axis=1).max() > 0.1)
        if name == "side":
            np.testing.assert_allclose(one.side, other.side[:, ::-1])
        else:
            np.testing.assert_allclose(getattr(one, name), getattr(other, name)[:, ::-1])
    assert sum(moved) == 1  # nothing else changes


def test_each_motion_does_what_its_sentence_says():
    import motions

    def change(sentence, name):
        values = getattr(draw(motions.SENTENCES.index(sentence), 20), name)
        return values[:, -1] - values[:, 0]

    assert (change("It moves left.", "place")[..., 1] < -0.2).all()
    assert (change("It moves right.", "place")[..., 1] > 0.2).all()
    assert (change("It moves up.", "place")[..., 0] < -0.2).all()
    assert (change("It moves down.", "place")[..., 0] > 0.2).all()
    assert (change("It grows.", "side") > 0.1).all()
    assert (change("It shrinks.", "side") < -0.1).all()
    assert (change("It turns clockwise.", "angle") > 0.9).all()
    assert (change("It turns anticlockwise.", "angle") < -0.9).all()


def test_a_cutout_covers_what_is_behind_it_and_is_cut_off_at_the_frames_edge():
    import motions

    frames = np.full((1, 20, 20, 3), 100, np.float32)
    still = {"side": np.full(1, 16, np.float32), "angle": np.zeros(1, np.float32)}
    motions.paste_cutout(frames, make_square(), centre=np.full((1, 2), 10, np.float32), **still)
    np.testing.assert_allclose(frames[0, 4:16, 4:16], [[[255, 0, 0]] * 12] * 12, atol=1e-3)
    assert (frames[0, :2] == 100).all()
    corner = np.full((1, 20, 20, 3), 100, np.float32)
    motions.paste_cutout(corner, make_square(), centre=np.zeros((1, 2), np.float32), **still)
    np.testing.assert_allclose(corner[0, :6, :6, 0], 255, atol=1e-3)
    assert (corner[0, 9:] == 100).all()
    assert (corner[0, :, 9:] == 100).all()


def test_a_positive_angle_turns_a_cutout_clockwise():
    import motions

    picture = np.zeros((32, 32, 4), np.float32)
    picture[4:12, 14:18] = 1.0  # at twelve o'clock
    frames = np.zeros((2, 32, 32, 3), np.float32)
    angle = np.array([0, np.pi / 2], np.float32)
    size, centre = np.full(2, 32, np.float32), np.full((2, 2), 16, np.float32)
    motions.paste_cutout(frames, picture, centre=centre, side=size, angle=angle)
    np.testing.assert_allclose(frames[0, :, :, 0], picture[..., 0] * 255, atol=1e-2)
    np.testing.assert_allclose(frames[1], np.rot90(frames[0], -1), atol=1e-1)


def test_training_never_shows_a_pair_that_is_held_out_and_every_cutout_has_one():
    import captioned_clips

    held_out = np.array([captioned_clips.is_held_out(np.full(8, cutout), np.arange(8)) for cutout in range(48)])
    assert (held_out.sum(1) == 1).all()
    assert (held_out.sum(0) == 6).all()  # every motion is held out equally often
    rng = np.random.default_rng(0)
    seen = set()
    for _ in range(200):
        cutout, motion = captioned_clips.draw_training_pairs(rng, 30, num_cutouts=48)
        assert not captioned_clips.is_held_out(cutout, motion).any()
        assert len(cutout) == len(motion) == 30
        seen |= set(zip(cutout.tolist(), motion.tolist(), strict=True))
    assert len(seen) == 48 * 7


def test_a_gallery_shows_every_caption_once_in_the_captions_order(photos):
    import captioned_clips

    pictures = np.stack([make_square(value) for value in (0.2, 1.0)])
    gallery = captioned_clips.draw_gallery(pictures, photos, "test")
    again = captioned_clips.draw_gallery(pictures, photos, "test")
    other = captioned_clips.draw_gallery(pictures, photos, "test", seed=1)
    assert gallery.shape == (16, 16, 48, 48, 3)
    np.testing.assert_array_equal(gallery, again)
    assert (gallery != other).mean() > 0.5
    assert captioned_clips.find_caption(1, 3) == 11
    red = (gallery[..., 0] == 255) & (gallery[..., 1] == 0)
    assert not red[:8].any()  # the first cut-out is dark
    assert red[8:, 8].any((-1, -2)).all()


def test_captions_are_the_cutouts_line_and_the_motions_sentence():
    import captions

    texts = captions.write_captions(["A frog.", "A mug."])
    assert len(texts) == 16
    assert texts[:2] == ["A frog. It moves left.", "A frog. It moves right."]
    assert texts[8 + 5] == "A mug. It shrinks."


def test_recall_counts_ranks_in_both_directions_and_ties_as_missed():
    import retrieval

    captions = np.eye(8)
    videos = np.eye(8)
    videos[0] = 0.9 * captions[1] + 0.1 * captions[0]  # clip 0 looks like caption 1
    found = retrieval.find_recall(videos, captions)
    assert found.video_to_text[:, 0].tolist() == [False] + [True] * 7
    assert found.text_to_video[:, 0].tolist() == [True] * 8
    assert found.video_to_text[:, 1].all()
    equal = retrieval.find_recall(np.ones((8, 3)), np.ones((8, 3)))
    assert not equal.text_to_video.any()
    assert not equal.video_to_text.any()


def test_the_contrastive_loss_agrees_with_loops():
    import retrieval

    rng = np.random.default_rng(0)
    unit = [
        part / np.linalg.norm(part, axis=-1, keepdims=True)
        for part in (rng.normal(size=(4, 5)), rng.normal(size=(6, 5)))
    ]
    videos, captions = unit
    row, is_trained = np.array([0, 3, 3, 5]), np.array([1, 1, 0, 1, 1, 1], bool)
    scores = 3.0 * videos @ captions.T
    to_text = to_video = 0.0
    for clip in range(4):
        among = [scores[clip, n] for n in range(6) if is_trained[n]]
        to_text -= scores[clip, row[clip]] - np.log(np.exp(among).sum())
        column = scores[:, row[clip]]
        right = [n for n in range(4) if row[n] == row[clip]]
        to_video -= np.mean([column[n] - np.log(np.exp(column).sum()) for n in right])
    loss = retrieval.contrast(videos, captions, row, log_scale=np.log(3.0), is_trained=is_trained)
    np.testing.assert_allclose(loss, (to_text + to_video) / 8, rtol=1e-5)
    other = captions.copy()
    other[2] = -other[2]  # a caption that is not trained
    same = retrieval.contrast(videos, other, row, log_scale=np.log(3.0), is_trained=is_trained)
    np.testing.assert_allclose(same, loss, rtol=1e-6)


def test_the_texts_projection_starts_with_equally_long_axes():
    import retrieval

    rng = np.random.default_rng(0)
    captions = (rng.normal(size=(50, 8)) * np.array([10, 5, 3, 2, 1, 0.1, 0.1, 0.1]) + 4).astype(np.float32)
    start = retrieval.start_projection(captions, 4)
    projected = captions @ start["kernel"] + start["bias"]
    np.testing.assert_allclose(projected.T @ projected / 50, np.eye(4) / 4, atol=1e-3)
    unit = retrieval.project_captions(start, captions)
    np.testing.assert_allclose(np.linalg.norm(unit, axis=-1), 1, rtol=1e-5)


def test_a_cutout_keeps_its_proportions_and_what_is_empty_around_it_is_cut_off(tmp_path):
    import cutouts

    values = np.zeros((60, 100, 4), np.uint8)
    values[10:30, 20:60] = (200, 100, 0, 255)  # twice as wide as high
    small = cutouts.shrink_cutout(Image.fromarray(values))
    covered = small[..., 3] > 0.5
    assert covered.any(0).sum() == 30
    assert covered.any(1).sum() == 15
    np.testing.assert_allclose(small[covered].mean(0), [200 / 255, 100 / 255, 0, 1], atol=1e-3)
    with pytest.raises(FileNotFoundError, match=re.escape(f"{len(cutouts.NAMES)} pictures of Debian's")):
        cutouts.load_cutouts(tmp_path)


def test_the_text_tower_agrees_with_its_original(tmp_path):
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    tokenizers = pytest.importorskip("tokenizers")
    import captions

    sizes = {"vocab_size": 9, "max_position_embeddings": 8, "hidden_size": 12}
    other = {"num_hidden_layers": 2, "num_attention_heads": 3, "intermediate_size": 10}
    torch.manual_seed(0)
    twin = transformers.BertModel(transformers.BertConfig(**sizes, **other)).eval()
    with torch.no_grad():
        for parameter in twin.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))  # biases and scales too
    state = {name: value.numpy() for name, value in twin.state_dict().items()}
    safetensors.numpy.save_file(state, tmp_path / "model.safetensors")
    words = tokenizers.Tokenizer(
        tokenizers.models.WordLevel({w: n for n, w in enumerate(["[PAD]", "[UNK]", "a", "b", "c", "d", "e", "f"])})
    )
    words.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    words.save(str(tmp_path / "tokenizer.json"))
    config = dataclasses.replace(
        captions.CONFIG, vocab_size=9, max_positions=8, dim=12, depth=2, num_heads=3, mlp_dim=10
    )
    params = captions.load_text_tower(tmp_path / "model.safetensors")
    found = captions.embed_texts(params, tmp_path / "tokenizer.json", ["a b c", "d e f a b"], config=config)
    ids = torch.tensor([[2, 3, 4, 0, 0], [5, 6, 7, 2, 3]])
    mask = torch.tensor([[1, 1, 1, 0, 0], [1] * 5])
    with torch.no_grad():
        hidden = twin(input_ids=ids, attention_mask=mask).last_hidden_state
    mean = (hidden * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)
    np.testing.assert_allclose(found, torch.nn.functional.normalize(mean).numpy(), rtol=1e-4, atol=1e-5)


def test_the_captioned_task_learns_towards_its_captions(photos, monkeypatch):
    pytest.importorskip("optax")
    import train_captioned
    import training

    rng = np.random.default_rng(0)
    texts = train_captioned.Captions([str(n) for n in range(16)], rng.normal(size=(16, 24)).astype(np.float32))
    small = dataclasses.replace(train_captioned.CONFIG, dim=24, depth=1, num_heads=2, mlp_dim=24, embed_dim=6)
    monkeypatch.setattr(train_captioned, "CONFIG", small)
    pictures = type("CutOuts", (), {"pictures": np.stack([make_square(0.3), make_square()])})
    monkeypatch.setattr(train_captioned, "load_cutouts", lambda stamps: pictures)
    monkeypatch.setattr(train_captioned, "load_small_pictures", lambda split: type("Pictures", (), {"photos": photos}))
    recipe = training.Recipe(batch_size=8, warmup_steps=1, sparse_tokens=12)
    task = train_captioned.make_task(texts, None, recipe)
    params = task.make_params(0)
    state = training.TrainState(params, jax.tree.map(np.array, params), training.make_optimizer(recipe).init(params))
    clips, row = task.draw_batch(0, 1.0)
    losses = []
    for _ in range(4):
        key = jax.random.key(0)
        state, loss = training.train_step(state, clips, row, key, task=task, recipe=recipe, num_tokens=12, size=48)
        losses.append(float(loss))
    assert losses[-1] < losses[1]
    assert set(state.params) == {"video", "text", "log_scale"}
