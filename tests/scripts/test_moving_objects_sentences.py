from __future__ import annotations

import numpy as np


def test_no_held_out_phrase_is_trained_in_any_form_and_every_word_of_it_is():
    from sentences import HELD_OUT, TRAINED, inflect, list_sentences, list_words

    trained = {form for phrases in TRAINED.values() for phrase in phrases for form in inflect(phrase)}
    held_out = {form for phrases in HELD_OUT.values() for phrase in phrases for form in inflect(phrase)}
    assert len(held_out) == 3 * 36
    assert trained & held_out == set()
    asked = {word for label in HELD_OUT for text in list_sentences(label, HELD_OUT) for word in text.split()}
    assert asked <= set(list_words())


def test_every_motion_of_the_clips_has_phrases_and_no_phrase_is_of_two():
    from scenes import LABELS
    from sentences import HELD_OUT, TRAINED

    assert tuple(TRAINED) == tuple(HELD_OUT) == LABELS
    every = [phrase for phrases in (*TRAINED.values(), *HELD_OUT.values()) for phrase in phrases]
    assert len(set(every)) == len(every)


def test_drawn_sentences_have_known_words_and_a_subject_that_fits():
    from sentences import SPECIAL, TRAINED, UNKNOWN, draw_sentence, list_words

    rng, words = np.random.default_rng(0), list_words()
    assert tuple(words[:4]) == SPECIAL
    assert len(set(words)) == len(words)
    drawn = {label: [draw_sentence(rng, label, TRAINED) for _ in range(200)] for label in TRAINED}
    assert all(set(text.split()) <= set(words) for texts in drawn.values() for text in texts)
    assert max(len(text.split()) for texts in drawn.values() for text in texts) <= 22  # and two special tokens
    assert any(text.startswith(UNKNOWN) for text in drawn["left"])
    assert not any(text.startswith("it ") for text in drawn["coming together"])
    assert any(text.startswith("it ") for text in drawn["growing"])


def test_verbs_take_their_forms():
    from sentences import inflect

    assert inflect("slide to the left") == ("slide to the left", "slides to the left", "sliding to the left")
    assert inflect("go up")[1:] == ("goes up", "going up")
    assert inflect("do not move")[1:] == ("does not move", "not moving")
    assert inflect("spin clockwise")[2] == "spinning clockwise"
