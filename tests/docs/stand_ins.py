"""Tiny real things under the names that the pages give to people's checkpoints, videos and data sets.

A block marked "with stand-ins" runs in a copy of one folder, made once a session: tiny models of the right kind stand
for published ones, a handful of short videos for a data set. `CHANGES` says what runs in place of the few words of a
page that tiny models or two CPU cores can't serve.
"""

import json
import re
import shutil

import numpy as np
import safetensors.numpy
from click.testing import CliRunner

from checkpoints_convert import convert_checkpoint, open_source
from tests.cli.conftest import save_model
from tests.cli.umt_sets import make_videos, make_vocab
from tests.data.making import write_video
from tests.docs.markdown_pages import ROOT
from tests.reference.files import find_golden, require_module
from tests.reference.hub_calls import run_command_with_hub
from tests.reference.hub_server import Hub
from tests.reference.signing import sign_again
from vidtldr_jax.cli.main import cli
from vidtldr_jax.data.text import read_tokenizer
from vidtldr_jax.models.bert_config import BertConfig
from vidtldr_jax.models.clip_config import CLIPConfig
from vidtldr_jax.models.config import VideoViTConfig
from vidtldr_jax.models.umt_config import UMTConfig
from vidtldr_jax.models.vivit_config import ViViTConfig

# Words of a page -> what is run. Published shapes tell the number of heads and frames, tiny ones don't.
CHANGES = {
    "umt-b16-k400 --set frames=8": "umt-b16-k400 --set frames=4 --set heads=4 --set image_size=32",
    "--weights model_ema --set frames=8": "--weights model_ema --set frames=4 --set heads=4 --set image_size=32",
    "checkpoints/clip --set frames=8": "checkpoints/clip --set frames=8 --set heads=4",
    "--tokenizer vocab.txt": "--tokenizer vocab.txt --set text_heads=4",
    "--tokenizer hf://google-bert/bert-base-uncased": (
        "--tokenizer hf://google-bert/bert-base-uncased --set text_heads=4"
    ),
    "checkpoint checkpoints/vivit-b16x2": "checkpoint checkpoints/vivit-b16x2 --set frames=8",
    "--workers 16 --devices 8": "--workers 1 --devices 1",  # a machine with 16 cores and 8 accelerators
    "benchmark --preset umt-b16": "benchmark --model moving-objects",  # minutes
    "--max-gmacs 178": "--max-gmacs 0.00009",  # the plain tiny model has 0.000095
}
_TORCH = re.compile(r"SOURCE|clip\.safetensors|--to torch|from transformers")
# What the stand-ins of UMT can read besides "w17" and the like; the originals' tiny models have 80 words.
_WORDS = (
    *("[PAD]", "[UNK]", "[CLS]", "[SEP]", "a", "dog", "catches", "frisbee", "runs", "man", "dives"),
    *("what", "is", "the", "holding", "doing", "sing", "ball"),
)
_VOCABULARY = (*_WORDS, *(f"w{number}" for number in range(80 - len(_WORDS))))
_CLASSES = ("diving", "skiing")
_NUM_VIDEOS = 5  # of each class, which few=5 asks for

