"""What all tests share: JAX on the CPU, repeatable examples, shapes checked against their annotations."""

import os
from importlib import metadata
from pathlib import Path

os.environ.setdefault("JAX_PLATFORMS", "cpu")
# Compiling is most of the time; with less optimised programs it is half, and with the older emitters of fusions, where
# jaxlib has them, a quarter. Set it to 0 to test what users run.
os.environ.setdefault("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")
# A flag that is not known ends the process, and so does a text that doesn't start with one: at least one stands there.
os.environ["XLA_FLAGS"] = os.environ.get("XLA_FLAGS") or (
    "--xla_cpu_use_fusion_emitters=false"
    if os.environ["JAX_DISABLE_MOST_OPTIMIZATIONS"] == "1" and metadata.version("jaxlib").startswith("0.10.")
    else "--xla_force_host_platform_device_count=1"
)

import hypothesis
import jax
import jaxtyping
import pytest

# The import hook must come before the first import of these modules. Configs are left out: beartype refuses `Self`.
_CHECKED = (
    "vidtldr_jax.ops",
    "vidtldr_jax.reduction.methods",
    "vidtldr_jax.reduction.step",
    "vidtldr_jax.models.block",
    "vidtldr_jax.models.encoder",
    "vidtldr_jax.models.heads",
    "vidtldr_jax.models.patches",
    "vidtldr_jax.models.positions",
    "vidtldr_jax.models.video_vit",
)
jaxtyping.install_import_hook(list(_CHECKED), "beartype.beartype")

# A cache of an earlier commit must not answer for this one.
jax.config.update("jax_enable_compilation_cache", False)

hypothesis.settings.register_profile(
    "vidtldr", max_examples=12, deadline=None, derandomize=True, database=None, print_blob=False
)
hypothesis.settings.load_profile("vidtldr")


@pytest.fixture
def shapes_unchecked():
    """Switches the annotations' checks off, so that a function's own error comes through."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


@pytest.fixture
def all_optimizations():
    """Compiles as users do: with fewer optimisations, what else is an output changes how a value is rounded."""
    jax.config.update("jax_disable_most_optimizations", False)
    yield
    jax.config.update("jax_disable_most_optimizations", os.environ["JAX_DISABLE_MOST_OPTIMIZATIONS"] == "1")


_LIBRARY = ("ops", "reduction", "models", "inference", "evaluation", "search", "export", "train", "visualize")


@pytest.fixture(autouse=True, scope="module")
def _ranks_are_not_promoted(request):
    """Lets the library run as where a user sets `jax_numpy_rank_promotion` to "raise", in its threads too."""
    jax.config.update("jax_numpy_rank_promotion", "raise" if request.path.parent.name in _LIBRARY else "allow")
    yield
    jax.config.update("jax_numpy_rank_promotion", "allow")


_MAPS = Path("/proc/self/maps")
_MOST_MAPS = 20_000  # Linux allows a process 65,530; XLA's compiler crashes at one more


@pytest.fixture(autouse=True, scope="module")
def _few_programs():
    """Forgets compiled programs where many have gathered: each keeps some pages of its own mapped."""
    yield
    if _MAPS.exists() and _MAPS.read_bytes().count(b"\n") > _MOST_MAPS:
        jax.clear_caches()


@pytest.fixture
def traced_shapes(monkeypatch):
    """The shapes of the videos that a `VideoViT` is traced with, in order; nothing is compiled before."""
    from vidtldr_jax.inference import model as model_module
    from vidtldr_jax.models import VideoViT

    shapes = []
    apply = VideoViT.apply

    def count(module, variables, video, **kwargs):
        shapes.append(video.shape)
        return apply(module, variables, video, **kwargs)

    monkeypatch.setattr(VideoViT, "apply", count)
    model_module.compile_encoder.cache_clear()
    yield shapes
    model_module.compile_encoder.cache_clear()
