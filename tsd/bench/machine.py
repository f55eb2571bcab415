"""What the machine is and what it can do: cores, processor, and how fast it multiplies."""

import os
import platform
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

import torch

PRODUCT = 1536
"""Side of the square float32 matrix product that everything is measured against."""


@contextmanager
def pinned(threads: int) -> Iterator[list[int]]:
    """Only the first ``threads`` of this process's cores, one thread of PyTorch each; yields their numbers."""
    before, cores = torch.get_num_threads(), sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
    torch.set_num_threads(threads)
    if cores:
        os.sched_setaffinity(0, cores[:threads])
    try:
        yield cores[:threads]
    finally:
        if cores:
            os.sched_setaffinity(0, cores)
        torch.set_num_threads(before)


def describe(cores: list[int]) -> dict:
    """Names of processor and software."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.split(":")[1].strip() for line in lines if line.startswith("model name")]
    versions = {name: version(name) for name in ("torch", "onnxruntime", "openvino") if find_spec(name)}
    return {
        "processor": names[0] if names else platform.machine(),
        "cores": cores,
        "system": platform.system(),
    } | versions


class Product:
    """A large matrix product: what noise on the machine does to it, it does to a net beside it."""

    def __init__(self):
        generator = torch.Generator().manual_seed(0)
        self.a, self.b = torch.randn(2, PRODUCT, PRODUCT, generator=generator).unbind(0)
        self.gflop = 2 * PRODUCT**3 / 1e9

    @torch.inference_mode()
    def gflops(self) -> float:
        """GFLOP per second of one product, now."""
        begun = time.perf_counter()
        torch.mm(self.a, self.b)
        return self.gflop / (time.perf_counter() - begun)


@torch.inference_mode()
def convolution_gflops(repeats: int = 20) -> float:
    """The best GFLOP per second of a float32 convolution: on some processors the library that multiplies matrices
    uses narrower instructions than the one that convolves, and a net can be faster than the product."""
    conv = torch.nn.Conv2d(64, 64, 3, padding=1).to(memory_format=torch.channels_last)
    x = torch.randn(8, 64, 32, 32).to(memory_format=torch.channels_last)
    gflop, best = 2 * 8 * 64 * 64 * 9 * 32 * 32 / 1e9, 0.0
    for _ in range(repeats):
        begun = time.perf_counter()
        conv(x)
        best = max(best, gflop / (time.perf_counter() - begun))
    return best
