"""The data set of manifests, where Scenic is on the path: its batches, orders, masks and shares."""

import functools
import itertools
import warnings

import jax
import ml_collections
import numpy as np
import pytest

from tests.data.making import write_video
from vidtldr_jax.data.clip import read_clips
from vidtldr_jax.data.errors import VideoReadError
from vidtldr_jax.scenic_adapter.availability import find_scenic_fault
from vidtldr_jax.scenic_adapter.settings import read_preprocessing

FAULT = find_scenic_fault()
pytestmark = pytest.mark.skipif(FAULT is not None, reason=f"no data set is registered with Scenic: {FAULT}")
FIELDS = {"num_frames": 4, "stride": 2, "min_resize": 20, "crop_size": 16, "num_classes": 9}
NUM_VIDEOS = 5


@functools.cache
def get_builder():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from vidtldr_jax.scenic_adapter import datasets
    return datasets.get_dataset


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("videos")
    for number in range(NUM_VIDEOS):
        write_video(folder / f"{number}.mp4", num_frames=20, height=24, width=40)
    rows = [f"{n}.mp4,{n},{n},{n % 4}" for n in range(NUM_VIDEOS)]
    (folder / "list.csv").write_text("\n".join(["path,label,noun,verb", *rows]))
    return folder


def build(folder, *, batch_size=2, num_shards=1, splits=("train", "validation", "test"), **changes):
    manifests = {split: str(folder / "list.csv") for split in splits}
    configs = ml_collections.ConfigDict(FIELDS | {"manifests": manifests} | changes)
    sizes = {"batch_size": batch_size, "eval_batch_size": batch_size, "num_shards": num_shards}
    return get_builder()(**sizes, dataset_configs=configs)


def take(iterator, count):
    batches = list(itertools.islice(iterator, count))
    iterator.close()
    return batches


def list_labels(batches):
    return [int(label) for batch in batches for label in batch["label"].reshape(-1, 9).argmax(-1)]


def test_what_scenic_wants_to_know_is_told(folder):
    meta = build(folder, num_test_clips=2, do_three_spatial_crops=True).meta_data
    assert meta["input_shape"] == (-1, 4, 16, 16, 3)
    counts = [meta[f"num_{name}_examples"] for name in ("train", "eval", "test")]
    assert counts == [5, 5, 5 * 6]
    assert (meta["num_classes"], meta["target_is_onehot"]) == (9, True)
    assert build(folder, splits=("test",)).train_iter is None


def test_a_test_batch_holds_all_views_of_its_videos_one_after_the_other(folder):
    dataset = build(folder, num_test_clips=2, do_three_spatial_crops=True, test_batch_size=2, num_shards=2)
    batch = take(dataset.test_iter, 1)[0]
    assert batch["inputs"].shape == (2, 6, 4, 16, 16, 3)
    config = {"dataset_configs": FIELDS | {"num_test_clips": 2, "do_three_spatial_crops": True}}
    for device in range(2):
        expected = read_clips(folder / f"{device}.mp4", read_preprocessing(config))
        np.testing.assert_array_equal(batch["inputs"][device], expected)
        assert batch["label"][device].argmax(-1).tolist() == [device] * 6
    assert -1 <= batch["inputs"].min() < -0.5 < 0.5 < batch["inputs"].max() <= 1


def test_a_round_of_evaluation_ends_with_a_masked_video_and_begins_again(folder):
    batches = take(build(folder).valid_iter, 6)
    masks = np.stack([batch["batch_mask"].ravel() for batch in batches])
    assert masks.tolist() == [[1, 1], [1, 1], [1, 0]] * 2
    assert list_labels(batches[:3])[:5] == list_labels(batches[3:])[:5] == [0, 1, 2, 3, 4]
    np.testing.assert_array_equal(batches[2]["inputs"][0, 1], 0)
    np.testing.assert_array_equal(batches[2]["label"][0, 1], 0)


def test_training_has_another_order_each_time_through_and_the_same_for_one_seed(folder):
    first, again = (list_labels(take(build(folder, batch_size=5, augment=False).train_iter, 4)) for _ in range(2))
    assert first == again
    rounds = [first[n : n + 5] for n in range(0, 20, 5)]
    assert all(sorted(labels) == [0, 1, 2, 3, 4] for labels in rounds)
    assert len({tuple(labels) for labels in rounds}) > 1


def test_augmented_clips_differ_from_time_to_time_and_others_don_t(folder):
    for augment in (True, False):
        batches = take(build(folder, batch_size=5, augment=augment).train_iter, 2)
        seen = [dict(zip(batch["label"][0].argmax(-1), batch["inputs"][0])) for batch in batches]
        same = [np.array_equal(seen[0][label], seen[1][label]) for label in range(5)]
        assert not any(same) if augment else all(same)


def test_several_labels_are_one_hot_side_by_side(folder):
    dataset = build(folder, class_splits=(6, 4), split_names=("noun", "verb"))
    label = take(dataset.valid_iter, 3)[2]["label"][0, 0]
    assert np.flatnonzero(label).tolist() == [4, 6 + 0]
    assert dataset.meta_data["class_splits"] == (6, 4)


def test_columns_without_names_are_numbered_as_in_evaluations(folder, tmp_path):
    (tmp_path / "list.csv").write_text(f"path,label_1,label_2\n{folder}/0.mp4,5,2\n")
    label = take(build(tmp_path, class_splits=(6, 4), splits=("validation",)).valid_iter, 1)[0]["label"][0, 0]
    assert np.flatnonzero(label).tolist() == [5, 6 + 2]


def test_there_are_as_many_names_as_classes(folder, tmp_path):
    (tmp_path / "names").write_text("a\nb\n\nc\n")
    with pytest.raises(ValueError, match="each class of 'label' has one name; got 3 names of 6 classes"):
        build(folder, num_classes=6, labels_file=str(tmp_path / "names"))


def test_hosts_share_the_videos(folder, monkeypatch):
    seen = []
    for host in range(2):
        monkeypatch.setattr(jax, "process_count", lambda: 2)
        monkeypatch.setattr(jax, "process_index", lambda host=host: host)
        dataset = build(folder)
        batches = take(dataset.valid_iter, 2)
        mask = np.concatenate([batch["batch_mask"].ravel() for batch in batches])
        seen += [label for label, there in zip(list_labels(batches), mask) if there]
        assert len(batches) == 2
    assert sorted(seen) == [0, 1, 2, 3, 4]


def test_a_broken_video_counts_for_nothing_in_training_and_stops_an_evaluation(folder, tmp_path):
    (tmp_path / "list.csv").write_text(f"path,label\n{folder}/0.mp4,0\nbroken.mp4,1\n")
    (tmp_path / "broken.mp4").write_text("no video")
    dataset = build(tmp_path)
    batch = take(dataset.train_iter, 1)[0]
    mask = dict(zip(batch["label"][0].argmax(-1), batch["batch_mask"][0]))
    assert mask == {0: 1, 1: 0}
    with pytest.raises(VideoReadError):
        next(dataset.valid_iter)


def test_what_is_missing_is_named(folder):
    with pytest.raises(ValueError, match=r"needs dataset_configs.manifests and num_classes"):
        build(folder, manifests={})
    with pytest.raises(ValueError, match="a training batch has 8 videos; the manifest lists 5"):
        next(build(folder, batch_size=8, splits=("train",)).train_iter)