_TINY = {"num_frames": 4, "image_size": 16, "patch_size": 4, "dim": 8, "depth": 4, "num_heads": 2, "mlp_dim": 16}
_TEXT = BertConfig(
    vocab_size=80, max_positions=32, dim=8, depth=2, num_heads=2, mlp_dim=16, fusion_from_layer=1, context_dim=8
)
_RETRIEVAL = UMTConfig(
    task="retrieval", vision=VideoViTConfig(**_TINY, tubelet_size=1, embed_dim=8, final_norm=True), text=_TEXT
)
_ANSWERING = UMTConfig(
    task="question_answering",
    vision=VideoViTConfig(**_TINY, tubelet_size=1, final_norm=True, pool_norm=False),
    text=_TEXT,
    decoder=BertConfig(**{**_TEXT.to_dict(), "fusion_from_layer": 0, "is_causal": True}),
)
_TWO_LAYERS = VideoViTConfig(**_TINY | {"depth": 2}, tubelet_size=2, num_classes=2)  # few proposals for a plan
_CLASSIFIER = VideoViTConfig(**_TINY, tubelet_size=2, num_classes=2)
_VIVIT = ViViTConfig(**_TINY, tubelet_size=2, num_classes=2)
_CLIP = CLIPConfig(**_TINY, encoding="joint", embed_dim=6, gelu="quick")
# Folder -> architecture, family, labels.
_CHECKPOINTS = {
    "mine": (_TWO_LAYERS, "videomae", _CLASSES),
    "videomae-b16": (_CLASSIFIER, "videomae", _CLASSES),
    "vivit-b16x2": (_VIVIT, "vivit", _CLASSES),
    "clip": (_CLIP, "clip", None),
    "umt-b16-msrvtt": (_RETRIEVAL, "umt_retrieval", None),
    "umt-b16-msvd-qa": (_ANSWERING, "umt_qa", None),
    "umt-l16-msrvtt-qa": (_ANSWERING, "umt_qa", None),
}
# Files of the originals' tiny models.
_SOURCES = {
    "vit_b16_k400.pth": "cls_umt.pth",
    "b16_ft_msrvtt.pth": "umt_retrieval.pth",
    "umt_msrvtt.pth": "umt_retrieval.pth",
    "vivit_base_16x2/checkpoint": "scenic/checkpoint_2023_layout",
}


def make_stand_ins(folder):
    """Fills a folder with all that needs no torch."""
    vocab = make_vocab(folder, _VOCABULARY)
    for name, (config, family, labels) in _CHECKPOINTS.items():
        edge = {"resize": "shortest_edge", "shortest_edge": 18} if family == "videomae" else {}
        made = save_model(folder / "checkpoints" / name, config=config, family=family, labels=labels, **edge)
        if isinstance(config, UMTConfig):
            (made / "tokenizer.json").write_text(read_tokenizer(vocab).to_json())
            sign_again(made)
    for name, golden in _SOURCES.items():
        (folder / name).parent.mkdir(exist_ok=True)
        shutil.copy(find_golden(golden), folder / name)
    state = {key: np.array(tensor.read()) for key, tensor in open_source(folder / "vit_b16_k400.pth").tensors.items()}
    both = {f"{name}.{key}": values for name in ("model", "model_ema") for key, values in state.items()}
    safetensors.numpy.save_file(both, folder / "with_ema.safetensors")
    settings = {"heads": 4, "frames": 4, "image_size": 32}
    convert_checkpoint(folder / "vit_b16_k400.pth", folder / "checkpoints" / "umt-b16-k400", settings=settings)
    for name in ("clip.mp4", "dive.mp4", "mine.mp4"):
        write_video(folder / name, num_frames=12)
    _make_data_sets(folder)
    _make_configs(folder / "configs")
    return folder


def _make_data_sets(folder):
    for name in ("videos", "more", "kinetics400", "MSRVTT/videos"):
        (folder / name).mkdir(parents=True)
    videos = make_videos(folder / "videos", 2 * _NUM_VIDEOS)
    make_videos(folder / "more", 2)
    rows = [f"{video},{number}" for number, video in enumerate(make_videos(folder / "kinetics400", 2))]
    (folder / "kinetics400" / "val.csv").write_text("\n".join(["path,label", *rows]))
    for name, video in zip(("video7010.mp4", "video7020.mp4"), make_videos(folder / "MSRVTT/videos", 2)):
        (folder / "MSRVTT/videos" / video).rename(folder / "MSRVTT/videos" / name)
    rows = [f"videos/{video},{_CLASSES[number % 2]}" for number, video in enumerate(videos)]
    for name in ("train.csv", "val.csv"):
        (folder / name).write_text("\n".join(["path,label", *rows]))
    rng = np.random.default_rng(0)
    np.savez(folder / "classes.npz", embeddings=rng.normal(size=(2, _CLIP.embed_dim)), names=np.array(_CLASSES))
    (folder / "answers.txt").write_text("a frisbee\na ball\na rope\n")
    captions = [("video7020.mp4", "a woman is dancing"), ("video7010.mp4", "a dog catches a frisbee")]
    question = {"video": "video7010.mp4", "question": "what is a man doing", "answer": "sing", "question_id": 158581}
    for name, content in {
        "msrvtt_ret_test1k.json": [{"video": video, "caption": caption} for video, caption in captions],
        "msrvtt_qa_test.json": [question],
        "msrvtt_qa_answer_list.json": ["sing", "a ball", "runs"],
    }.items():
        (folder / name).write_text(json.dumps(content))


