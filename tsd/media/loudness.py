"""How loud speech is, frame by frame: what visemes leave out of how something is said."""

import numpy as np

from tsd.media.signals import LOUDNESS, MELS, MELS_PER_FRAME

BANDS = {"all": slice(0, MELS), "voice": slice(0, 8), "formant": slice(8, 20)}
"""Of the log-mel: all of it, the lowest ones, where a voice's pitch lies, those of the first formant. Our choice."""

MEMORY = 50
"""Frames, the last of them its own, in whose loudest one a frame's loudness is measured: two seconds, so that neither
the microphone's level nor the speaker's distance counts. Our choice."""

LEAST = -1.0
"""Log-mel below which nothing is told apart: rooms are quieter or louder than speech by chance."""

RANGE = 2.0
"""Units of log-mel (18 dB each) below the loudest moment that count as silent: 36 dB. Our choice."""

QUIET = 0.3
"""The loudest moment is taken to be at least so loud, in units of log-mel: else the silence before the first word would
be loud. Our choice: the loudest moments of GRID's sentences have 1.0 to 1.6."""

assert tuple(BANDS) == LOUDNESS


def band_levels(mel: np.ndarray) -> np.ndarray:
    """Log-mel [T * MELS_PER_FRAME, MELS] -> float32 [T, 3], the mean of each of BANDS in every frame."""
    frames = np.maximum(mel, LEAST).reshape(-1, MELS_PER_FRAME, MELS).mean(1)
    return np.stack([frames[:, band].mean(1) for band in BANDS.values()], 1).astype(np.float32)


def relative_loudness(levels: np.ndarray, before: np.ndarray | None = None) -> np.ndarray:
    """``band_levels`` [T, 3] -> float32 [T, 3]: 1 as loud as the loudest of the last MEMORY frames is in all bands, 0
    RANGE below it or quieter. A frame knows no later one.

    ``before`` [n, 3]: the levels of the frames before these; the last MEMORY - 1 of them are all that counts.
    """
    before = levels[:0] if before is None else before[-(MEMORY - 1) :]
    every = np.concatenate([before, levels])[:, 0]
    padded = np.concatenate([np.full(MEMORY - 1, -np.inf, np.float32), every])
    loudest = np.lib.stride_tricks.sliding_window_view(padded, MEMORY).max(1)[len(before) :]
    return np.maximum(1 + (levels - np.maximum(loudest, QUIET)[:, None]) / RANGE, 0)
