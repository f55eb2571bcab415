"""When each sound of a known sentence is said: forced alignment by pocketsphinx (BSD-2; its English model is in its
wheel). For clear speech of people: synthesised voices, song and noise align badly or not at all.

Other languages are aligned by the same English model: espeak-ng says how their words sound, and each sound stands for
the English one next to it (``pronunciation.NEAREST``).
"""

from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec

import numpy as np

from tsd.prepare.pronunciation import ARPABET, is_english, to_arpabet
from tsd.prepare.reading import Spoken, readings, spoken_words
from tsd.prepare.recording import Words

TICK = 0.01
"""Seconds of pocketsphinx's frames."""

LONGEST = 60.0
"""Seconds of one alignment: longer recordings wander off."""

QUIET = 0.1
"""Peak up to which a recording is made louder for the decoder, which hears 16 bits."""

LEAST_FIT, LEAST_FIT_FOREIGN = -32.0, -40.0
"""Mean acoustic score of a tick below which the text is not what is said: English, and other languages, whose sounds
the model only resembles. Right texts had -9 to -31 (English), -13 to -37 (German, Dutch), wrong ones -29 to -75 and -41
to -73 where they could be aligned at all."""


class Unfit(ValueError):
    """Why a text could not be aligned to a sound."""


@dataclass(frozen=True)
class Alignment:
    """Phonemes (start s, end s, ARPABET or IPA, "" for silence) that follow each other, and words (word, start s,
    end s)."""

    phonemes: list[tuple[float, float, str]]
    words: Words
    fit: float = 0.0
    """Mean acoustic score of a tick (10 ms) in which somebody speaks; 0 is the best there is."""


def can_align(language: str) -> bool:
    """Whether pocketsphinx (extra ``alignment``) is installed, and for languages other than English espeak-ng."""
    needed = ["pocketsphinx"] if is_english(language) else ["pocketsphinx", "espeakng_loader"]
    return all(find_spec(name) is not None for name in needed)


@cache
def _decoder():
    from pocketsphinx import Decoder

    # bestpath re-scores words so that single sounds may get impossibly short times; the second pass then fails
    return Decoder(lm=None, bestpath=False, beam=1e-80, pbeam=1e-80, wbeam=1e-60, loglevel="FATAL")


def fitted(wave: np.ndarray, text: str, language: str = "en") -> Alignment:
    """float32 [N] at 16 kHz and what is said in it -> its sounds. Unfit says why there are none.

    Numbers, signs and abbreviations may be said in any of their readings. ValueError where espeak-ng is needed for a
    word and is missing.
    """
    words = spoken_words(text, language)
    if not words:
        raise Unfit("has an empty text" if not text.strip() else "the text holds no word that can be said")
    if not len(wave):
        raise Unfit("has no sound")
    if len(wave) * TICK / 160 > LONGEST:
        raise Unfit(f"is longer than {LONGEST:g} s, which one text cannot be aligned to; cut it into sentences")
    decoder, spelt = _decoder(), {}
    names = [_teach(decoder, word, language, spelt) for word in words]
    try:
        decoder.set_align_text(" ".join(names))
        _listen(decoder, wave)
        if decoder.hyp() is None:
            raise Unfit("the text does not fit what is said")
        decoder.set_alignment()
        _listen(decoder, wave)
        found = _result(decoder.get_alignment(), dict(zip(names, (word.written for word in words), strict=True)), spelt)
    except RuntimeError as error:
        raise Unfit("the text does not fit what is said") from error
    if found.fit < (LEAST_FIT if is_english(language) else LEAST_FIT_FOREIGN):
        raise Unfit(f"the text does not fit what is said (score {found.fit:.0f})")
    return found


def _teach(decoder, word: Spoken, language: str, spelt: dict[str, list[str]]) -> str:
    """The word's name in the decoder's dictionary, where every reading of it is entered; ``spelt`` receives the
    phonemes of those that espeak-ng spelt, by the name of the reading."""
    plain = is_english(language) and not word.said
    name = word.written if plain else f"{language}:{word.written}".replace("(", "").replace(")", "")
    if plain and decoder.lookup_word(name) is not None:
        return name
    found = [phonemes for phonemes in readings(word, language) if _phones(phonemes)]
    if not found:
        raise Unfit(f"nobody knows how {word.written!r} is said")
    for number, phonemes in enumerate(found, 1):
        reading = name if number == 1 else f"{name}({number})"
        spelt[reading] = phonemes
        if decoder.lookup_word(reading) is None:
            decoder.add_word(reading, " ".join(_phones(phonemes)))
    return name


def _phones(phonemes: list[str]) -> list[str]:
    """ARPABET of phonemes in ARPABET or IPA."""
    return [phone for phoneme in phonemes for phone in _one(phoneme)]


def _one(phoneme: str) -> list[str]:
    return [phoneme] if phoneme in ARPABET else to_arpabet([phoneme], nearest=True)


def _listen(decoder, wave: np.ndarray) -> None:
    peak = float(np.abs(wave).max(initial=0))
    if 0 < peak < QUIET:
        wave = wave * (QUIET / peak)  # else what is quiet is lost in the rounding
    decoder.start_utt()
    decoder.process_raw((np.clip(wave, -1, 1) * 32767).astype("<i2").tobytes(), full_utt=True)
    decoder.end_utt()


def _result(alignment, written: dict[str, str], spelt: dict[str, list[str]]) -> Alignment:
    phonemes, words, score, ticks = [], [], 0, 0
    for word in alignment:
        phones = [(phone.start * TICK, (phone.start + phone.duration) * TICK, phone.name) for phone in word]
        silent = word.name.startswith(("<", "[", "+")) or all(_is_silence(name) for _, _, name in phones)
        if silent:
            phonemes += [(start, end, "") for start, end, _ in phones]
            continue
        score += sum(phone.score for phone in word)
        ticks += sum(phone.duration for phone in word)
        name = word.name.partition("(")[0]
        words.append((written.get(name, name), round(phones[0][0], 2), round(phones[-1][1], 2)))
        phonemes += _as_spelt(phones, spelt.get(word.name, []))
    return Alignment(phonemes, tuple(words), score / max(ticks, 1))


def _is_silence(name: str) -> bool:
    return name == "SIL" or name.startswith("+")


def _as_spelt(phones: list[tuple], spelt: list[str]) -> list[tuple[float, float, str]]:
    """Timed ARPABET phones under the names of the phonemes they stand for: lips of a sound that English lacks are that
    sound's own."""
    counts = [len(_one(phoneme)) for phoneme in spelt]
    if sum(counts) != len(phones):
        return phones
    named, place = [], 0
    for phoneme, count in zip(spelt, counts, strict=True):
        if count:
            named.append((phones[place][0], phones[place + count - 1][1], phoneme))
        place += count
    return named
