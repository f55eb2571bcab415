"""What a written text sounds like: its words, and for numbers, signs and abbreviations each way they may be said."""

import re
from dataclasses import dataclass

from tsd.prepare.pronunciation import is_english, pronounce

SAID = {
    "mr": ("mister",), "mrs": ("missus",), "dr": ("doctor", "drive"), "st": ("saint", "street"), "jr": ("junior",),
    "prof": ("professor",), "vs": ("versus",), "etc": ("et cetera",), "e.g": ("for example", "e g"),
    "i.e": ("that is", "i e"), "no": ("no", "number"), "co": ("company", "co"), "inc": ("incorporated", "inc"),
    "approx": ("approximately",), "dept": ("department",), "&": ("and",), "%": ("percent",), "+": ("plus",),
    "=": ("equals",), "@": ("at",),
}  # fmt: skip
"""English abbreviations (without their last dot) and signs."""

MONEY = {"$": "dollars", "€": "euros", "£": "pounds"}
ORDINARY = re.compile(r"[^\W\d_]+(?:['’-][^\W\d_]+)*['’]?")
"""A word of letters, perhaps with apostrophes or hyphens."""


@dataclass(frozen=True)
class Spoken:
    """One written word."""

    written: str
    """In lower case."""
    said: tuple[str, ...] = ()
    """Texts to be read by espeak-ng in its place, the likeliest first; empty: the word as a dictionary has it."""


def spoken_words(text: str, language: str = "en") -> list[Spoken]:
    """The words of a text in their order. Punctuation is dropped, hyphens and slashes part words.

    Numbers, signs, and what is written in capitals among small letters get several readings ("1984": as a number, as
    nineteen eighty-four, digit by digit). A text without a word that can be said gives [].
    """
    shouted = text.upper() == text
    found: list[Spoken] = []
    for token in re.sub(r"[-–—/_]+(?=[^\W\d_])|(?<=[^\W\d_])[-–—/_]+|[…\"“”„«»()\[\]{}*;:!?¿¡]", " ", text).split():
        plain = token.replace("’", "'").strip(".,'")
        lower = plain.lower()
        if not plain:
            continue
        if is_english(language) and lower in SAID:
            found.append(Spoken(lower, SAID[lower]))
        elif re.fullmatch(r"(?:[^\W\d_]\.)+[^\W\d_]", plain):  # U.S
            found.append(Spoken(lower, (" ".join(lower.split(".")),)))
        elif ORDINARY.fullmatch(plain):
            spelt = not shouted and plain.isupper() and 1 < len(plain) <= 5
            found.append(Spoken(lower, (lower, " ".join(lower)) if spelt else ()))
        elif any(c.isalnum() for c in plain):
            found.append(Spoken(lower, tuple(_number(lower, language))))
    return found


def _number(token: str, language: str) -> list[str]:
    """Readings of a token with digits."""
    sign = token[0] if token[0] in MONEY else ""
    digits = token.lstrip("$€£").replace(",", "") if is_english(language) else token
    readings = [digits]
    if sign and is_english(language):
        readings = [f"{digits} {MONEY[sign]}"]
    if digits.isdigit() and len(digits) == 4 and is_english(language) and not sign:
        readings.insert(0, f"{digits[:2]} {'hundred' if digits[2:] == '00' else digits[2:]}")
        if digits[2] == "0" and digits[3] != "0":
            readings.insert(1, f"{digits[:2]} o {digits[3]}")
    if digits.isdigit() and len(digits) > 2:
        readings.append(" ".join(digits))
    if digits.endswith("%") and is_english(language):
        readings = [f"{digits[:-1]} percent"]
    return readings


def readings(word: Spoken, language: str) -> list[list[str]]:
    """The phonemes of each reading: ARPABET from the dictionary or IPA from espeak-ng; those of no sound are left out.

    ValueError where espeak-ng is needed and missing, or has no such language.
    """
    texts = word.said or (word.written,)
    spoken = [[phoneme for part in pronounce(text.split(), language) for phoneme in part] for text in texts]
    return [phonemes for phonemes in spoken if phonemes]
