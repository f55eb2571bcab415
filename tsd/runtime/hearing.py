"""Streaming viseme recognition: sound in pieces of any size gives the same visemes as the whole recording."""

from collections.abc import Iterable, Iterator
from copy import copy
from typing import Protocol

import numpy as np

from tsd.media.audio import HOP, SAMPLES_PER_FRAME, WINDOW, as_samples, log_mel
from tsd.media.loudness import MEMORY, band_levels, relative_loudness
from tsd.media.signals import (
    FPS,
    HEARS,
    LOUDNESS,
    MELS,
    MELS_PER_FRAME,
    SAMPLE_RATE,
    VISEME_FUTURE,
    VISEME_PAST,
    VISEMES,
    windows_of,
)
from tsd.runtime.arrays import array, given, no_gradients

MARGIN = (WINDOW - HOP) // 2
"""Samples after a frame's own that its last log-mel column needs."""


LIVE_WAIT = 3
"""Frames of sound that live speech awaits after a frame. Our choice: on 14 public clips what is heard of a frame's lips
then agrees at r 0.99 with what is heard with all sound (0.97 with two frames), of its viseme in 95 % (88 %)."""


class Recogniser(Protocol):
    """A ``VisemeNet`` or its graph: ``listen`` hears the next frames of a stream, and says what was spoken
    ``look_ahead`` frames before them."""

    look_ahead: int
    memory_size: int

    def listen(self, mel, memory) -> tuple: ...


def look_ahead_ms(recogniser: Recogniser, wait: int | None = None) -> float:
    """Lookahead: milliseconds of sound after a frame's own 40 ms that are needed before the frame can be generated.
    ``wait``: see ``Hearing``."""
    return waited(recogniser, wait) * 1000 / FPS + 1000 * MARGIN / SAMPLE_RATE


def waited(recogniser: Recogniser, wait: int | None) -> int:
    """Frames of sound that are awaited after a frame. ValueError for what cannot be."""
    most, least = recogniser.look_ahead + VISEME_FUTURE, max(VISEME_FUTURE, recogniser.look_ahead - VISEME_PAST)
    if wait is not None and not (isinstance(wait, int) and least <= wait <= most):
        raise ValueError(f"wait={wait}: frames of sound that are awaited, {least} to {most}, or null for all {most}")
    return most if wait is None else wait


def output(recogniser: Recogniser, mel: np.ndarray) -> np.ndarray:
    """What the recogniser says of log-mel [T * MELS_PER_FRAME, MELS]: float32 [T, V], or [T, V + 1] with the
    ``openness`` of the lips."""
    return Listener(recogniser).listen(np.concatenate([mel, beyond(recogniser, mel)]))


def probabilities(heard: np.ndarray) -> np.ndarray:
    """The recogniser's output [T, V or more] -> viseme probabilities float32 [T, V]."""
    logits = heard[:, : len(VISEMES)]
    powers = np.exp(logits - logits.max(-1, keepdims=True))
    return powers / powers.sum(-1, keepdims=True)


def hear(recogniser: Recogniser, mel: np.ndarray, hears: str = "visemes") -> np.ndarray:
    """Log-mel [T * MELS_PER_FRAME, MELS] of a whole recording -> what a denoiser hears of it, [T, HEARS[hears]]."""
    heard = output(recogniser, mel)
    return np.concatenate([probabilities(heard), beside(heard, mel, hears)], -1)


def saying(recogniser: Recogniser, visemes: np.ndarray, mel: np.ndarray, hears: str) -> np.ndarray:
    """As ``hear``, where the visemes [T, V] are known."""
    heard = output(recogniser, mel) if hears == "visemes_lips" else visemes
    return np.concatenate([visemes, beside(heard, mel, hears)[: len(visemes)]], -1)


def beside(heard: np.ndarray, mel: np.ndarray, hears: str, before: np.ndarray | None = None) -> np.ndarray:
    """What a denoiser hears beside visemes, LIPS or LOUDNESS [T, n], of the recogniser's output [T, V + 1] and the
    log-mel [T * MELS_PER_FRAME, MELS]; nothing [T, 0] where it hears visemes alone. ``before``: as in
    ``relative_loudness``."""
    if hears == "visemes":
        return heard[:, :0]
    if hears != "visemes_lips":
        return relative_loudness(band_levels(mel), before)
    if heard.shape[-1] == len(VISEMES):
        raise ValueError(
            "this student follows lips, but the recogniser does not say how far they are open: "
            "take the recogniser that was released with it"
        )
    opened = np.maximum(heard[:, len(VISEMES) :], 0)
    return np.concatenate([opened, np.ones_like(opened)], -1)


class Listener:
    """A recogniser along one stream of log-mel; what was heard lies in its memory."""

    def __init__(self, recogniser: Recogniser):
        self.recogniser, self.early = recogniser, recogniser.look_ahead
        """Outputs still to come that lie before the first frame."""
        self.memory = np.zeros((1, recogniser.memory_size), np.float32)

    def listen(self, mel: np.ndarray) -> np.ndarray:
        """The next columns [n * MELS_PER_FRAME, MELS] -> float32 [n, V or V + 1] of the frames that are known with
        them, fewer at the start of the stream."""
        with no_gradients():
            heard, memory = self.recogniser.listen(given(mel[None]), given(self.memory))
        self.memory, early = array(memory), self.early
        self.early = max(0, early - heard.shape[1])
        return array(heard)[0, early:]


def beyond(recogniser: Recogniser, mel: np.ndarray) -> np.ndarray:
    """What the recogniser hears beyond the end of a sound: its last column, for the lookahead of the last frames."""
    return np.repeat(mel[-1:], recogniser.look_ahead * MELS_PER_FRAME, 0)


