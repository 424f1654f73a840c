"""Fine-tuning of a classifier: the whole model, with few labels, or its classifier alone.

    vidtldr finetune --config configs/finetune.py:few,k5 --model checkpoints/videomae-b16 \
        --data train.csv --val val.csv --out runs/few

The argument is RECIPE[,kN][,OPTION]: `full`, `few` or `probe`; k5 takes 5 videos of each class; `merged` trains with
merging; `mirror` mirrors half of the clips, which is wrong where left and right are what classes differ in; `newhead`
trains a new classifier, of the classes of the training videos.
"""

import re

import ml_collections

from vidtldr_jax.trust.nearest import suggest

RECIPES = {
    # Hundreds of labels per class and more.
    "full": {
        "epochs": 20.0, "batch_size": 16, "learning_rate": 5e-4, "layer_decay": 0.75, "weight_decay": 0.05,
        "label_smoothing": 0.1, "crop": 0.8, "random_time": True,
    },
    # A handful of labels per class.
    "few": {
        "steps": 60, "batch_size": 16, "learning_rate": 1e-3, "layer_decay": 0.75, "weight_decay": 0.05,
        "label_smoothing": 0.1, "crop": 0.8, "random_time": True,
    },
    # The classifier alone; nothing is random, so that every video is encoded once.
    "probe": {
        "probe": True, "epochs": 50.0, "batch_size": 32, "learning_rate": 1e-3, "layer_decay": 1.0, "weight_decay": 0.0,
        "random_time": False,
    },
}  # fmt: skip
OPTIONS = {
    "merged": {"schedule": "0.25,0.11,0.06"}, "mirror": {"mirror": True}, "newhead": {"new_head": True},
}  # fmt: skip
_FEW = re.compile(r"k([1-9][0-9]*)")


def get_config(arg: str = "full") -> ml_collections.ConfigDict:
    """Returns the config of one recipe.

    Args:
      arg: `RECIPE[,kN][,OPTION]`, for instance "few,k5" or "probe,k20,merged".

    Returns:
      The config, locked. Its recipe holds fields of `vidtldr_jax.train.Recipe`; data, val, root and checkpoint are
      empty: whoever trains gives them.

    Raises:
      ValueError: a word is missing, unknown or there twice; the nearest that there is is named.
    """
    name, *words = (word.strip() for word in arg.split(","))
    faults = [] if name in RECIPES else [_explain(name, tuple(RECIPES), "recipe")]
    recipe = dict(RECIPES.get(name, {}))
    for word in words:
        if match := _FEW.fullmatch(word):
            faults += [f"{word!r} comes after another kN, leave one out"] if "few" in recipe else []
            recipe["few"] = int(match[1])
        elif word in OPTIONS:
            faults += [f"{word!r} is there twice, leave one out"] if words.count(word) > 1 else []
            recipe |= OPTIONS[word]
        else:
            faults.append(_explain(word, (*OPTIONS, "k5"), "kN or option"))
    if faults:
        raise ValueError(
            f"an argument is RECIPE[,kN][,OPTION] (recipes {', '.join(RECIPES)}; options "
            f"{', '.join(OPTIONS)}); got {arg!r}; {'; '.join(faults)}."
        )
    config = {"task": "finetune", "recipe": recipe, "data": "", "val": "", "root": "", "checkpoint": ""}
    return ml_collections.ConfigDict(config).lock()


def _explain(word: str, known: tuple[str, ...], kind: str) -> str:
    return f"{word!r} is no {kind} ({suggest(word, known, otherwise='choose one of these')})"
