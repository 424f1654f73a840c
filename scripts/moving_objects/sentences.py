"""What people may call the twelve motions: sentences to train on, and phrases that are held out.

    rng = np.random.default_rng(0)
    draw_sentence(rng, "left", TRAINED)     # "both digits are sliding to the left over a photo"
    list_sentences("left", HELD_OUT)        # every held-out phrase in three forms

Each sentence is a subject, a phrase that begins with a verb in one of its forms, and perhaps an ending. A held-out
phrase occurs in no trained sentence, but each of its words does: that words go together as they do has to be
understood from others. Words outside the list are unknown to the model; some subjects in training are unknown words,
so that what follows an unknown one is still read.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

UNKNOWN = "[UNK]"
SPECIAL = ("[PAD]", UNKNOWN, "[CLS]", "[SEP]")
Phrases = Mapping[str, tuple[str, ...]]


def _fill(phrases: str, word: str) -> tuple[str, ...]:
    return tuple(phrase.strip().replace("*", word) for phrase in phrases.split(","))


def _list(phrases: str) -> tuple[str, ...]:
    return _fill(phrases, "")


_SIDEWAYS = (
    "move *, move to the *, go *, slide to the *, drift *, travel to the *, head *, shift to the * side, "
    "go toward the *, go towards the *"
)
_SIDEWAYS_HELD_OUT = "slide *, drift to the *, travel toward the * side"
TRAINED: Phrases = {
    "left": (*_fill(_SIDEWAYS, "left"), "pass from right to left", "move from the right to the left"),
    "right": (*_fill(_SIDEWAYS, "right"), "pass from left to right", "move from the left to the right"),
    "up": _list(
        "move up, move upwards, go up, rise, climb, float up, slide to the top, drift upwards, travel up, "
        "head for the top, move from the bottom to the top"
    ),
    "down": _list(
        "move down, move downwards, go down, fall, sink, drop, slide to the bottom, drift downwards, travel down, "
        "head for the bottom, move from the top to the bottom"
    ),
    "growing": _list(
        "grow, get bigger, get larger, become bigger, become large, expand, increase in size, grow in size, swell, "
        "get bigger and bigger, become big"
    ),
    "shrinking": _list(
        "shrink, get smaller, become smaller, become tiny, contract, decrease in size, shrink in size, dwindle, "
        "get smaller and smaller, become small, become little"
    ),
    "turning clockwise": _list(
        "turn clockwise, rotate clockwise, spin clockwise, turn like the hands of a clock, rotate like a clock, "
        "spin in clockwise direction, turn in the direction of a clock, whirl clockwise, turn with the clock"
    ),
    "turning anticlockwise": _list(
        "turn anticlockwise, rotate counterclockwise, spin counterclockwise, turn against the clock, "
        "rotate against the hands of a clock, whirl anticlockwise, turn in counterclockwise direction, "
        "rotate anticlockwise, spin against the clock, turn counter clockwise, rotate anti clockwise, "
        "spin in anticlockwise direction"
    ),
    "coming together": _list(
        "come together, move together, approach each other, approach one another, get closer to each other, meet, "
        "move toward each other, move towards each other, come nearer to one another, draw together, converge, "
        "collide, draw near one another"
    ),
    "moving apart": _list(
        "move apart, drift apart, part, separate, go away from each other, move away from one another, split up, "
        "get farther from each other, spread out, fly apart, diverge, move farther apart"
    ),
    "circling each other": _list(
        "circle each other, circle around each other, orbit each other, orbit one another, revolve around each other, "
        "turn around one another, move around each other, rotate around each other, go round each other, "
        "dance around one another"
    ),
    "still": _list(
        "stand still, stay still, do not move, rest, freeze, stay in place, remain still, keep still, hold still, "
        "stay put, remain at rest, do nothing"
    ),
}
HELD_OUT: Phrases = {
    "left": _fill(_SIDEWAYS_HELD_OUT, "left"),
    "right": _fill(_SIDEWAYS_HELD_OUT, "right"),
    "up": _list("float upwards, go to the top, drift up"),
    "down": _list("fall down, sink to the bottom, go downwards"),
    "growing": _list("become larger, grow bigger, increase"),
    "shrinking": _list("become smaller and smaller, get little, contract in size"),
    "turning clockwise": _list("spin like the hands of a clock, rotate in clockwise direction, whirl like a clock"),
    "turning anticlockwise": _list("spin anticlockwise, turn counterclockwise, whirl against the hands of a clock"),
    "coming together": _list("come closer to each other, move toward one another, draw near each other"),
    "moving apart": _list("go apart, drift away from each other, get farther apart"),
    "circling each other": _list("circle one another, revolve around one another, go around each other"),
    "still": _list("remain in place, stay at rest, keep in place"),
}
_MUTUAL = ("coming together", "moving apart", "circling each other")  # these take two
_PLURAL = ("two digits", "two numbers", "two objects", "two things", "two shapes", "they", "the digits", "both digits")
_SINGULAR = ("a digit", "something", "it", "an object", "the number", "a thing")
_ENDINGS = ("", "", "", "over a photo", "in front of a picture", "slowly", "in the video")
# Third person and participle, where they are not the usual -s and -ing.
_FORMS = {
    "go": ("goes", "going"),
    "pass": ("passes", "passing"),
    "approach": ("approaches", "approaching"),
    "do not move": ("does not move", "not moving"),
    "do nothing": ("does nothing", "doing nothing"),
    "fly": ("flies", "flying"),
    **{verb: (f"{verb}s", f"{verb}{verb[-1]}ing") for verb in ("drop", "get", "spin", "split", "put")},
    **{verb: (f"{verb}s", f"{verb[:-1]}ing") for verb in ("move", "slide", "rise", "increase", "become", "decrease",
       "rotate", "come", "converge", "collide", "separate", "diverge", "circle", "revolve", "dance", "freeze",
       "dwindle")},
}  # fmt: skip


def inflect(phrase: str) -> tuple[str, str, str]:
    """Returns a phrase in the plural, in the third person singular and as a participle."""
    verb, _, rest = (phrase, "", "") if phrase in _FORMS else phrase.partition(" ")
    third, participle = _FORMS.get(verb, (f"{verb}s", f"{verb}ing"))
    return phrase, f"{third} {rest}".strip(), f"{participle} {rest}".strip()


def draw_sentence(rng: np.random.Generator, label: str, phrases: Phrases) -> str:
    """Draws a sentence.

    Args:
      rng: where all chance comes from.
      label: the motion.
      phrases: `TRAINED` or `HELD_OUT`.

    Returns:
      Words with single blanks, lower case but for `[UNK]`, an unknown word.
    """
    plural, third, participle = inflect(str(rng.choice(phrases[label])))
    is_single = label not in _MUTUAL and rng.random() < 0.4
    if rng.random() < 0.25:
        subject = " ".join([UNKNOWN] * rng.integers(1, 4))
    else:
        subject = str(rng.choice(_SINGULAR if is_single else _PLURAL))
    predicates = (third, f"is {participle}") if is_single else (plural, f"are {participle}")
    predicate = str(rng.choice((*predicates, participle)))
    if rng.random() < 0.15:
        subject, predicate = "", str(rng.choice((plural, participle)))
    return " ".join(f"{subject} {predicate} {rng.choice(_ENDINGS)}".split())


def list_sentences(label: str, phrases: Phrases) -> list[str]:
    """Lists three plain sentences for each phrase: "two digits grow", "the digits are growing", "growing"."""
    forms = [inflect(phrase) for phrase in phrases[label]]
    return [
        sentence
        for plural, _, participle in forms
        for sentence in (f"two digits {plural}", f"the digits are {participle}", participle)
    ]


def list_words() -> list[str]:
    """Lists the vocabulary: special words, then every word that can be drawn in training, sorted."""
    texts = [*_PLURAL, *_SINGULAR, *_ENDINGS, "is are"]
    texts += [form for phrases in TRAINED.values() for phrase in phrases for form in inflect(phrase)]
    return [*SPECIAL, *sorted({word for text in texts for word in text.split()})]
