"""Random numbers of a seed, the ones that PyTorch's generator gives: frames do not depend on who computes them."""

import numpy as np

BLOCK = 16
"""Numbers that PyTorch makes normal at once: the Box-Muller transform of eight pairs."""


def bits(seed: int, count: int) -> np.ndarray:
    """uint32 [count] of the Mersenne Twister that ``torch.Generator().manual_seed(seed)`` starts."""
    return np.frombuffer(np.random.RandomState(seed & 0xFFFFFFFF).bytes(4 * count), np.uint32)


def integer(seed: int, below: int) -> int:
    """``torch.randint(below, ())``"""
    return int(bits(seed, 1)[0] % below)


def unit_noise(shape: tuple[int, ...], seed: int) -> np.ndarray:
    """``torch.randn(shape)`` within 1e-5, float32. ValueError for fewer than 16 numbers, which PyTorch draws in another
    way."""
    count = int(np.prod(shape))
    if count < BLOCK:
        raise ValueError(f"noise of {list(shape)} has fewer than {BLOCK} numbers")
    left = count % BLOCK
    drawn = bits(seed, count + (BLOCK if left else 0))
    uniform = (drawn & 0xFFFFFF).astype(np.float32) / np.float32(1 << 24)
    noise = np.empty(count, np.float32)
    whole = count - left
    noise[:whole] = _normal(uniform[:whole])
    if left:  # the last block is drawn again, whole
        noise[-BLOCK:] = _normal(uniform[count:])
    return noise.reshape(shape)


def _normal(uniform: np.ndarray) -> np.ndarray:
    first, second = uniform.reshape(-1, 2, BLOCK // 2).swapaxes(0, 1)
    radius, angle = np.sqrt(-2 * np.log(1 - first)), np.float32(2 * np.pi) * second
    return np.stack([radius * np.cos(angle), radius * np.sin(angle)], 1).reshape(-1)