_CONFIG = """
import runpy

def get_config(arg=""):
    config = runpy.run_path({path!r})["get_config"](arg).copy_and_resolve_references()
    with config.unlocked():
        config.update_from_flattened_dict({changes!r})
    return config
"""


def _make_configs(folder):
    """The repository's configs, those of published models with the sizes of the stand-ins."""
    (folder / "scenic").mkdir(parents=True)
    shutil.copy(ROOT / "configs" / "finetune.py", folder)
    umt = {"image_size": _TINY["image_size"], "architecture": {}, "num_frames": 4, "k_test": 2}
    vivit = {
        "model.hidden_size": 32, "model.num_heads": 4, "model.mlp_dim": 64, "model.num_layers": 3,
        "model.patches.size": (8, 8, 2), "dataset_configs.num_frames": 8, "dataset_configs.crop_size": 32,
        "dataset_configs.min_resize": 36, "dataset_configs.num_classes": 8,
    }  # fmt: skip
    for name, changes in {"retrieval.py": umt, "qa.py": umt, "scenic/k400_b16x2.py": vivit}.items():
        (folder / name).write_text(_CONFIG.format(path=str(ROOT / "configs" / name), changes=changes))


def arrange(made, text, folder):
    """Copies the stand-ins into the folder where a block runs, but for what the block makes itself."""
    shutil.copytree(made, folder, dirs_exist_ok=True)
    for name in re.findall(r"(?:convert \S+|--out) ([\w/-]+)", text):
        if (folder / name).is_dir():
            shutil.rmtree(folder / name)
    if "hf://" in text:
        require_module("huggingface_hub")
    if _TORCH.search(text):
        require_module("torch")
        _make_with_torch(text, folder)
    if "index/part" in text:
        words = ("embed", "videos", "--model", "checkpoints/umt-b16-msrvtt", "--out", "index", "--no-cache")
        assert CliRunner().invoke(cli, words).exit_code == 0


def _make_with_torch(text, folder):
    from tests.reference import huggingface

    if "SOURCE" in text:
        huggingface.save_videomae(huggingface.make_videomae(num_attention_heads=4), folder / "SOURCE", "today")
    if "clip.safetensors" in text:
        state = huggingface.rename_as_openai(dict(huggingface.make_clip(num_attention_heads=4).state_dict()))
        huggingface.safetensors_torch.save_file(state, folder / "clip.safetensors")
    if "openai/clip" in text:
        _save_clip_with_text(huggingface.transformers, folder / "openai" / "clip-vit-base-patch16")


def _save_clip_with_text(transformers, folder):
    folder.mkdir(parents=True)
    letters = [chr(number) for number in range(ord("a"), ord("z") + 1)]
    words = [*letters, *(f"{letter}</w>" for letter in letters), "<|startoftext|>", "<|endoftext|>"]
    (folder / "vocab.json").write_text(json.dumps({word: number for number, word in enumerate(words)}))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    size = {"hidden_size": 8, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    ends = {"bos_token_id": len(words) - 2, "eos_token_id": len(words) - 1, "pad_token_id": len(words) - 1}
    config = transformers.CLIPConfig(
        text_config={**size, **ends, "vocab_size": len(words)},
        vision_config={**size, "image_size": 16, "patch_size": 8},
        projection_dim=_CLIP.embed_dim,
    )
    transformers.CLIPModel(config).save_pretrained(folder)
    (folder / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "CLIPTokenizer"}))


def change(line):
    """Returns what is run in place of a line."""
    line = " ".join(line.split())
    for shown, run in CHANGES.items():
        line = line.replace(shown, run)
    return line


def run_with_hub(words, folder):
    """Runs a command that names a place on a hub, against one that has the stand-ins' vocabulary."""
    files = {"vocab.txt": (folder / "vocab.txt").read_bytes()}
    with Hub(dict.fromkeys(re.findall(r"hf://(\S+)", " ".join(words)), files)).serve() as hub:
        code, printed, said = run_command_with_hub(*words, endpoint=hub.address, home=folder / "hub")
    assert code == 0, said
    return printed
