"""A few videos of each class: how many, which, and that a class with fewer is named."""

from pathlib import Path

import pytest

from vidtldr_jax.data.manifest import ManifestEntry
from vidtldr_jax.train.few_labels import select_few

ENTRIES = [ManifestEntry(f"{n}.mp4", Path(f"{n}.mp4"), (n % 3,)) for n in range(30)]


def test_k_of_each_class_come_in_the_order_of_the_list():
    chosen = select_few(ENTRIES, k=4, seed=0, classes=range(3))
    assert sorted(entry.labels[0] for entry in chosen) == [0] * 4 + [1] * 4 + [2] * 4
    assert chosen == [entry for entry in ENTRIES if entry in chosen]


def test_the_seed_decides_and_a_larger_k_holds_the_smaller():
    chosen = {(k, seed): select_few(ENTRIES, k=k, seed=seed, classes=range(3)) for k in (2, 5) for seed in (0, 1)}
    assert chosen[2, 0] == select_few(ENTRIES, k=2, seed=0, classes=range(3))
    assert chosen[2, 0] != chosen[2, 1]
    assert set(chosen[2, 0]) < set(chosen[5, 0])
    assert select_few(ENTRIES, k=10, seed=3, classes=range(3)) == ENTRIES


def test_classes_with_fewer_are_all_named():
    with pytest.raises(ValueError) as caught:
        select_few(ENTRIES[:4], k=2, seed=0, classes=range(4), class_names=("ski", "swim", "run", "fly"))
    assert "2 videos of each class are wanted; these classes have fewer: swim (1), run (1), fly (0);" in str(
        caught.value
    )
    with pytest.raises(ValueError, match="k is at least 1; got 0"):
        select_few(ENTRIES, k=0, seed=0, classes=range(3))
