"""Training on several devices gives the losses of training on one with the whole batch.

All devices start with the same seed and draw the random numbers of the whole batch; each keeps those of its own rows.
So their random states stay equal, and a checkpoint stores only one. Row i of device r is row i * world + r of the whole
batch, as in ``tsd.data.datamodule.EndlessSampler``. Means over rows are taken over all devices (``mean``).
"""

from functools import cache

import torch
import torch.distributed
from torch import Tensor


def place() -> tuple[int, int]:
    """Rank of this device and number of devices; 0, 1 for a device that trains alone."""
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        return torch.distributed.get_rank(), torch.distributed.get_world_size()
    return 0, 1


@cache
def computes_bfloat16(kind: str) -> bool:
    """Whether this machine's "cpu" or "cuda" computes in bfloat16 natively."""
    if kind == "cpu":
        return torch.backends.mkldnn.is_available() and torch.cpu._is_avx512_bf16_supported()
    return torch.cuda.is_available() and torch.cuda.is_bf16_supported(including_emulation=False)


def rand(count: int, *shape: int, device=None) -> Tensor:
    """[count, *shape] uniform in 0..1, the rows of this device."""
    rank, world = place()
    return torch.rand(count * world, *shape, device=device)[rank::world]


def randn(count: int, *shape: int, device=None, generator: torch.Generator | None = None) -> Tensor:
    """[count, *shape] normal, the rows of this device. A given ``generator`` draws these rows only."""
    rank, world = place() if generator is None else (0, 1)
    return torch.randn(count * world, *shape, device=device, generator=generator)[rank::world]


def mean(value: Tensor) -> Tensor:
    """The mean of ``value`` over all devices, without gradient.

    A loss that is a weighted mean over rows divides by this mean of the devices' sums of weights. DDP averages the
    devices' gradients, so every row then has the weight that it would have on one device.
    """
    _, world = place()
    if world == 1:
        return value.detach()
    value = value.detach().clone()
    torch.distributed.all_reduce(value)
    return value / world
