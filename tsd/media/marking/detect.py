"""The mark looked for in frames of which nothing is known: cut, scaled, encoded again, at another rate.

1. Every frame's luminance is freed of what is smooth and divided by its local contrast, flat places left out.
2. Frames are added up with the carrier (a complex number, so its unknown phase is an angle), with the weights of
   generalised least squares if each place of the picture is a random walk: a still picture adds nothing, a slow change
   little. There are two such sums: in one, all places count alike; in the other, those that change more from frame to
   frame count less, which helps where a second of a moving face is all there is.
3. For each scale, the pattern's waves are measured. The pilot is looked for at every place of the tile, by its
   coherence with what is there.
4. At the best places the 32 bits are read. A mark is found where the pattern of the most likely payload is coherent
   enough with what is there.

How often that happens without a mark: the phases of the pattern's waves were drawn at random. For any picture, the sum
of n complex numbers y whose phases are independent and uniform has a real part above t with a probability of at most
exp(-t^2 / sum |y|^2) (Chernoff; log I0(x) <= x^2 / 4). That times the number of things that are tried, 2^32 payloads
among them, is ``Found.chance``. Nothing is assumed of the picture.
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
"""Windows of a video that are looked at, one after the other and all so far together, until a mark is found."""
FALSE_ALARM = 1e-6
"""Probability that a mark is found in a video without one, at most."""
READABLE = 0.9
"""Certainty from which a payload is taken for the right one."""
LARGEST_SIDE = 288
"""Pixels of the shorter side; larger frames are made smaller first."""
PLAIN = (1.0,)
SCALES = tuple(float(x) for x in np.exp(np.arange(np.log(0.125), np.log(1.6), 0.03)))
"""Of the pattern against a frame whose shorter side is UNITS units: 1 as it was written, 1.25 after 10 % are cut off
each side, less where the face is a part of the frame (dubbing)."""
QUIET = 8.0
"""Levels: where the contrast is below this, there is little of a mark and much of a codec's noise."""
TINY = 1e-12
PEAKS, CANDIDATES = 4, 32
"""Places of a scale that are kept, and places of all scales that are decoded."""
PEAK = 7
"""Units: side of a square in which a place is the most coherent one."""
ANGLES = 16
"""How many phases of the carrier are counted as tried: it is chosen by the pilot, to about a tenth of a turn."""
SHORTEST = 8
"""Frames of a window, at least."""
WALK = 100.0
"""Variance of the random walk that a place of the picture is taken for, after a second, over that of its noise."""
CALM = 7
"""Pixels: side of the square over which changes from frame to frame are averaged."""


@dataclass(frozen=True)
class Found:
    """A mark, or what is most like one: its most likely payload, how probable it is that this one is right (see
    ``code.certainty``), the coherence of its waves in 0..1, and how probable that is, at most, without a mark.

    A weak mark is found before it can be read: that there is one, all waves tell together; of a payload, each bit is
    told by one wave.
    """

    payload: int
    certainty: float
    coherence: float
    chance: float
    first_frame: int

    @property
    def readable(self) -> bool:
        return self.certainty >= READABLE

    @property
    def confidence(self) -> float:
        return 1 - self.chance


def find(frames: Iterable[tuple[float, np.ndarray]]) -> Found | None:
    """The first mark in (seconds, uint8 [H, W, 3]) pairs; at most WINDOWS * WINDOW frames are read."""
    frames, so_far, looks = iter(frames), None, 0
    for number in range(WINDOWS):
        window = [(seconds, small_luma(picture)) for seconds, picture in islice(frames, WINDOW)]
        if len(window) < SHORTEST:
            return None
        alone = demodulate(window)
        so_far = alone if so_far is None else so_far + alone
        for sums, first in ((alone, number * WINDOW), (so_far, 0))[: 1 + (number > 0)]:
            if found := find_in_sums(sums, first, looks):
                return found
            looks += len(sums)
    return None


def find_in_window(window: list[tuple[float, np.ndarray]], first_frame: int = 0) -> Found | None:
    """As ``find``, in (seconds, what ``small_luma`` makes of a frame) pairs of one size."""
    return find_in_sums(demodulate(window), first_frame)


def find_in_sums(sums: np.ndarray, first_frame: int = 0, looks: int = 0) -> Found | None:
    """As ``find``, of what ``demodulate`` made of a window; ``looks``: how many sums of its video were looked at
    before."""
    for look, summed in enumerate(sums, looks + 1):
        for found in likeliest(summed, first_frame, look):
            if found.chance < FALSE_ALARM:
                return found
    return None


def likeliest(summed: np.ndarray, first_frame: int = 0, looks: int = 1) -> Iterator[Found]:
    """What is most like a mark in one sum [h, w], if the pattern was begun in the corner of the frame, then at any
    place and scale. ``looks``: how many sums of its video are looked at so far, this one included."""
    payload, sure, score = best_score(summed, PLAIN, 1, np.arange(pattern.NUM_WAVES))
    yield Found(payload, sure, score / pattern.NUM_WAVES, by_chance(score, ANGLES, looks), first_frame)
    # Places and angles were chosen by the pilot, whose phases say nothing of the other waves': only they count now.
    payload, sure, score = best_score(summed, SCALES, CANDIDATES, pattern.shares()[1])
    yield Found(payload, sure, score / code.CODE_BITS, by_chance(score, CANDIDATES, looks), first_frame)


