"""What a mark looks like in space and time, which the writer and the finder share.

In space: a tile of 128 x 128 units that repeats over the frame, a sum of 192 waves of equal strength, 11 to 43 units
long. 36 of them are the same in every mark (the pilot, which says where the tile lies), every other one has the sign of
one code bit. In time: the whole pattern is multiplied by a cosine of 1.25 Hz. What stands still in a video cancels when
frames are added up with that cosine, and the frames' own flicker rises little. Why this band and this rate:
experiments/marking.
"""

from functools import lru_cache

import numpy as np

from tsd.media.marking.code import CODE_BITS

TILE = 128
"""Units."""
UNITS = 128
"""Across the face's square, or the shorter side of a square picture, whatever its number of pixels."""
UNITS_OF_DUBBING = 256
"""Across the face's square, of which only the mouth is generated: a small part of a tile holds few long waves."""
CARRIER = 1.25
"""Hz: 20 frames a period at 25 frames a second. Faster flickers more, slower is lost in a second of a moving face."""
FEWEST, PILOT_WAVES = 3.0, 36
"""Waves per tile of the longest wave that is used, and how many of them are the pilot's."""
NUM_WAVES = PILOT_WAVES + CODE_BITS
SEED = 2603_06057


@lru_cache
def waves() -> np.ndarray:
    """int [192, 2]: wave numbers per tile (down, right), from long to short: a half plane, for a real wave has both k
    and -k."""
    k = np.stack(np.meshgrid(np.arange(0, 20), np.arange(-20, 20), indexing="ij"), -1).reshape(-1, 2)
    k = k[(k[:, 0] > 0) | (k[:, 1] > 0)]
    length = np.hypot(*k.T)
    order = np.lexsort((k[:, 1], k[:, 0], length))
    return k[order][length[order] >= FEWEST][:NUM_WAVES]


@lru_cache
def phases() -> np.ndarray:
    """complex64 [192] of modulus 1, drawn once for all marks."""
    return np.exp(2j * np.pi * np.random.default_rng(SEED).random(NUM_WAVES)).astype(np.complex64)


@lru_cache
def shares() -> tuple[np.ndarray, np.ndarray]:
    """Which waves are the pilot's, int [36], and each code bit's, int [156]."""
    pilot = np.linspace(0, NUM_WAVES - 1, PILOT_WAVES).round().astype(int)
    return pilot, np.random.default_rng(SEED + 1).permutation(np.setdiff1d(np.arange(NUM_WAVES), pilot))


def signs(code_bits: np.ndarray) -> np.ndarray:
    """float32 [192] of -1 and 1: of each wave, for code bits -1 or 1 [156]."""
    of_waves = np.ones(NUM_WAVES, np.float32)
    of_waves[shares()[1]] = code_bits
    return of_waves


def tile(code_bits: np.ndarray) -> np.ndarray:
    """float32 [128, 128], mean 0 and variance 1, of code bits -1 or 1 [156]."""
    spectrum, values = np.zeros((TILE, TILE), np.complex64), phases() * signs(code_bits)
    down, right = waves().T
    spectrum[down % TILE, right % TILE] = values
    spectrum[-down % TILE, -right % TILE] = values.conj()
    made = np.fft.ifft2(spectrum).real
    return (made / made.std()).astype(np.float32)


def swing(seconds: float) -> float:
    """The factor of the pattern at a time after the first frame; its square is 1 on average."""
    return float(2**0.5 * np.cos(2 * np.pi * CARRIER * seconds))
