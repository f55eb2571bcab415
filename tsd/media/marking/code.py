"""The 32 bits of a mark as 96 code bits and back: a check sum and the extended Golay code."""

from binascii import crc_hqx
from functools import lru_cache

import numpy as np

PAYLOAD_BITS, CHECK_BITS, BLOCKS = 32, 16, 4
CODE_BITS = 24 * BLOCKS
GENERATOR = 0xC75
"""x^11 + x^10 + x^6 + x^5 + x^4 + x^2 + 1, of the binary Golay code (23, 12)."""


@lru_cache
def codebook() -> np.ndarray:
    """float32 [4096, 24] of -1 and 1: row i is the extended Golay code word of the 12 bits of i. Any two rows differ in
    at least 8 places."""
    words = np.arange(4096, dtype=np.int64) << 11
    remainder = words.copy()
    for bit in range(22, 10, -1):
        remainder ^= np.where(remainder >> bit & 1, GENERATOR << (bit - 11), 0)
    bits = (words | remainder)[:, None] >> np.arange(22, -1, -1) & 1
    return (1 - 2 * np.column_stack([bits, bits.sum(1) % 2])).astype(np.float32)


def check_sum(payload: int) -> int:
    """CRC-16 of the payload. It does not begin at 0, so that an empty payload is no row of zeros."""
    return crc_hqx(payload.to_bytes(PAYLOAD_BITS // 8, "big"), 0xFFFF)


def encode(payload: int) -> np.ndarray:
    """float32 [96] of -1 and 1. Raises ValueError for a payload that is not of 32 bits."""
    if not 0 <= payload < 1 << PAYLOAD_BITS:
        raise ValueError(f"payload={payload}: a mark holds {PAYLOAD_BITS} bits, so 0 to {(1 << PAYLOAD_BITS) - 1}")
    word = payload << CHECK_BITS | check_sum(payload)
    return codebook()[[word >> 12 * block & 0xFFF for block in reversed(range(BLOCKS))]].ravel()


def decode(soft: np.ndarray) -> int | None:
    """The payload that is most likely after real values [96] that are noisy multiples of the code bits; None where its
    check sum is wrong. Each block takes the nearest of all its code words (maximum likelihood)."""
    word = 0
    for number in (soft.reshape(BLOCKS, 24) @ codebook().T).argmax(1):
        word = word << 12 | int(number)
    payload, check = word >> CHECK_BITS, word & ((1 << CHECK_BITS) - 1)
    return payload if check == check_sum(payload) else None
