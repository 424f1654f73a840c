"""Maps: what the trace says, laid out on the grid of patches."""

import itertools

import numpy as np
import pytest

from vidtldr_jax.models.encoder import ReductionStep, Trace
from vidtldr_jax.visualize.colours import GROUP_COLOURS, colour_groups, colour_layers, map_heat
from vidtldr_jax.visualize.maps import count_members, drop_class_tokens, make_layer_maps, spread_groups, spread_saliency

GRID = (1, 2, 3)
# Layer 0 sees 6 tokens: patch 2 goes into patch 1's token, patch 4 is dropped. Layer 1 sees 4: patch 0 joins as well.
FIRST = ReductionStep(
    np.array([[0.0, 1.0, 0.5, 0.25, 0.0, 0.75]], np.float32),
    np.arange(6, dtype=np.int32)[None],
    np.ones((1, 6), np.float32),
)
SECOND = ReductionStep(
    np.array([[0.1, 0.2, 0.3, 0.4]], np.float32),
    np.array([[0, 1, 1, 2, -1, 3]], np.int32),
    np.array([[1, 1, 0.5, 1, 0, 1]], np.float32),
)
LAST = np.array([[0.5, 1, 0.5, 1, 0, 1]], np.float32)
TRACE = Trace(np.array([[0, 0, 0, 1, -1, 2]], np.int32), LAST, (FIRST, SECOND))


def test_each_layer_shows_what_it_saw_and_what_it_left():
    first, second = make_layer_maps(TRACE, grid=GRID)
    assert (first.layer, second.layer) == (0, 1)
    np.testing.assert_array_equal(first.saliency, np.float32([[[0, 1, 0.5], [0.25, 0, 0.75]]]))
    np.testing.assert_array_equal(first.group, [[[0, 1, 1], [2, -1, 3]]])
    np.testing.assert_array_equal(second.saliency, np.float32([[[0.1, 0.2, 0.2], [0.3, np.nan, 0.4]]]))
    np.testing.assert_array_equal(second.group, [[[0, 0, 0], [1, -1, 2]]])
    np.testing.assert_array_equal(first.weight, np.float32([[[1, 1, 0.5], [1, 0, 1]]]))
    np.testing.assert_array_equal(second.weight, np.float32([[[0.5, 1, 0.5], [1, 0, 1]]]))


def test_class_tokens_of_every_sequence_are_left_out_and_indices_stay():
    source = np.array([[0, 1, 2, 3, 4, 5]], np.int32)  # class token, two patches; twice
    last = np.array([[0, -1, 1, 2, 3, 3]], np.int32)
    saliency = np.array([[1.0, 0.1, 0.2, 1.0, 0.3, 0.4]], np.float32)
    weight = np.array([[1, 0, 1, 1, 0.5, 1]], np.float32)
    steps = (ReductionStep(saliency, source, np.ones((1, 6), np.float32)),)
    patches = drop_class_tokens(Trace(last, weight, steps), num_cls_tokens=1, num_sequences=2)
    np.testing.assert_array_equal(patches.source, [[-1, 1, 3, 3]])
    np.testing.assert_array_equal(patches.weight, np.float32([[0, 1, 0.5, 1]]))
    (layer,) = make_layer_maps(patches, grid=(2, 1, 2))
    np.testing.assert_array_equal(layer.saliency, np.float32([[[0.1, 0.2]], [[0.3, 0.4]]]))
    np.testing.assert_array_equal(layer.group, [[[-1, 1]], [[3, 3]]])


def test_a_trace_without_weights_is_refused():
    bare = TRACE._replace(steps=(FIRST._replace(weight=None), SECOND))
    with pytest.raises(ValueError, match=r'needed; got a trace without them; encode with trace="every_layer"'):
        make_layer_maps(bare, grid=GRID)