class Hearing:
    """State of one sound stream: its last seconds, however long the stream is.

    ``chunk``: the net runs once so many frames are ready; the results do not depend on it. ``hears``: one of
    ``clip.HEARS``; visemes below are what it names. ``wait``: frames of sound after a frame that are awaited; None: all
    that the nets look ahead. With fewer a frame is ready earlier, and what is not there yet is heard as if the sound
    held its last 10 ms, as at the end of a recording; later frames hear what came. Our addition.
    """

    def __init__(self, recogniser: Recogniser, chunk: int = 1, hears: str = "visemes", wait: int | None = None):
        self.listener, self.chunk, self.hears = Listener(recogniser), chunk, hears
        self.wait, self.hasty = waited(recogniser, wait), wait is not None and wait < waited(recogniser, None)
        self.frames, self.given = 0, 0
        """Frames whose sound is there, and those whose windows have been given out."""
        self.levels = np.zeros((0, len(LOUDNESS)), np.float32)
        """Of the last frames of which visemes are known: what the loudness of later ones is measured in."""
        self.wave = np.zeros(0, np.float32)
        """Samples from one frame before the next log-mel column on."""
        self.begun = False
        """Whether ``wave`` begins with a frame whose columns are known already."""
        self.mel = np.zeros((0, MELS), np.float32)
        """Columns of the frames whose visemes are not known yet."""
        self.listened = 0
        """Columns of ``mel`` that the recogniser has heard."""
        self.visemes = np.zeros((VISEME_PAST, HEARS[hears]), np.float32)
        """Those that windows still need: the last ones whose future was known, and all after them."""

    def push(self, wave: np.ndarray) -> np.ndarray:
        """The next samples float32 [N] -> viseme windows [n, W, V] of the frames whose lookahead is now complete. n is
        a multiple of ``chunk``, so that the net sees few different shapes."""
        self.wave = np.concatenate([self.wave, wave])
        self._listen((len(self.wave) - MARGIN) // SAMPLES_PER_FRAME)
        ready = self.frames - self.wait - self.given
        if ready < self.chunk:
            return self._windows(0)
        self._recognise()
        return self._windows(ready // self.chunk * self.chunk, self._expected() if self.hasty else None)

    def finish(self) -> np.ndarray:
        """The end of the stream: windows [n, W, V] of the frames that were still waiting for sound."""
        self._listen(-(-len(self.wave) // SAMPLES_PER_FRAME))
        if len(self.mel):
            self._recognise(end=True)
        return self._windows(self.frames - self.given)

    def _listen(self, frames: int) -> None:
        """Log-mel columns of the first ``frames`` frames of ``wave``; the very last of these stays as a neighbour."""
        before = int(self.begun)  # the frame before the next one, kept for the columns' left margin
        if frames <= before:
            return
        columns = log_mel(self.wave[: frames * SAMPLES_PER_FRAME + MARGIN])
        self.mel = np.concatenate([self.mel, columns[before * MELS_PER_FRAME : frames * MELS_PER_FRAME]])
        self.frames += frames - before
        self.wave, self.begun = self.wave[(frames - 1) * SAMPLES_PER_FRAME :], True

    def _recognise(self, end: bool = False) -> None:
        """Visemes of the frames that can be known by now; forgets their columns."""
        fresh = self.mel[self.listened :]
        if end:
            fresh = np.concatenate([fresh, beyond(self.listener.recogniser, self.mel)])
        heard = self.listener.listen(fresh)
        known = len(heard) * MELS_PER_FRAME
        mel, self.mel = self.mel[:known], self.mel[known:]
        self.listened = len(self.mel)
        self.visemes = np.concatenate([self.visemes, self._said(heard, mel)])
        self.levels = np.concatenate([self.levels, band_levels(mel)])[1 - MEMORY :]

    def _said(self, heard: np.ndarray, mel: np.ndarray) -> np.ndarray:
        """What a denoiser hears of the next frames, by the recogniser's output and their columns."""
        if not len(heard):
            return self.visemes[:0]
        return np.concatenate([probabilities(heard), beside(heard, mel, self.hears, self.levels)], -1)

    def _expected(self) -> np.ndarray:
        """Visemes of the frames whose lookahead is not complete, if the sound went on as it is now. What the stream has
        heard stays as it is."""
        listener = copy(self.listener)
        return self._said(listener.listen(beyond(listener.recogniser, self.mel)), self.mel)

    def _windows(self, count: int, expected: np.ndarray | None = None) -> np.ndarray:
        """The next ``count`` windows; forgets the visemes that no later one asks for."""
        visemes = self.visemes if expected is None else np.concatenate([self.visemes, expected])
        windows = windows_of(visemes)[VISEME_PAST : VISEME_PAST + count]
        self.visemes, self.given = self.visemes[count:], self.given + count
        return windows


AT_ONCE = 32
"""Frames that are recognised together where their sound is available already. With fewer, the same past would be
processed again and again. Our choice."""


def heard(hearing: Hearing, audio: Iterable[np.ndarray], chunk: int) -> Iterator[tuple[np.ndarray, bool]]:
    """Viseme windows [n, W, V] of a stream's pieces, and whether more sound is available without waiting. Long pieces
    are cut, to bound memory."""
    samples = -(-AT_ONCE // chunk) * chunk * SAMPLES_PER_FRAME
    for piece in audio:
        piece = as_samples(piece)
        for begin in range(0, len(piece), samples):
            end = begin + samples
            yield hearing.push(piece[begin:end]), end < len(piece)
    yield hearing.finish(), False