def best_score(
    summed: np.ndarray, scales: tuple[float, ...], places: int, counted: np.ndarray
) -> tuple[int, float, float]:
    """The payload whose pattern is most coherent with the sum at the best places, its certainty, and its score: the
    coherence in 0..1 of the waves that are ``counted``, times their number."""
    values = best_places(summed, scales, places)
    soft = values.real[:, pattern.shares()[1]]
    payloads = code.decode(soft)
    patterns = np.stack([pattern.signs(code.encode(payload)) for payload in payloads])
    along = np.maximum((patterns * values.real)[:, counted].sum(1), 0)
    scores = along**2 / ((np.abs(values[:, counted]) ** 2).sum(1) + TINY)
    best = int(scores.argmax())
    return payloads[best], code.certainty(soft[best]), float(scores[best])


def demodulate(window: list[tuple[float, np.ndarray]]) -> np.ndarray:
    """complex64 [2, h, w]: whitened frames, weighted by the carrier; the same over how much each place changes."""
    weights = carrier(np.array([time for time, _ in window]))
    last = whiten(window[0][1])
    total, changes = weights[0] * last, np.zeros_like(last)
    for weight, (_, luma) in zip(weights[1:], window[1:], strict=True):
        now = whiten(luma)
        total += weight * now
        changes += (now - last) ** 2
        last = now
    changes = cv2.blur(changes / len(window), (CALM, CALM))
    return np.stack([total, total / (changes + changes.mean() + TINY)])


def small_luma(picture: np.ndarray) -> np.ndarray:
    """uint8 [H, W, 3] -> uint8 [h, w]; large frames are made smaller, for a window of them is in memory."""
    luma = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)
    height, width = luma.shape
    if (side := min(height, width)) <= LARGEST_SIDE:
        return luma
    shrink = LARGEST_SIDE / side
    return cv2.resize(luma, (round(width * shrink), round(height * shrink)), interpolation=cv2.INTER_AREA)


def carrier(seconds: np.ndarray) -> np.ndarray:
    """complex64 [T] whose sum is 0: generalised least squares, of a random walk that begins anywhere and noise."""
    wave, since = np.exp(-2j * np.pi * pattern.CARRIER * seconds), seconds - seconds.min()
    covariance = np.eye(len(seconds)) + WALK * np.minimum.outer(since, since)
    wave, constant = np.linalg.solve(covariance, np.column_stack([wave, np.ones_like(wave)])).T
    return (wave - constant * (wave.sum() / constant.sum())).astype(np.complex64)


def whiten(luma: np.ndarray) -> np.ndarray:
    """uint8 [h, w] -> float32 [h, w]: detail over local contrast, flat places left out."""
    around = max(3, round(AROUND * min(luma.shape) / pattern.UNITS) | 1)
    detail, contrast = activity(luma.astype(np.float32), around)
    return detail * contrast / (contrast * contrast + QUIET * QUIET)


def best_places(summed: np.ndarray, scales: tuple[float, ...], places: int) -> np.ndarray:
    """Waves complex [<= places, 192], freed of place and of the pattern's and the carrier's phases, where the pilot is
    most coherent. One place: the corner of the frame, where the pattern was begun."""
    found = []
    for scale in scales:
        waves = tile_waves(summed, scale)
        coherence, phase = pilot_field(waves)
        for place in [0] if places == 1 else peaks(coherence):
            found.append((float(coherence.flat[place]), place, phase.flat[place], waves))
    values = []
    for _, place, phase, waves in sorted(found, key=lambda f: -f[0])[:places]:
        both = at_place(waves, int(place)) * np.conj(phase)
        values.append((both[:, 0] + both[:, 1].conj()) * pattern.phases().conj())
    return np.stack(values)


def peaks(field: np.ndarray) -> np.ndarray:
    """Of a tile float32 [128, 128], the indices of its PEAKS highest places that are the highest of their square."""
    around = cv2.copyMakeBorder(field, *4 * [PEAK // 2], cv2.BORDER_WRAP)
    around = cv2.dilate(around, np.ones((PEAK, PEAK), np.uint8))[PEAK // 2 : -(PEAK // 2), PEAK // 2 : -(PEAK // 2)]
    highest = np.flatnonzero(field >= around)
    return highest[np.argsort(-field.flat[highest])[:PEAKS]]


def tile_waves(summed: np.ndarray, scale: float) -> np.ndarray:
    """complex64 [192, 2]: how much of the pattern's waves k and -k is in the sum, if a unit of the pattern is ``scale``
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
    """Coherence in 0..1 of the pilot with waves [192, 2] for every place of the tile [128, 128], and its phase."""
    pilot, inverse = pattern.shares()[0], fourier(pattern.TILE, 1.0).conj()
    down, right = pattern.waves()[pilot].T
    here, phases = waves[pilot], pattern.phases()[pilot]
    product = np.zeros((len(inverse), len(inverse)), np.complex64)
    product[down, right], product[-down, -right] = here[:, 0] * phases.conj(), here[:, 1] * phases
    field = inverse.T @ product @ inverse
    strength = np.abs(field)
    return strength**2 / (2 * len(pilot) * np.sum(np.abs(here) ** 2) + TINY), field / (strength + TINY)


def at_place(waves: np.ndarray, place: int) -> np.ndarray:
    """complex [192, 2] at k and -k, as if the tile began at ``place`` (its index in the flat tile)."""
    down, right = pattern.waves().T
    moved = np.exp(2j * np.pi * (down * (place // pattern.TILE) + right * (place % pattern.TILE)) / pattern.TILE)
    return waves * np.stack([moved, moved.conj()], 1)


def by_chance(score: float, tried: int, looks: int = 1) -> float:
    """Probability, at most, that without a mark any payload has such a score at any of so many places and angles that
    are tried. It is multiplied so that over all looks at a video, each in two ways, FALSE_ALARM is kept: the sum of
    1 / (n (n + 1)) is below 1."""
    return min(1.0, 2.0 * tried * looks * (looks + 1) * 2.0**code.PAYLOAD_BITS * float(np.exp(-score)))
