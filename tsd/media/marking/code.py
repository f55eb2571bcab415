"""The 32 bits of a mark as 156 code bits and back. Each half of 16 bits is one of 65,536 words of 78 code bits, few
enough for a finder to compare with all of them."""

from functools import lru_cache

import numpy as np

PAYLOAD_BITS, BLOCKS = 32, 2
BLOCK_BITS, WORD_BITS = PAYLOAD_BITS // BLOCKS, 78
CODE_BITS = WORD_BITS * BLOCKS
TINY = 1e-12
SEED = 2
"""Of the generator matrix: any two words differ in at least 21 places, with no seed from 0 to 5 in more."""


def words(numbers: np.ndarray) -> np.ndarray:
    """Integers [N] of 16 bits -> float32 [N, 78] of -1 and 1, their words in a linear code."""
    bits = (numbers[:, None] >> np.arange(BLOCK_BITS - 1, -1, -1) & 1).astype(np.float32)
    parity = np.random.default_rng(SEED).integers(0, 2, (BLOCK_BITS, WORD_BITS - BLOCK_BITS)).astype(np.float32)
    return 1 - 2 * np.column_stack([bits, bits @ parity % 2])


@lru_cache
def codebook() -> np.ndarray:
    """float32 [65536, 78]: the words of all numbers, 20 MB."""
    return words(np.arange(1 << BLOCK_BITS))


def encode(payload: int) -> np.ndarray:
    """float32 [156] of -1 and 1. Raises ValueError for a payload that is not of 32 bits."""
    if not 0 <= payload < 1 << PAYLOAD_BITS:
        raise ValueError(f"payload={payload}: a mark holds {PAYLOAD_BITS} bits, so 0 to {(1 << PAYLOAD_BITS) - 1}")
    return words(np.array([payload >> BLOCK_BITS, payload & ((1 << BLOCK_BITS) - 1)])).ravel()


def decode(soft: np.ndarray) -> list[int]:
    """Real values [N, 156] that are noisy multiples of the code bits -> the most likely payload of each row, of which
    either half is the word nearest of all (maximum likelihood)."""
    halves = soft.reshape(-1, WORD_BITS).astype(np.float32)
    numbers = (halves @ codebook().T).argmax(1).reshape(-1, BLOCKS)
    return [int(weights) << BLOCK_BITS | int(run) for weights, run in numbers]


def certainty(soft: np.ndarray) -> float:
    """Real values [156] -> how probable it is that their most likely payload is the right one, if all payloads are as
    frequent and the noise is Gaussian, as strong as what the nearest words leave of the values."""
    halves = soft.reshape(-1, WORD_BITS).astype(np.float32)
    along = halves @ codebook().T
    nearest = along.max(1, keepdims=True)
    strength = nearest / WORD_BITS
    noise = np.maximum((halves**2).mean(1, keepdims=True) - strength**2, 1e-6 * strength**2 + TINY)
    return float(np.prod(1 / np.exp((along - nearest) * (strength / noise)).sum(1)))
