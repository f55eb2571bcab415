"""Phonemes to mouth shapes: the table, timed phonemes to soft per-frame visemes, timed words to visemes."""

import numpy as np

from tsd.media.signals import FPS, PHONEMES, VISEMES
from tsd.prepare.pronunciation import to_arpabet

_SYMBOLS = {
    "PP": "p b m M B P ɓ",
    "FF": "f v F V ɱ ʋ",
    "TH": "θ ð TH DH",
    "DD": "t d T D ɗ ʈ ɖ ɾ DX",
    "kk": "k g ɡ K G x ɣ q ɢ χ h ɦ ħ HH ŋ NG c ɟ ç ʔ X β",
    "CH": "tʃ dʒ ʃ ʒ CH JH SH ZH ɕ ʑ ʂ ʐ tɕ dʑ",
    "SS": "s z S Z ts dz",
    "nn": "n l N L ɲ ʎ ɫ ɭ ɳ EL EN ɬ",
    "RR": "r ɹ R ʀ ʁ ɻ ɽ ɚ ɝ ER AXR ɜ",
    "aa": "a ɑ ɐ ʌ AA AH æ AE ɒ̃ ɑ̃ ã",
    "E": "e ɛ ə EH AX EY ø œ ɛ̃ œ̃ ẽ ɘ ɵ ᵊ",
    "ih": "i ɪ IH IY j y Y ʏ ɨ IX ᵻ",
    "oh": "o ɔ ɒ AO OW OY ɔ̃ õ ɤ",
    "ou": "u ʊ UW UH w W ʉ ɯ ɥ UX ʍ",
}
_ROUNDED = {"y": "ou", "ʏ": "ou", "ø": "oh", "œ": "oh", "œ̃": "oh", "β": "PP", "AW": "aa", "AY": "aa"}

PHONEME_TO_VISEME: dict[str, int] = {
    symbol: VISEMES.index(name) for name, symbols in _SYMBOLS.items() for symbol in symbols.split()
} | {symbol: VISEMES.index(name) for symbol, name in _ROUNDED.items()}
"""IPA letters as espeak-ng writes them, and ARPABET in capitals -> index into VISEMES. Our choice after the
15 classes of the Oculus viseme reference; rounded front vowels go by their lips, not by their tongue."""

VOWELS = frozenset(VISEMES.index(name) for name in ("aa", "E", "ih", "oh", "ou"))
SILENCE = VISEMES.index("sil")

_LONGEST = max(map(len, PHONEME_TO_VISEME))


def phoneme_visemes(phoneme: str) -> list[int]:
    """The mouth shapes of one phoneme in turn: ``eɪ`` -> [E, ih], ``əl`` -> [E, nn], "" -> [sil].

    Stress, length and other marks are skipped; ARPABET stress digits too. Letters unknown to the table
    give nothing, so a phoneme of only such letters gives [] and the mouth keeps moving between neighbours.
    """
    if phoneme.strip("_:|") == "" or phoneme in ("sil", "sp", "SIL", "SP"):
        return [SILENCE]
    if phoneme.rstrip("012") in PHONEME_TO_VISEME:
        return [PHONEME_TO_VISEME[phoneme.rstrip("012")]]
    shapes, i = [], 0
    while i < len(phoneme):
        for length in range(min(_LONGEST, len(phoneme) - i), 0, -1):
            if (symbol := phoneme[i : i + length]) in PHONEME_TO_VISEME:
                shapes.append(PHONEME_TO_VISEME[symbol])
                break
        i += length
    return shapes


def viseme_events(events: list[tuple[float, float, str]]) -> list[tuple[float, float, int]]:
    """(start s, end s, phoneme) -> (start s, end s, viseme index): diphthongs and clusters share their time."""
    shaped = []
    for start, end, phoneme in events:
        shapes = phoneme_visemes(phoneme)
        step = (end - start) / max(len(shapes), 1)
        shaped += [(start + i * step, start + (i + 1) * step, shape) for i, shape in enumerate(shapes)]
    return shaped


def visemes_from_events(events: list[tuple[float, float, str]], num_frames: int) -> np.ndarray:
    """Timed phonemes (seconds) -> float32 [T, V]: the share of each frame's 40 ms that each viseme fills.

    Rows sum to 1: time that no phoneme covers is ``sil``. Overlapping events share their frame in proportion.
    """
    return _shares(viseme_events(events), num_frames, len(VISEMES))


def phonemes_from_events(events: list[tuple[float, float, str]], num_frames: int) -> np.ndarray:
    """Timed phonemes in ARPABET or IPA -> float32 [T, P]: the share of each frame that each of PHONEMES fills, as in
    ``visemes_from_events``; sounds that English lacks count as their nearest."""
    timed = []
    for start, end, phoneme in events:
        names = [phoneme] if phoneme in PHONEMES else to_arpabet([phoneme], nearest=True) or [PHONEMES[0]]
        step = (end - start) / len(names)
        timed += [(start + i * step, start + (i + 1) * step, PHONEMES.index(name)) for i, name in enumerate(names)]
    return _shares(timed, num_frames, len(PHONEMES))


def _shares(events: list[tuple[float, float, int]], num_frames: int, num_classes: int) -> np.ndarray:
    """(start s, end s, class) -> float32 [T, classes] that sum to 1; class 0 is silence and has what is left."""
    soft = np.zeros((num_frames, num_classes), np.float32)
    for start, end, shape in events:
        first, last = max(int(start * FPS), 0), min(int(np.ceil(end * FPS)), num_frames)
        for t in range(first, last):
            soft[t, shape] += max(min(end * FPS, t + 1) - max(start * FPS, t), 0.0)
    covered = soft.sum(1)
    soft[:, 0] += np.maximum(1 - covered, 0)
    return soft / np.maximum(covered, 1)[:, None]


def visemes_from_words(words: list[tuple[str, float, float]], num_frames: int, language: str = "en") -> np.ndarray:
    """Timed words (word, start s, end s) -> [T, V], for real clips whose transcript has word times.

    The phonemes of each word fill its time; vowels get twice the share of consonants. Needs the optional
    extra ``corpus`` (espeak-ng); ValueError says so where it is missing.
    """
    from tsd.prepare.speech import phonemes_of

    events = []
    for (_, start, end), phonemes in zip(words, phonemes_of([w for w, _, _ in words], language), strict=True):
        shares = [2.0 if any(v in VOWELS for v in phoneme_visemes(p)) else 1.0 for p in phonemes]
        edges = start + (end - start) * np.concatenate([[0], np.cumsum(shares)]) / max(sum(shares), 1)
        events += [(float(a), float(b), p) for a, b, p in zip(edges[:-1], edges[1:], phonemes, strict=True)]
    return visemes_from_events(events, num_frames)
