"""The mark looked for in frames of which nothing is known: cut, scaled, encoded again, at another rate.

1. Every frame's luminance is freed of what is smooth and divided by its local contrast, flat places left out.
2. Frames are added up with the carrier of the sign (a complex number, so its unknown phase is an angle); a constant and
   slow changes are taken out of the carrier first, so that a still picture adds nothing.
3. For each scale, the pattern's waves are measured. The pilot is looked for at every place of the tile, by its
   coherence with what is there.
4. At the best places the 96 code bits are read and decoded. A mark is found where the check sum holds and the pilot is
   coherent enough.

How often that happens without a mark: a check sum of 16 bits holds by chance once in 65,536 times. The coherence of n
independent complex values with a fixed pattern is above x with the probability (1 - x)^(n - 1). The pilot has 48 waves
k and 48 waves -k. They are independent in noise, but not where everything moves at one moment (a blink): then wave -k
is wave k mirrored. So n = 48 is used, which is an upper bound for both (experiments/marking has what was seen).
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice

import cv2
import numpy as np

from tsd.media.marking import code, pattern
from tsd.media.marking.embed import AROUND, activity

WINDOW = 250
"""Frames that are added up."""
WINDOWS = 6
"""Windows of a video that are looked at, one after the other, until a mark is found."""
FALSE_ALARM = 1e-6
"""Probability that a mark is found in a video without one, at most."""
LARGEST_SIDE = 288
"""Pixels of the shorter side; larger frames are made smaller first."""
PLAIN = (1.0,)
SCALES = tuple(float(x) for x in np.exp(np.arange(np.log(0.25), np.log(1.6), 0.03)))
"""Of the pattern against a frame whose shorter side is UNITS units: 1 as it was written, 1.25 after 10 % are cut off
each side, less where the face is a part of the frame (dubbing)."""
QUIET = 8.0
"""Levels: where the contrast is below this, there is little of a mark and much of a codec's noise."""
TINY = 1e-12
CANDIDATES = 8
"""Places that are decoded."""
SLOW = 4
"""Coefficients of the polynomial in time that is taken out of the carrier."""


@dataclass(frozen=True)
class Found:
    """A mark: its payload, the pilot's coherence in 0..1, and how probable such a find is without a mark."""

    payload: int
    coherence: float
    chance: float
    first_frame: int

    @property
    def confidence(self) -> float:
        return 1 - self.chance


def find(frames: Iterable[tuple[float, np.ndarray]]) -> Found | None:
    """The first mark in (seconds, uint8 [H, W, 3]) pairs; at most WINDOWS * WINDOW frames are read."""
    frames = iter(frames)
    for number in range(WINDOWS):
        window = [(seconds, small_luma(picture)) for seconds, picture in islice(frames, WINDOW)]
        if len(window) < 2 * SLOW:
            return None
        if found := find_in_window(window, number * WINDOW):
            return found
    return None


def find_in_window(window: list[tuple[float, np.ndarray]], first_frame: int = 0) -> Found | None:
    """As ``find``, in (seconds, what ``small_luma`` makes of a frame) pairs of one size."""
    return find_in_sum(demodulate(window), first_frame)


def find_in_sum(summed: np.ndarray, first_frame: int = 0) -> Found | None:
    """As ``find``, of what ``demodulate`` made of a window."""
    for scales, places in ((PLAIN, 1), (SCALES, CANDIDATES)):
        hypotheses = len(scales) * (1 if places == 1 else pattern.TILE**2)
        for spectrum, coherence in best_places(summed, scales, places):
            chance = min(1.0, 2 * WINDOWS * hypotheses * by_chance(coherence)) * places / 2**code.CHECK_BITS
            payload = code.decode(soft_bits(spectrum)) if chance < FALSE_ALARM else None
            if payload is not None:
                return Found(payload, coherence, chance, first_frame)
    return None


def demodulate(window: list[tuple[float, np.ndarray]]) -> np.ndarray:
    """complex64 [h, w]: whitened frames, weighted by the carrier."""
    seconds = np.array([time for time, _ in window])
    total = None
    for weight, (_, luma) in zip(carrier(seconds), window, strict=True):
        white = whiten(luma)
        total = weight * white if total is None else total + weight * white
    return total


def small_luma(picture: np.ndarray) -> np.ndarray:
    """uint8 [H, W, 3] -> uint8 [h, w]; large frames are made smaller, for a window of them is in memory."""
    luma = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)
    height, width = luma.shape
    if (side := min(height, width)) <= LARGEST_SIDE:
        return luma
    shrink = LARGEST_SIDE / side
    return cv2.resize(luma, (round(width * shrink), round(height * shrink)), interpolation=cv2.INTER_AREA)


