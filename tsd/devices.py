"""Several devices train a net as one would: they share out the same random numbers and divide by the same sums.

All devices begin with one seed and draw the same numbers, of which each keeps those of its own rows; so their states
stay equal, and a checkpoint needs one. Row i of device r is row i * world + r of the whole batch, as
``tsd.data.EndlessSampler`` deals it out. And what a device computes in.
"""

from functools import cache

import torch
import torch.distributed
from torch import Tensor


def place() -> tuple[int, int]:
    """Number of this device, and of all that train together; 0, 1 for one that trains alone."""
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        return torch.distributed.get_rank(), torch.distributed.get_world_size()
    return 0, 1


@cache
def computes_bfloat16(kind: str) -> bool:
    """Whether a "cpu" or "cuda" here computes in bfloat16 rather than emulating it."""
    if kind == "cpu":
        return torch.backends.mkldnn.is_available() and torch.cpu._is_avx512_bf16_supported()
    return torch.cuda.is_available() and torch.cuda.is_bf16_supported(including_emulation=False)


def rand(count: int, *shape: int, device=None) -> Tensor:
    """[count, *shape] uniform in 0..1: this device's rows."""
    rank, world = place()
    return torch.rand(count * world, *shape, device=device)[rank::world]


def randn(count: int, *shape: int, device=None, generator: torch.Generator | None = None) -> Tensor:
    """[count, *shape] normal: this device's rows. A ``generator`` that is given is taken to be of these rows alone."""
    rank, world = place() if generator is None else (0, 1)
    return torch.randn(count * world, *shape, device=device, generator=generator)[rank::world]


def mean(value: Tensor) -> Tensor:
    """The mean of ``value`` over all devices, without gradient.

    What is averaged over the rows that count is divided by this mean of the devices' sums of weights: DDP averages the
    devices' gradients, and so every row counts as much as it would on one device.
    """
    _, world = place()
    if world == 1:
        return value.detach()
    value = value.detach().clone()
    torch.distributed.all_reduce(value)
    return value / world
