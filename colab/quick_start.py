# %% [markdown]
# # Quick start: one clip, plain and merged
#
# A small video transformer and its clips come with the package. This notebook runs one clip through the plain and
# through the merged model, compares predictions, tokens, multiply-accumulates and time, and shows what was merged.
# It needs a minute on a CPU and no download but the package. A video of yours is one field away.

# %% {"cellView": "form"}
# @title Install
# @markdown `source` is what pip installs: this version, or a wheel, a folder or `git+https://...`. Empty: use what is
# @markdown there. The runtime's JAX stays as it is.
source = "vidtldr-jax==0.1.0"  # @param {type:"string"}

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
# ## The model and a clip
#
# `schedule` is how many tokens each layer absorbs: `100,40` means 100 in the first, 40 in the second, none in the
# others. The model has 0.5 million parameters and names how two digits move. On a video of yours look at what is
# merged and dropped, not at the label: the model knows twelve motions and nothing else.

# %%
# @markdown `video` is the path of a video, a GIF or a folder of images; empty takes a clip that comes with the package.
video = ""  # @param {type:"string"}
schedule = "100,40"  # @param {type:"string"}

path = video or vt.find_sample_clip()
merged = vt.load_model("moving-objects", schedule=schedule)
plain = merged.with_schedule(None)  # shares the parameters
clip = vt.read_clip(path, merged.preprocessing)  # [T, Y, X, 3] float32, normalised
print(path)
print(merged.schedule.describe())

# %% [markdown]
# ## Plain against merged
#
# Both are timed in turn in one run, so that other work on the machine meets both alike. On so small a model matching
# and merging take back a part of what they save; what merging brings grows with the tokens. `vidtldr benchmark` looks
# for the size from which it pays on your machine.

# %%
from vidtldr_jax.inference.timing import measure_models

models = {"plain": plain, "merged": merged}
measured = measure_models(models, clip[None], repeats=7)
print(f"{'':8}{'tokens':>12}{'GMACs':>9}{'ms':>8}  prediction")
for name, model in models.items():
    tokens = f"{model.schedule.tokens[0]} -> {model.schedule.tokens[-1]}"
    gmacs = vt.count_macs(model.config, model.schedule).gmacs
    chances = jax.nn.softmax(model.classify(clip[None])[0])
    label = f"{model.labels[int(chances.argmax())]} {float(chances.max()):.1%}"
    print(f"{name:8}{tokens:>12}{gmacs:9.3f}{measured[name].median * 1000:8.1f}  {label}")
print(f"merged runs {measured['plain'].median / measured['merged'].median:.2f} times as fast as plain here")

# %% [markdown]
# ## What was merged, what was dropped
#
# The clip, the saliency that the first layers saw, what was merged and dropped, and the clip with each patch as the
# mean of its group.

# %%
from IPython.display import HTML, Video, display

from vidtldr_jax.visualize import draw_overlay_frames, record_history, write_page, write_video

history = record_history(merged, path)
out = Path(tempfile.mkdtemp())
overlay = write_video(out / "overlay.mp4", draw_overlay_frames(history), fps=history.fps)
display(Video(str(overlay), embed=True, mimetype="video/mp4", html_attributes="controls loop autoplay muted"))

# %% [markdown]
# The same as a page that answers: step through frames and layers, point at a patch to see who is with it. It is one
# file that needs nothing else; download `page.html` to keep it.

# %%
from html import escape

page = write_page(out / "page.html", history).read_text()
display(HTML(f'<div><iframe srcdoc="{escape(page)}" width="100%" height="1000" style="border: 0"></iframe></div>'))

# %% [markdown]
# ## More
#
# - `your_weights`: published checkpoints, bfloat16, all devices of the runtime
# - `your_model`: the operators in a block of your own
# - `retrieval`: find a video by a sentence