def carrier(seconds: np.ndarray) -> np.ndarray:
    """complex64 [T] without a constant and slow changes."""
    wave = np.exp(-2j * np.pi * pattern.CARRIER * seconds)
    span = np.ptp(seconds) or 1.0
    slow = np.polynomial.legendre.legvander(2 * (seconds - seconds.min()) / span - 1, SLOW - 1)
    return (wave - slow @ np.linalg.lstsq(slow, wave, rcond=None)[0]).astype(np.complex64)


def whiten(luma: np.ndarray) -> np.ndarray:
    """uint8 [h, w] -> float32 [h, w]: detail over local contrast, flat places left out."""
    around = max(3, round(AROUND * min(luma.shape) / pattern.UNITS) | 1)
    detail, contrast = activity(luma.astype(np.float32), around)
    return detail * contrast / (contrast * contrast + QUIET * QUIET)


def best_places(summed: np.ndarray, scales, places: int) -> Iterator[tuple[np.ndarray, float]]:
    """(waves complex [240, 2] at k and -k, freed of place and phase; the pilot's coherence), best first.

    One place: the corner of the frame, where the pattern was begun; else the best places, one of each scale.
    """
    found = []
    for scale in scales:
        waves = tile_waves(summed, scale)
        coherence, phase = pilot_field(waves)
        best = int(coherence.argmax()) if places > 1 else 0
        found.append((float(coherence.flat[best]), best, phase.flat[best], waves))
    for coherence, place, phase, waves in sorted(found, key=lambda f: -f[0])[:places]:
        yield at_place(waves, place) * np.conj(phase), coherence


def tile_waves(summed: np.ndarray, scale: float) -> np.ndarray:
    """complex64 [240, 2]: how much of the pattern's waves k and -k is in the sum, if a unit of the pattern is ``scale``
    times as long as in a frame whose shorter side is UNITS units; waves of about one length have a variance of 1."""
    height, width = summed.shape
    unit = scale * min(height, width) / pattern.UNITS
    spectrum = fourier(height, unit) @ summed @ fourier(width, unit).T
    down, right = pattern.waves().T
    waves, length = np.stack([spectrum[down, right], spectrum[-down, -right]], 1), np.hypot(down, right).astype(int)
    power = np.bincount(length, (np.abs(waves) ** 2).mean(1)) / np.maximum(np.bincount(length), 1)
    return (waves / np.sqrt(power[length] + TINY)[:, None]).astype(np.complex64)


@lru_cache(maxsize=4 * len(SCALES))
def fourier(length: int, unit: float) -> np.ndarray:
    """complex64 [2 K + 1, length]: rows 0..K, -K..-1 measure that many waves per tile on a line of pixels."""
    most = int(np.abs(pattern.waves()).max())
    number = np.fft.ifftshift(np.arange(-most, most + 1))
    middle = (np.arange(length) + 0.5) / unit - 0.5
    return np.exp(-2j * np.pi / pattern.TILE * number[:, None] * middle).astype(np.complex64)


def pilot_field(waves: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Coherence in 0..1 of the pilot with waves [240, 2] for every place of the tile [64, 64], and its phase."""
    pilot, inverse = pattern.shares()[0], fourier(pattern.TILE, 1.0).conj()
    down, right = pattern.waves()[pilot].T
    here, phases = waves[pilot], pattern.phases()[pilot]
    product = np.zeros((len(inverse), len(inverse)), np.complex64)
    product[down, right], product[-down, -right] = here[:, 0] * phases.conj(), here[:, 1] * phases
    field = inverse.T @ product @ inverse
    strength = np.abs(field)
    return strength**2 / (2 * len(pilot) * np.sum(np.abs(here) ** 2) + TINY), field / (strength + TINY)


def at_place(waves: np.ndarray, place: int) -> np.ndarray:
    """complex [240, 2] at k and -k, as if the tile began at ``place`` (its index in the flat tile)."""
    down, right = pattern.waves().T
    moved = np.exp(2j * np.pi * (down * (place // pattern.TILE) + right * (place % pattern.TILE)) / pattern.TILE)
    return waves * np.stack([moved, moved.conj()], 1)


def soft_bits(waves: np.ndarray) -> np.ndarray:
    """[96] from the waves at k and -k [240, 2]."""
    phases = pattern.phases()
    real = (waves[:, 0] * phases.conj() + waves[:, 1] * phases).real
    return real[pattern.shares()[1]].sum(1).astype(np.float32)


def by_chance(coherence: float) -> float:
    """Probability, at most, that a picture without a mark is as coherent with the pilot at one place, or more."""
    return max(0.0, 1 - coherence) ** (pattern.PILOT_WAVES - 1)
