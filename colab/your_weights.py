# %% [markdown]
# # Your weights: convert, check, run on all devices
#
# Takes a checkpoint of Hugging Face (ViViT, VideoMAE) or of UMT, converts it without executing anything in it, compares
# it with the original class layer by layer, and runs it merged, in bfloat16, with the batch split over all devices of
# the runtime.
#
# Without a checkpoint of yours it makes a small random one with transformers' own class (torch and transformers are
# needed then; Colab has both). Everything below is the same for it, but its outputs mean nothing.

# %% {"cellView": "form"}
# @title Install
# @markdown `source` is what pip installs: this version, or a wheel, a folder or `git+https://...`. Empty: use what is
# @markdown there. The runtime's JAX stays as it is.
source = "vidtldr-jax[hub]==0.1.0"  # @param {type:"string"}

import importlib
import re
import subprocess
import sys
import tempfile
from importlib import metadata
from pathlib import Path


def list_jax_packages():
    """Lists JAX and what it runs on (jaxlib, plug-ins, libtpu, NVIDIA's libraries) with the versions installed."""
    pattern = re.compile(r"(jax|jaxlib|jax[-_](cuda|rocm|tpu).*|libtpu.*|nvidia[-_].*)", re.IGNORECASE)
    names = {
        distribution.name for distribution in metadata.distributions() if pattern.fullmatch(distribution.name or "")
    }
    return sorted(f"{name}=={metadata.version(name)}" for name in names)


if source:
    before = list_jax_packages()
    with tempfile.TemporaryDirectory() as scratch:
        constraints = Path(scratch) / "constraints.txt"
        constraints.write_text("\n".join(before))
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--constraint", str(constraints), source]
        pip = subprocess.run(command, capture_output=True, text=True)
    if pip.returncode:
        raise RuntimeError(f"pip could not install {source} beside {', '.join(before) or 'no JAX'}:\n{pip.stderr}")
    if before and list_jax_packages() != before:
        raise RuntimeError(f"JAX changed from {before} to {list_jax_packages()}; restart from a fresh runtime.")
    importlib.invalidate_caches()

import jax

import vidtldr_jax as vt

device = jax.devices()[0]
print(f"vidtldr-jax {vt.__version__}, jax {jax.__version__}")
print(f"{jax.device_count()} device(s): {device.device_kind} ({device.platform})")

# %% [markdown]
# ## The checkpoint
#
# | `weights` | download |
# |---|---|
# | empty: a small random model, made here | none |
# | `hf://MCG-NJU/videomae-small-finetuned-kinetics` | about 90 MB |
# | `hf://MCG-NJU/videomae-base-finetuned-kinetics` | about 350 MB |
# | `hf://google/vivit-b-16x2-kinetics400` | about 360 MB |
# | the path of a UMT `.pth`, or of a folder of Hugging Face's, that you put here | none |
#
# Sizes follow from the numbers of parameters. `settings` says what the weights can't tell, as `name=value` with blanks
# between: a UMT classifier needs its frames, such as `frames=8`. `vidtldr info WEIGHTS` names what is missing.

# %%
weights = ""  # @param {type:"string"}
settings = ""  # @param {type:"string"}
random_model = "VideoMAE"  # @param ["VideoMAE", "ViViT"]


def make_random_checkpoint(folder):
    """Saves a small random model with transformers' own class, as a repository on the hub has it."""
    import transformers

    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    shape = {"image_size": 64, "num_frames": 8, "hidden_size": 96, "num_hidden_layers": 4, "num_attention_heads": 3}
    shape |= {"intermediate_size": 192, "num_labels": 5}
    if random_model == "VideoMAE":
        config = transformers.VideoMAEConfig(patch_size=8, **shape)
        model, processor = transformers.VideoMAEForVideoClassification(config), "VideoMAEImageProcessor"
    else:
        config = transformers.VivitConfig(tubelet_size=[2, 8, 8], **shape)
        model, processor = transformers.VivitForVideoClassification(config), "VivitImageProcessor"
    model.eval().save_pretrained(folder)
    sizes = {"size": {"shortest_edge": 72}, "crop_size": {"height": 64, "width": 64}}
    getattr(transformers, processor)(**sizes).save_pretrained(folder)
    return folder