@pytest.mark.parametrize("spread", [spread_groups, lambda source, grid: spread_saliency(np.ones(6), source, grid=grid)])
def test_a_grid_of_another_clip_is_refused(spread):
    with pytest.raises(ValueError, match=r"a grid of \(1, 2, 4\) has 8 patches; got a source of shape \(6,\)"):
        spread(np.arange(6), grid=(1, 2, 4))


def test_members_are_counted_over_all_frames():
    group = np.array([[[0, 1], [-1, 2]], [[0, 0], [2, -1]]])
    np.testing.assert_array_equal(count_members(group), [[[3, 1], [0, 2]], [[3, 3], [2, 0]]])


def test_a_group_has_one_colour_in_all_frames_and_neighbours_have_others():
    rng = np.random.default_rng(3)
    group = rng.integers(-1, 40, (4, 6, 6))
    colours = colour_groups(group)
    is_merged = count_members(group) > 1
    assert ((colours >= 0) == is_merged).all()
    for index in np.unique(group[is_merged]):
        assert len(np.unique(colours[group == index])) == 1
    for axis in range(3):
        left, right = np.split(np.stack([group, colours]), [1], axis=axis + 1)[1], None
        right = np.delete(np.stack([group, colours]), -1, axis=axis + 1)
        differ = (left[0] != right[0]) & (left[1] >= 0) & (right[1] >= 0)
        assert differ.any()
        assert (left[1] != right[1])[differ].all()


def test_few_groups_share_no_colour():
    group = np.repeat(np.arange(len(GROUP_COLOURS)), 2).reshape(1, 2, -1)
    assert len(np.unique(colour_groups(group))) == len(GROUP_COLOURS)


def test_patches_that_end_together_have_one_colour_in_every_layer_and_others_another():
    rng = np.random.default_rng(5)
    groups = [np.arange(4 * 6 * 6).reshape(4, 6, 6)]
    for num_tokens in (60, 25, 12):  # tokens are joined at random, token 0 disappears
        goes_to = rng.integers(-1, num_tokens, groups[-1].max() + 1)
        goes_to[0] = -1
        groups.append(np.where(groups[-1] < 0, -1, goes_to[groups[-1]]))
    colours = colour_layers(groups[1:])
    final = groups[-1]
    for layer, (group, colour) in enumerate(zip(groups[1:], colours)):
        assert ((colour >= 0) == (count_members(group) > 1)).all()
        for token in np.unique(final[final >= 0]):
            assert len(np.unique(colour[(final == token) & (colour >= 0)])) <= 1, layer
    for before, after in itertools.pairwise(colours):
        is_in_both = (before >= 0) & (after >= 0)
        assert is_in_both.any()
        np.testing.assert_array_equal(before[is_in_both], after[is_in_both])
    end = np.where(final >= 0, final, -1)
    touching = (end[:, :, 1:] != end[:, :, :-1]) & (end[:, :, 1:] >= 0) & (end[:, :, :-1] >= 0)
    assert (colours[-1][:, :, 1:] != colours[-1][:, :, :-1])[touching].all()


def test_groups_that_are_dropped_in_different_layers_differ_where_they_touch():
    first = np.array([[[0, 0, 1, 1, 2, 2]]])
    second = np.array([[[-1, -1, 0, 0, 1, 1]]])
    third = np.array([[[-1, -1, -1, -1, 0, 0]]])
    colours = colour_layers([first, second, third])[0].ravel().tolist()
    assert colours[0::2] == colours[1::2]
    assert len(set(colours)) == 3


def test_all_patches_dropped_or_alone_have_no_colour():
    assert (colour_groups(np.full((1, 2, 2), -1)) == -1).all()
    assert (colour_groups(np.arange(4).reshape(1, 2, 2)) == -1).all()


def test_heat_grows_lighter_with_the_value():
    heat = map_heat(np.linspace(0, 1, 20)).astype(int)
    lightness = heat @ [0.2126, 0.7152, 0.0722]
    assert (np.diff(lightness) > 0).all()
    np.testing.assert_array_equal(map_heat(np.array([np.nan, -1.0, 2.0])), heat[[0, 0, -1]])
