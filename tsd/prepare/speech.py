"""Synthesised speech with the time of every phoneme and word: espeak-ng through ctypes.

espeak-ng is GPL-3 and therefore an optional extra (``corpus``): the corpus and the phoneme tools use it,
training and the runtime never do.
"""

import _ctypes
import ctypes
import re
from dataclasses import dataclass

import numpy as np
from scipy.signal import resample_poly

from tsd.media.signals import SAMPLE_RATE

_FEMALE = "f1 f2 f3 f4 f5 Alicia Andrea Annie anika aunty belinda linda shelby steph steph2 steph3 grandma"
_MALE = (
    "m1 m2 m3 m4 m5 m6 m7 m8 Alex Andy Denis Diogo Gene Gene2 Henrique Hugo Jacky Lee Marco Mario Michael Mike Reed "
    "adam antonio benjamin boris caleb david ed edward edward2 gustave ian iven iven2 iven3 iven4 john marcelo max "
    "michel miguel norbert pablo paul pedro quincy rob robert sandro travis victor zac grandpa"
)
FEMALE, MALE = tuple(_FEMALE.split()), tuple(_MALE.split())
"""espeak-ng voice variants that sound like people (left out: whisper, croak, robots, and such)."""

LANGUAGES = ("en-us", "en-gb-scotland", "en-gb-x-rp", "de", "fr", "es", "it")

_RETRIEVAL, _PHONEME_EVENTS, _PHONEME_IPA, _DONT_EXIT = 1, 1, 2, 0x8000
_END, _WORD, _PHONEME = 0, 1, 7
_RATE, _PITCH, _RANGE = 1, 3, 4
_UTF8, _IPA = 1, 2
_MAX_CLOSURE, _QUIET = 0.09, 0.012


@dataclass(frozen=True)
class Voice:
    """Who speaks: espeak-ng language and variant, pitch and its range 0..99, rate in words a minute."""

    language: str
    variant: str
    pitch: int
    pitch_range: int
    rate: int

    def __str__(self) -> str:
        return f"{self.language}+{self.variant} pitch {self.pitch}/{self.pitch_range} rate {self.rate}"


@dataclass(frozen=True)
class Speech:
    """``wave`` float32 [N] at 16 kHz, peak 0.7; phonemes (start s, end s, IPA) and words (start s, end s, text)."""

    wave: np.ndarray
    phonemes: list[tuple[float, float, str]]
    words: list[tuple[float, float, str]]


class _Id(ctypes.Union):
    _fields_ = [("number", ctypes.c_int), ("name", ctypes.c_char_p), ("string", ctypes.c_char * 8)]


class _Event(ctypes.Structure):
    _fields_ = [
        ("type", ctypes.c_int),
        ("unique_identifier", ctypes.c_uint),
        ("text_position", ctypes.c_int),
        ("length", ctypes.c_int),
        ("audio_position", ctypes.c_int),
        ("sample", ctypes.c_int),
        ("user_data", ctypes.c_void_p),
        ("id", _Id),
    ]


_Callback = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.POINTER(_Event))


class _Engine:
    """The library, loaded afresh and with a fixed random seed, unloaded on exit.

    espeak-ng keeps state between sentences (timing and breath noise depend on what was said before); a fresh
    copy per sentence, 2 ms, is what makes the same words the same samples in any process and order.
    """

    def __enter__(self):
        try:
            import espeakng_loader
        except ImportError:
            raise ValueError(
                "espeakng_loader is not installed, which speaks and knows phonemes: "
                "run `pip install 'temposyncdiff[corpus]'`"
            ) from None
        self.lib = ctypes.CDLL(espeakng_loader.get_library_path())
        options = _PHONEME_EVENTS | _PHONEME_IPA | _DONT_EXIT
        self.rate = self.lib.espeak_Initialize(2, 0, espeakng_loader.get_data_path().encode(), options)
        self.lib.espeak_ng_SetRandSeed.argtypes = [ctypes.c_long]
        self.lib.espeak_ng_SetRandSeed(1)
        return self

    def __exit__(self, *_):
        self.lib.espeak_Terminate()
        if hasattr(_ctypes, "dlclose"):
            _ctypes.dlclose(self.lib._handle)

    def set_voice(self, name: str):
        if self.lib.espeak_SetVoiceByName(name.encode()) != 0:
            raise ValueError(f"espeak-ng has no voice {name!r}: use a language such as {', '.join(LANGUAGES)}")


