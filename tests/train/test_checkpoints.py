"""States on disk: the same bits, whole or not at all, only those that are kept."""

import jax
import numpy as np
import pytest

from vidtldr_jax.train.checkpoints import Checkpoints
from vidtldr_jax.train.errors import TrainError
from vidtldr_jax.train.steps import TrainState


def make_state(seed):
    rng = np.random.default_rng(seed)
    params = {"head/kernel": rng.normal(size=(2, 3)).astype(np.float32), "head/bias": np.float32([1e-30, -0.0, 3])}
    moments = (np.int32(seed), {path: value * 2 for path, value in params.items()})
    return TrainState(params, {}, moments, np.int32(seed))


def test_a_state_comes_back_to_the_bit(tmp_path):
    with Checkpoints(tmp_path / "states") as states:
        states.save(7, make_state(7))
        states.save(12, make_state(12))
        assert states.list_steps() == [7, 12]
        found = states.restore(7, make_state(0))
    assert jax.tree.structure(found) == jax.tree.structure(make_state(7))
    for one, other in zip(jax.tree.leaves(found), jax.tree.leaves(make_state(7)), strict=True):
        assert np.asarray(one).tobytes() == np.asarray(other).tobytes()
        assert one.dtype == other.dtype


def test_what_is_half_written_is_no_state_and_is_removed(tmp_path):
    with Checkpoints(tmp_path) as states:
        states.save(3, make_state(3))
        (tmp_path / ".partial-xyz" / "state").mkdir(parents=True)
        assert states.list_steps() == [3]
    with Checkpoints(tmp_path):
        assert [path.name for path in tmp_path.iterdir()] == ["00000003"]


def test_only_what_is_kept_stays_and_a_state_is_written_once(tmp_path):
    with Checkpoints(tmp_path) as states:
        for step in (1, 2, 3):
            states.save(step, make_state(step))
        states.save(3, make_state(9))
        states.prune({1, 3})
        assert states.list_steps() == [1, 3]
        assert int(states.restore(3, make_state(0)).step) == 3
        assert len(list(tmp_path.iterdir())) == 2


def test_a_state_of_another_shape_is_refused(tmp_path):
    with Checkpoints(tmp_path) as states:
        states.save(1, make_state(1))
        like = make_state(1)._replace(params={"head/kernel": np.zeros((3, 3), np.float32), "head/bias": np.zeros(3)})
        with pytest.raises(TrainError, match="--restart to begin anew"):
            states.restore(1, like)


@pytest.mark.filterwarnings("ignore")  # Orbax's own tasks end in the middle
def test_a_damaged_state_is_named_with_what_to_do(tmp_path, caplog):
    with Checkpoints(tmp_path) as states:
        states.save(1, make_state(1))
        for path in tmp_path.glob("00000001/**/*"):
            if path.is_file():
                path.write_bytes(b"")
        with pytest.raises(TrainError, match=r"00000001 is damaged .*take the folder away .* or --restart"):
            states.restore(1, make_state(1))