place = Path(tempfile.mkdtemp())
checkpoint = weights or make_random_checkpoint(place / "original")
print(checkpoint)

# %% [markdown]
# ## Convert
#
# Every key is used or named, every parameter is filled once, or one message says everything that is wrong. On the
# command line: `vidtldr convert WEIGHTS checkpoints/mine --verify`.

# %%
from checkpoints_convert import convert_checkpoint

report = convert_checkpoint(checkpoint, place / "mine", settings=dict(pair.split("=") for pair in settings.split()))
print(f"{report.family}: {report.num_parameters:,} parameters from {len(report.assignments)} arrays")
print(report.config)
print(report.preprocessing)

# %% [markdown]
# ## Check
#
# The original class and the converted model get the same random clip, in float32 at the highest precision, and are
# compared after every block. This needs torch and transformers, which Colab has. For a UMT, whose original is no
# package, store its input and output and give them as `samples`, see `docs/convert.md`.

# %%
import importlib.util

from checkpoints_convert.verify import verify_checkpoint

if not report.family.startswith("huggingface"):
    print(f"not checked: the original of family {report.family} is no package")
elif not all(importlib.util.find_spec(name) for name in ("torch", "transformers")):
    print("not checked: torch and transformers are missing")
else:
    check = verify_checkpoint(checkpoint, place / "mine")
    for row in check.rows:
        print(f"{row.name:12} largest difference {row.max_abs:.1e}, allowed {row.tolerance:.1e}")
    print("same outputs" if check.passed else f"DIFFERENT from {check.first_different} on")

# %% [markdown]
# ## Run: bfloat16, merged, on all devices
#
# `make_mesh()` takes all GPUs or TPU cores of the runtime; a batch is a multiple of them, each device gets its share.
# A schedule may be ratios of the tokens that a layer gets: `0.25,0.25` absorbs a quarter in the first layer and a
# quarter of the rest in the second. What that does to the outputs is measured against the plain model in float32.
# Factorised ViViTs can't be merged; leave `schedule` empty for them.

# %%
schedule = "0.25,0.25"  # @param {type:"string"}
clips_per_device = 2  # @param {type:"integer"}

import jax.numpy as jnp
import numpy as np

mesh = vt.make_mesh()
merged = vt.load_model(place / "mine", schedule=schedule or None, dtype=jnp.bfloat16, mesh=mesh)
batch_size = clips_per_device * jax.device_count()
config = merged.config
shape = (batch_size, config.num_frames, config.image_size, config.image_size, 3)
batch = np.random.default_rng(0).standard_normal(shape, np.float32)  # or np.stack of clips from vt.read_clip
out = merged.encode_video(batch)
print(merged.schedule.describe())
print(f"tokens {out.tokens.shape} {out.tokens.dtype}, over {len(out.tokens.sharding.device_set)} device(s)")

# %%
exact = vt.load_model(place / "mine").encode_video(batch[:1])
rounded = merged.with_schedule(None).encode_video(batch)


def compare(name, output):
    """Prints how alike the pooled vectors of the first clip are."""
    one, other = (np.asarray(side.pooled[0], np.float64) for side in (output, exact))
    print(f"{name:28} cosine with plain float32: {one @ other / np.linalg.norm(one) / np.linalg.norm(other):.5f}")


compare("plain, bfloat16", rounded)
compare(f"merged {schedule}, bfloat16", out)

# %% [markdown]
# ## Time
#
# Plain and merged in turn, on this runtime, with this batch. On small models merging may cost more than it saves.

# %%
from vidtldr_jax.inference.timing import measure_models

measured = measure_models({"plain": merged.with_schedule(None), "merged": merged}, batch, repeats=5)
for name, times in measured.items():
    print(f"{name:8} {times.median * 1000:8.1f} ms for {batch_size} clips, compiled in {times.compile_seconds:.1f} s")
print(f"merged runs {measured['plain'].median / measured['merged'].median:.2f} times as fast as plain here")
