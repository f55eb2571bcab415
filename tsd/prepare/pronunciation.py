"""How words are said: a dictionary for English (it comes with pocketsphinx), espeak-ng for all other words."""

from functools import cache
from importlib.util import find_spec
from pathlib import Path

IPA_TO_ARPABET = {
    "AA": "ɑ ɑː ɒ", "AE": "æ a", "AH": "ʌ ə ɐ ᵻ", "AO": "ɔ ɔː oː", "AW": "aʊ", "AY": "aɪ", "B": "b", "CH": "tʃ",
    "D": "d", "DH": "ð", "EH": "ɛ e", "ER": "ɜː ɚ ɜ əɹ", "EY": "eɪ", "F": "f", "G": "ɡ g", "HH": "h x", "IH": "ɪ",
    "IY": "i iː", "JH": "dʒ", "K": "k", "L": "l ɫ", "M": "m", "N": "n", "NG": "ŋ", "OW": "oʊ əʊ o", "OY": "ɔɪ",
    "P": "p", "R": "ɹ r", "S": "s", "SH": "ʃ", "T": "t ɾ ʔ", "TH": "θ", "UH": "ʊ", "UW": "u uː", "V": "v", "W": "w",
    "Y": "j", "Z": "z", "ZH": "ʒ",
}  # fmt: skip
"""The sounds of pocketsphinx's English model and the letters that espeak-ng writes for them."""

NEAREST = {
    "AA": "ɑ̃ a ɶ", "AE": "æ̃", "AO": "ɔ̃ õ ɒ̃", "AH": "ɵ ᵊ", "CH": "tɕ", "D": "ɖ ɗ", "EH": "œ ɛ̃ œ̃ ẽ ɛː", "ER": "ø øː ɘ",
    "EY": "eː", "HH": "ɦ ħ", "IY": "y yː ɨ", "IH": "ʏ", "JH": "dʑ", "K": "q c", "L": "ʎ ɭ", "N": "ɲ ɳ", "G": "ɣ",
    "R": "ʁ ʀ ɾ ɻ ɽ", "S": "ts", "SH": "ç ɕ ʂ x χ", "T": "ʈ", "V": "ʋ β", "W": "ɥ ʍ", "Z": "dz", "ZH": "ʑ ʐ",
    "UW": "ʉ ɯ", "OW": "ɤ",
}  # fmt: skip
"""Sounds that English lacks, each beside the English one that an English acoustic model takes it for. Our choice."""

ARPABET = frozenset(IPA_TO_ARPABET)
_ARPABET = {symbol: phone for phone, symbols in IPA_TO_ARPABET.items() for symbol in symbols.split()}
_FOREIGN = {symbol: phone for phone, symbols in NEAREST.items() for symbol in symbols.split()} | _ARPABET
_MARKS = str.maketrans("", "", "ˈˌ̩ ")


def is_english(language: str) -> bool:
    """Whether the English dictionary and acoustic model may be used for espeak-ng's language ``language``."""
    return language.split("-")[0] == "en"


@cache
def english_dictionary() -> dict[str, tuple[str, ...]]:
    """CMUdict's first pronunciation of each word in lower case, ARPABET without stress; empty without pocketsphinx."""
    if find_spec("pocketsphinx") is None:
        return {}
    from pocketsphinx import get_model_path

    lines = Path(get_model_path("en-us/cmudict-en-us.dict")).read_text(encoding="utf-8").splitlines()
    return {word: tuple(phones) for word, *phones in (line.split() for line in lines if line) if "(" not in word}


def pronounce(words: list[str], language: str = "en") -> list[list[str]]:
    """The phonemes of each word, ARPABET from the dictionary or IPA from espeak-ng (any of its languages).

    ValueError where a word needs espeak-ng and the extra is missing, or it has no such language.
    """
    from tsd.prepare.speech import phonemes_of

    known = english_dictionary() if is_english(language) else {}
    plain = [word.lower().strip("'\".,;:!?()-") for word in words]
    unknown = [word for word in plain if word not in known]
    spoken = dict(zip(unknown, phonemes_of(unknown, language), strict=True)) if unknown else {}
    return [list(known[word]) if word in known else spoken[word] for word in plain]


def to_arpabet(phonemes: list[str], nearest: bool = False) -> list[str]:
    """IPA as espeak-ng writes it -> ARPABET; sounds that English lacks are left out, or become their nearest."""
    phones, table = [], _FOREIGN if nearest else _ARPABET
    for phoneme in phonemes:
        rest = phoneme.translate(_MARKS)
        while rest:
            length = next((n for n in (3, 2, 1) if rest[:n] in table), 0)
            if length:
                phones.append(table[rest[:length]])
            rest = rest[max(length, 1) :]
    return phones
