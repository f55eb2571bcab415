"""When each sound of a known sentence is said: forced alignment by pocketsphinx (BSD-2; its English model is in its
wheel). For clear speech of people: synthesised voices, song and noise align badly or not at all."""

from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec

import numpy as np

from tsd.prepare.pronunciation import is_english, pronounce, to_arpabet
from tsd.prepare.recording import Words

TICK = 0.01
"""Seconds of pocketsphinx's frames."""

LONGEST = 60.0
"""Seconds of one alignment: longer recordings wander off."""


@dataclass(frozen=True)
class Alignment:
    """Phonemes (start s, end s, ARPABET, "" for silence) that follow each other, and words (word, start s, end s)."""

    phonemes: list[tuple[float, float, str]]
    words: Words


def can_align(language: str) -> bool:
    """Whether pocketsphinx is installed (extra ``alignment``) and has a model of the language."""
    return is_english(language) and find_spec("pocketsphinx") is not None


@cache
def _decoder():
    from pocketsphinx import Decoder

    # bestpath re-scores words so that single sounds may get impossibly short times; the second pass then fails
    return Decoder(lm=None, bestpath=False, beam=1e-80, pbeam=1e-80, wbeam=1e-60, loglevel="FATAL")


def align(wave: np.ndarray, text: str, language: str = "en") -> Alignment | None:
    """float32 [N] at 16 kHz and what is said in it -> its sounds; None where text and sound do not fit.

    Words that the dictionary lacks are spelt by espeak-ng.
    """
    words = "".join(c if c.isalpha() or c in "' " else " " for c in text.lower().replace("’", "'")).split()
    if not words or not len(wave) or len(wave) * TICK / 160 > LONGEST:
        return None
    decoder = _decoder()
    try:
        for word in sorted({word for word in words if decoder.lookup_word(word) is None}):
            decoder.add_word(word, " ".join(to_arpabet(pronounce([word], language)[0])))
        decoder.set_align_text(" ".join(words))
        _listen(decoder, wave)
        if decoder.hyp() is None:
            return None
        decoder.set_alignment()
        _listen(decoder, wave)
        return _result(decoder.get_alignment())
    except (RuntimeError, ValueError):
        return None


def _listen(decoder, wave: np.ndarray) -> None:
    decoder.start_utt()
    decoder.process_raw((np.clip(wave, -1, 1) * 32767).astype("<i2").tobytes(), full_utt=True)
    decoder.end_utt()


def _result(alignment) -> Alignment:
    phonemes, words = [], []
    for word in alignment:
        if not word.name.startswith(("<", "[", "+")):
            start, length = word.start * TICK, word.duration * TICK
            words.append((word.name.partition("(")[0], round(start, 2), round(start + length, 2)))
        for phone in word:
            name = "" if phone.name == "SIL" or phone.name.startswith("+") else phone.name
            phonemes.append((phone.start * TICK, (phone.start + phone.duration) * TICK, name))
    return Alignment(phonemes, tuple(words))
