"""First parameters from a file, for the trainer that reads none: what it gave is logged, what can't fit is refused."""

import logging
import types

import flax
import ml_collections
import numpy as np
import pytest

from vidtldr_jax.scenic_adapter.initial import start_from, take_params


class Model:
    """Says what of a checkpoint goes where, as Scenic's models do: all but the head."""

    def init_from_train_state(self, state, restored, model_config):
        assert model_config.model.classifier == "token"
        params = flax.core.unfreeze(state.params)
        for name, value in restored.params.items():
            if name != "output_projection":
                params[name] = value
        return state.replace(params=flax.core.freeze(params))


def make_params(value, width=3):
    return {
        "cls": np.full(width, value),
        "Transformer": {"norm": {"scale": np.full(width, value)}},
        "output_projection": {"bias": np.full(2, value)},
    }


def make_config(path):
    init = {"checkpoint_path": str(path), "model_config": {"model": {"classifier": "token"}}}
    return ml_collections.ConfigDict({"init_from": init, "checkpoint": True, "model": {"classifier": "token"}})


def write(path, params):
    path.write_bytes(flax.serialization.msgpack_serialize({"params": params, "global_step": 3}))
    return path


def test_all_but_the_head_come_from_the_file_and_the_log_says_so(tmp_path, caplog):
    config = make_config(write(tmp_path / "checkpoint", make_params(7.0)))
    with caplog.at_level(logging.INFO, logger="vidtldr_jax"):
        found = take_params(Model(), config, flax.core.freeze(make_params(0.0)))
    np.testing.assert_array_equal(found["cls"], 7)
    np.testing.assert_array_equal(found["Transformer"]["norm"]["scale"], 7)
    np.testing.assert_array_equal(found["output_projection"]["bias"], 0)
    assert f"init_from: 2 of 3 parameter arrays come from {tmp_path}/checkpoint" in caplog.text
    assert "first values remain in output_projection/bias" in caplog.text


def test_a_file_of_another_model_is_refused(tmp_path):
    first = make_params(0.0)
    config = make_config(write(tmp_path / "wide", make_params(1.0, width=5)))
    with pytest.raises(ValueError, match=r"cls is \(5,\) and should be \(3,\); Transformer/norm/scale is \(5,\)"):
        take_params(Model(), config, first)
    config = make_config(write(tmp_path / "more", make_params(1.0) | {"extra": np.zeros(2)}))
    with pytest.raises(ValueError, match="extra has no place; take the file of such a model"):
        take_params(Model(), config, first)
    head = {"output_projection": make_params(1.0)["output_projection"]}
    with pytest.raises(ValueError, match="has none that this model has"):
        take_params(Model(), make_config(write(tmp_path / "head", head)), first)
    with pytest.raises(ValueError, match="there is no "):
        take_params(Model(), make_config(tmp_path / "nowhere"), first)


def test_what_scenic_asserts_is_said_in_a_line(tmp_path):
    config = make_config(write(tmp_path / "checkpoint", make_params(1.0)))
    config.init_from.model_config.model.classifier = "gap"
    with pytest.raises(ValueError, match=r"a checkpoint of a model like this one; .* does not fit: .*check init_from"):
        take_params(Model(), config, make_params(0.0))


@pytest.fixture
def utils():
    """Stands in for the module of Scenic whose function is replaced for a while."""
    return types.SimpleNamespace(initialize_model=lambda **options: (make_params(0.0), {}, 5, None))


def start(config, workdir, utils):
    return start_from(config, lambda config, meta: Model(), {}, str(workdir), train_utils=utils)


def test_the_trainer_starts_from_the_file_and_scenic_is_left_as_it_was(tmp_path, utils):
    config, before = make_config(write(tmp_path / "file", make_params(7.0))), utils.initialize_model
    with start(config, tmp_path / "run", utils):
        params, state, count, gflops = utils.initialize_model(model_def=None)
    assert (params["cls"][0], state, count, gflops) == (7, {}, 5, None)
    assert utils.initialize_model is before
    with pytest.raises(RuntimeError), start(config, tmp_path / "run", utils):
        raise RuntimeError
    assert utils.initialize_model is before


def test_nothing_is_read_without_a_file_and_by_a_run_that_goes_on(tmp_path, utils, caplog):
    config, before = make_config(write(tmp_path / "file", make_params(7.0))), utils.initialize_model
    with start(ml_collections.ConfigDict(), tmp_path / "run", utils):
        assert utils.initialize_model is before
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "checkpoint_2").touch()
    with caplog.at_level(logging.INFO, logger="vidtldr_jax"), start(config, tmp_path / "run", utils):
        assert utils.initialize_model is before
    assert "the run goes on from its own checkpoint" in caplog.text


def test_the_rest_of_a_checkpoint_that_was_not_written_to_its_end_is_none_to_go_on_from(tmp_path, utils):
    config, before = make_config(write(tmp_path / "file", make_params(7.0))), utils.initialize_model
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "checkpoint_tmp").touch()
    with start(config, tmp_path / "run", utils):
        assert utils.initialize_model is not before
