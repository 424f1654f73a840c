"""A tiny checkpoint and a clip for the command line, and a way to call it."""

import json

import numpy as np
import pytest
from click.testing import CliRunner

from tests.data.making import write_video
from vidtldr_jax.cli.main import cli
from vidtldr_jax.data.preprocessing import Preprocessing
from vidtldr_jax.inference import save_checkpoint
from vidtldr_jax.inference.checkpoint import find_param_shapes
from vidtldr_jax.models.config import VideoViTConfig

CONFIG = VideoViTConfig(
    num_frames=4, image_size=16, patch_size=4, tubelet_size=2, dim=8, depth=3, num_heads=2, mlp_dim=16, num_classes=3
)
LABELS = ["left", "right", "turning [fast]"]


def save_model(folder, *, config=CONFIG, labels=LABELS, family="video_vit", **preprocessing):
    rng = np.random.default_rng(0)
    params = {
        path: rng.normal(size=shape).astype(np.float32) + path.endswith("scale")
        for path, shape in find_param_shapes(config).items()
    }
    fields = {"num_frames": config.num_frames, "image_size": config.image_size} | preprocessing
    recipe = Preprocessing(**fields)
    return save_checkpoint(
        folder, params=params, config=config, preprocessing=recipe, labels=labels, family=family, source={"name": "x"}
    )


@pytest.fixture(scope="session")
def model(tmp_path_factory):
    return str(save_model(tmp_path_factory.mktemp("models") / "tiny"))


@pytest.fixture(scope="session")
def clip(tmp_path_factory):
    return str(write_video(tmp_path_factory.mktemp("clips") / "clip.mp4", num_frames=12))


@pytest.fixture(autouse=True)
def own_cache(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def call():
    """Runs a command line in this process, without the compilation cache; what does well must be quiet."""

    def run(*words):
        words = [*map(str, words)]
        cached = words[0] in ("demo", "visualize", "classify", "embed", "search", "ask", "evaluate", "finetune", "plan")
        result = CliRunner().invoke(cli, [*words, *(["--no-cache"] if cached else [])])
        if result.exit_code == 0 and not {"-v", "--verbose"} & set(words):
            said = [line for line in result.stderr.splitlines() if not line.startswith("note: ")]
            assert said == [], "a command that does well says nothing but notes"
        return result

    return run


@pytest.fixture
def call_json(call):
    """Runs a command line with --json; returns what it printed, read strictly."""

    def run(*words, exit_code=0):
        result = call(*words, "--json")
        assert result.exit_code == exit_code, result.output
        return json.loads(result.stdout, parse_constant=refuse_constant)

    return run


@pytest.fixture
def call_lines(call):
    """Runs a command line that prints JSON Lines; returns what they say, read strictly."""

    def run(*words, exit_code=0):
        result = call(*words, "--json")
        assert result.exit_code == exit_code, result.output
        return [json.loads(line, parse_constant=refuse_constant) for line in result.stdout.splitlines()]

    return run


def refuse_constant(constant):
    raise ValueError(f"not strict JSON: {constant}")
