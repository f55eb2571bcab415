"""Phonemes to mouth shapes: the table, frames, words, and the moving mouth."""

import builtins
import time

import numpy as np
import pytest

from tsd.clip import FPS, VISEMES
from tsd.prepare.drawn.acting import MOUTH, mouth_track
from tsd.prepare.speech import LANGUAGES, MALE, Voice, phonemes_of, say
from tsd.prepare.visemes import PHONEME_TO_VISEME, phoneme_visemes, visemes_from_events, visemes_from_words

OPEN, TUCK = MOUTH.index("open"), MOUTH.index("tuck")


def names(phoneme):
    return [VISEMES[i] for i in phoneme_visemes(phoneme)]


@pytest.mark.parametrize(
    "phoneme, shapes",
    [
        ("p", ["PP"]),
        ("ˈeɪ", ["E", "ih"]),
        ("əl", ["E", "nn"]),
        ("pf", ["PP", "FF"]),
        ("tʃ", ["CH"]),
        ("ˈiː", ["ih"]),
        ("ɔ̃", ["oh"]),
        ("AA1", ["aa"]),
        ("NG", ["kk"]),
        ("", ["sil"]),
        ("sil", ["sil"]),
    ],
)
def test_phonemes_have_the_expected_shapes(phoneme, shapes):
    assert names(phoneme) == shapes


def test_every_shape_but_silence_has_phonemes():
    assert {VISEMES[i] for i in PHONEME_TO_VISEME.values()} == set(VISEMES) - {"sil"}


def test_soft_visemes_are_shares_of_the_frame():
    soft = visemes_from_events([(0.0, 0.05, "m"), (0.05, 0.10, "ɑː")], 4)
    expected = np.zeros((4, len(VISEMES)), np.float32)
    pp, aa, sil = (VISEMES.index(n) for n in ("PP", "aa", "sil"))
    expected[0, pp], expected[1, pp], expected[1, aa], expected[2, aa], expected[2, sil] = 1, 0.25, 0.75, 0.5, 0.5
    expected[3, sil] = 1
    np.testing.assert_allclose(soft, expected, atol=1e-5)


def test_soft_visemes_sum_to_one_whatever_the_events():
    rng = np.random.default_rng(0)
    starts = rng.uniform(-0.2, 2.2, 60)
    events = [(s, s + rng.uniform(0, 0.3), str(rng.choice(["p", "a", "tʃ", "?", ""]))) for s in starts]
    soft = visemes_from_events(events, 50)
    np.testing.assert_allclose(soft.sum(1), 1, atol=1e-5)
    assert soft.min() >= 0


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_phoneme_that_is_spoken_is_known(language):
    text = {
        "en": "judge the measure of yellow things and hush father worth many boys",
        "de": "euch zwölf hübsche Pferde singen über große Würmer",
        "fr": "un bon vin blanc huit agneaux peur brune feu",
        "es": "el niño llama quince jarras rojas bonitas",
        "it": "gli gnocchi scelti pizza azzurra già",
    }[language[:2]]
    speech = say(text, Voice(language, "m3", 50, 50, 160))
    unknown = [p for _, _, p in speech.phonemes if not phoneme_visemes(p)]
    assert not unknown
    assert [w for _, _, w in speech.words] == text.split()


def test_speech_repeats_itself_whatever_was_said_before():
    voice = Voice("en-us", "f2", 60, 50, 150)
    first = say("maybe five people", voice)
    say("etwas anderes", Voice("de", "m1", 30, 50, 170))
    time.sleep(1.1)  # the library seeds itself by the clock, in seconds
    again = say("maybe five people", voice)
    np.testing.assert_array_equal(first.wave, again.wave)
    assert first.phonemes == again.phonemes
    assert first.wave.dtype == np.float32
    assert 0.5 < np.abs(first.wave).max() <= 0.75


def test_times_of_vowels_lie_where_the_sound_is_loud():
    speech = say("maybe the boat moves five paper apples", Voice("en-us", MALE[0], 50, 50, 150))
    energy = {"vowel": [], "closure": []}
    for start, end, phoneme in speech.phonemes:
        span = speech.wave[int((start + 0.2 * (end - start)) * 16000) : int((start + 0.6 * (end - start)) * 16000)]
        kind = "vowel" if names(phoneme)[0] in ("aa", "E", "oh", "ou") else "closure" if phoneme == "p" else None
        if kind:
            energy[kind].append(float(np.sqrt((span**2).mean())))
    assert np.median(energy["vowel"]) > 10 * np.median(energy["closure"])


def test_an_unknown_voice_and_a_missing_extra_say_what_to_do(monkeypatch):
    with pytest.raises(ValueError, match="no voice 'xx"):
        phonemes_of(["word"], "xx-none")
    real_import = builtins.__import__

    def without(name, *args, **kwargs):
        if name == "espeakng_loader":
            raise ImportError
        return real_import(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ValueError, match="pip install"):
        visemes_from_words([("word", 0.0, 0.5)], 20)


def test_words_spread_their_phonemes_over_their_time():
    soft = visemes_from_words([("mama", 0.2, 0.8)], 25)
    assert np.all(soft[:5, VISEMES.index("sil")] == 1)
    assert np.all(soft[20:, VISEMES.index("sil")] == 1)
    assert [VISEMES[i] for i in soft.argmax(1)][5] == "PP"
    assert np.all(soft[5:20, VISEMES.index("sil")] < 1e-3)


def test_lips_shut_for_every_bilabial_and_tuck_for_every_labiodental():
    speech = say("maybe the paper boat moves five brave people by the beach", Voice("en-us", "f2", 50, 50, 185))
    track = mouth_track(speech.phonemes, 90)
    for start, end, phoneme in speech.phonemes:
        frames = slice(int(start * FPS), int(np.ceil(end * FPS)))
        if phoneme in ("p", "b", "m"):
            assert track[frames, OPEN].min() == 0
        if phoneme in ("f", "v"):
            assert track[frames, TUCK].max() == 1
    assert track[:, OPEN].max() > 0.4


def test_the_mouth_never_acts_more_than_two_frames_ahead():
    early = [(0.2, 0.4, "ɑː")]
    late = [*early, (0.8, 1.0, "uː")]
    a, b = mouth_track(early, 40), mouth_track(late, 40)
    changed = np.flatnonzero(np.abs(a - b).max(1) > 1e-6)
    assert changed.min() == int(0.8 * FPS) - 2