def say(text: str, voice: Voice) -> Speech:
    """Speak ``text`` (words and spaces). The same text and voice always give the same samples and times.

    espeak-ng reports a voiceless stop at its burst; its start here is moved back over the silence of its
    closure, because that is when the lips (of p) are shut.
    """
    chunks, marks = [], []

    def receive(samples, count, events):
        if count > 0:
            chunks.append(np.ctypeslib.as_array(samples, (count,)).copy())
        i = 0
        while events[i].type != _END:
            event = events[i]
            name = event.id.string.decode() if event.type == _PHONEME else ""
            marks.append((event.type, event.sample, event.text_position - 1, event.length, name))
            i += 1
        return 0

    callback, data = _Callback(receive), text.encode()
    with _Engine() as engine:
        engine.lib.espeak_SetSynthCallback(callback)
        engine.set_voice(f"{voice.language}+{voice.variant}")
        for parameter, value in ((_RATE, voice.rate), (_PITCH, voice.pitch), (_RANGE, voice.pitch_range)):
            engine.lib.espeak_SetParameter(parameter, value, 0)
        engine.lib.espeak_Synth(data, len(data) + 1, 0, 1, 0, _UTF8, None, None)
    raw = np.concatenate(chunks).astype(np.float32)
    raw *= 0.7 / max(np.abs(raw).max(), 1.0)
    phonemes, words = _timed(marks, raw, engine.rate, text)
    divisor = np.gcd(engine.rate, SAMPLE_RATE)
    wave = resample_poly(raw, SAMPLE_RATE // divisor, engine.rate // divisor).astype(np.float32)
    return Speech(wave, phonemes, words)


def _timed(marks, raw: np.ndarray, rate: int, text: str):
    """Marks (type, sample, position, length, name) -> phonemes and words with start and end in seconds."""
    marks = [m for m in marks if m[0] in (_WORD, _PHONEME)]
    phonemes, spans, position = [], {}, 0
    for i, (kind, start, mark_position, _, name) in enumerate(marks):
        if kind == _WORD:
            position = mark_position
            continue
        end = marks[i + 1][1] if i + 1 < len(marks) else len(raw)
        if name.lstrip("ˈˌ")[:1] in ("p", "t", "k", "c"):
            start = _closure_start(raw, start, rate)
            if phonemes and phonemes[-1][1] > start:
                phonemes[-1][1] = max(start, phonemes[-1][0])
        if name and end > start:
            phonemes.append([start, end, name])
            spans[position] = (spans.get(position, (start,))[0], end)
    words = _share_spans(text, spans)
    return [(a / rate, b / rate, p) for a, b, p in phonemes], [(a / rate, b / rate, w) for a, b, w in words]


def _share_spans(text: str, spans: dict[int, tuple[int, int]]) -> list[tuple[float, float, str]]:
    """{position of a word in the text: (start, end)} -> a span for every word of the text.

    espeak-ng says some pairs ("of the") as one: such words share the span of the first by their letters.
    """
    groups = []
    for match in re.finditer(r"\S+", text):
        if match.start() in spans or not groups:
            groups.append((spans.get(match.start(), (0, 0)), []))
        groups[-1][1].append(match.group())
    words = []
    for (start, end), members in groups:
        edges = np.cumsum([0] + [len(m) for m in members]) / sum(map(len, members))
        words += [
            (float(start + (end - start) * a), float(start + (end - start) * b), m)
            for a, b, m in zip(edges[:-1], edges[1:], members, strict=True)
        ]
    return words


def _closure_start(raw: np.ndarray, burst: int, rate: int) -> int:
    """Where the silence before the sample ``burst`` begins, at most 90 ms earlier."""
    first = max(burst - int(_MAX_CLOSURE * rate), 0)
    loud = np.flatnonzero(np.abs(raw[first:burst]) > _QUIET)
    return first + int(loud[-1]) + 1 if len(loud) else first


def phonemes_of(words: list[str], language: str = "en") -> list[list[str]]:
    """The phonemes (IPA) of each word in ``language``, one list per word."""
    with _Engine() as engine:
        engine.set_voice(language)
        translate = engine.lib.espeak_TextToPhonemes
        translate.restype = ctypes.c_char_p
        # bits 8-23: the separator between phonemes; bit 1: IPA
        mode = (ord("_") << 8) | _IPA
        spoken = []
        for word in words:
            pointer, parts = ctypes.c_char_p(word.lower().encode()), []
            while pointer.value is not None:
                parts += (translate(ctypes.byref(pointer), _UTF8, mode) or b"").decode().replace(" ", "_").split("_")
            spoken.append([p for p in parts if p])
    return spoken
