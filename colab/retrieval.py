# %% [markdown]
# # Retrieval: a folder of videos and a sentence
#
# Makes an index of a folder of videos and finds the ones that a sentence describes, in Python and on the command line.
# A small model that was trained for it comes with the package: it knows twelve motions of two digits over a photo and
# about 250 words, all of them about motion. It needs a minute on a CPU and no download but the package. For videos of
# yours take a UMT that was trained on many: one field away, see below.

# %% {"cellView": "form"}
# @title Install
# @markdown `source` is what pip installs: this version, or a wheel, a folder or `git+https://...`. Empty: use what is
# @markdown there. The runtime's JAX stays as it is.
source = "vidtldr-jax[retrieval]==0.1.0"  # @param {type:"string"}

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
# ## The model and the videos
#
# `folder` may be one of yours, with videos anywhere below; empty takes the twelve clips that come with the package, one
# of each motion, whose digits and photos the model never saw. `weights` may be the folder of a converted UMT for
# retrieval (`vidtldr convert b16_ft_msrvtt.pth checkpoints/umt --tokenizer vocab.txt`; by its parameters a B/16 has
# about 0.8 GB); a schedule for it is `600,200,100`.

# %%
folder = ""  # @param {type:"string"}
weights = "moving-objects-retrieval"  # @param {type:"string"}
schedule = "100,40"  # @param {type:"string"}

from vidtldr_jax.data.video_paths import find_videos

model = vt.load_model(weights, schedule=schedule or None)
videos = find_videos([folder or vt.find_sample_gallery()])
print(f"{len(videos)} videos; {model.schedule.describe()}")

# %% [markdown]
# ## In Python: an index
#
# Each video is encoded once and known by its content. The index keeps embeddings to search by, and the tokens that
# merging left, so that a sentence can look again at the best.

# %%
from vidtldr_jax.search.features import FeatureStore, read_features
from vidtldr_jax.search.index import add_videos, describe_index, search_index

place = Path(tempfile.mkdtemp())
description = describe_index(model, "in memory", with_tokens=True)
with FeatureStore(place / "in-python", description) as store:
    report = add_videos(store, model.with_one_view(), videos, batch_size=4)
print(f"added {report.added}, errors: {report.errors or 'none'}")

# %% [markdown]
# ## Search
#
# `similarity` is the cosine of the embeddings (ITC); `match` is the logit of "they match" after the sentence has looked
# at a video's tokens (ITM). Videos come in the order of `match`. The model was never shown this sentence.

# %%
sentence = "two digits are sliding left"  # @param {type:"string"}

from IPython.display import Video, display

hits = search_index(read_features(place / "in-python"), model, sentence, top_k=3, rerank=100)
for hit in hits:
    print(f"{Path(hit.path).name:28} similarity {hit.similarity:6.3f}  match {hit.match:7.3f}")
display(Video(hits[0].path, embed=True, mimetype="video/mp4", html_attributes="controls loop autoplay muted"))

# %% [markdown]
# Without an index, for a few videos: encode both sides and compare.

# %%
import numpy as np

sentences = ["they become larger", "whirl like a clock", "both numbers drift away from each other", "it stays at rest"]
clips = np.stack([vt.read_clip(path, model.preprocessing) for path in videos[:12]])
seen = model.encode_video(clips)  # .tokens [V, M, D], .embedding [V, E]
ids, mask, _ = model.tokenize(sentences, max_tokens=16)
scores = np.asarray(model.match(seen, model.encode_text(ids, mask)))  # [V, S]
for text, best in zip(sentences, scores.argmax(0)):
    print(f"{text:42} -> {Path(videos[best]).name}")

# %% [markdown]
# ## On the command line
#
# The same with files that stay. A second `vidtldr embed` adds what is new; `--json` is for machines.

# %%
words = ["embed", *map(str, videos), "--model", weights, "--tokens", "--out", str(place / "index")]
words += ["--schedule", schedule] if schedule else []
for command in (words, ["search", str(place / "index"), sentence, "--top-k", "3"]):
    done = subprocess.run([sys.executable, "-m", "vidtldr_jax", *command], capture_output=True, text=True)
    print(done.stdout or done.stderr)
