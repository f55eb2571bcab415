"""Muon for matrices, AdamW for all else (K. Jordan et al., 2024; scale of updates as in arXiv 2502.16982).

AdamW takes every number for itself. Muon takes a layer's weights as the matrix they are, and makes every direction of
its momentum as long as the others. torch's own Muon takes tensors of two dimensions alone, so no convolutions.
"""

from collections import defaultdict
from collections.abc import Callable

import torch
from torch import Tensor

from tsd.devices import computes_bfloat16

LEAST_SIDE, LARGEST_KERNEL = 16, 7
"""A matrix has so many rows and columns at least, and no convolution has a larger kernel: patterns as large as latents
take nothing to anything. Our choice."""
ITERATIONS, QUINTIC = 5, (3.4445, -4.7750, 2.0315)
"""Steps of x -> a x + b x^3 + c x^5, and its coefficients, which take singular values to about 0.7..1.2 (Jordan)."""
AS_ADAMW = 0.2
"""A number's mean change under AdamW, in units of the rate: with it one rate serves both (arXiv 2502.16982)."""


def is_matrix(parameter: Tensor) -> bool:
    """Whether it takes vectors of one layer to vectors of another: weights of linear layers and convolutions."""
    if parameter.ndim < 2 or max(parameter.shape[2:], default=1) > LARGEST_KERNEL:
        return False
    rows = parameter.shape[0]
    return min(rows, parameter.numel() // rows) >= LEAST_SIDE


def orthogonal(matrices: Tensor) -> Tensor:
    """[N, R, C]: each matrix with all its singular values brought near 1 (Newton-Schulz)."""
    a, b, c = QUINTIC
    x = matrices.bfloat16() if computes_bfloat16(matrices.device.type) else matrices.float()
    upright = x.shape[1] > x.shape[2]
    x = x.mT if upright else x
    x = x / (x.norm(dim=(1, 2), keepdim=True) + 1e-7)
    for _ in range(ITERATIONS):
        square = x @ x.mT
        x = a * x + (b * square + c * square @ square) @ x
    return (x.mT if upright else x).to(matrices.dtype)


class Muon(torch.optim.AdamW):
    """``momentum`` is of matrices, ``betas`` and ``fused`` are of all else; ``lr`` and ``weight_decay`` of both."""

    def __init__(
        self,
        params,
        lr: float = 2e-3,
        momentum: float = 0.95,
        betas: tuple[float, float] = (0.9, 0.99),
        weight_decay: float = 0.01,
        fused: bool | None = None,
    ):
        if not 0 <= momentum < 1:
            raise ValueError(f"momentum is at least 0 and below 1, got {momentum}")
        super().__init__(params, lr=lr, betas=betas, weight_decay=weight_decay, fused=fused)
        self.momentum = momentum

    @torch.no_grad()
    def step(self, closure: Callable | None = None):
        """One update. The result of ``closure``, which computes gradients, where it is given."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        gradients = {}
        for group in self.param_groups:
            shapes = defaultdict(list)
            for parameter in group["params"]:
                if parameter.grad is not None and is_matrix(parameter):
                    gradients[parameter] = parameter.grad
                    shapes[parameter.shape].append(parameter)
            for alike in shapes.values():
                self.turn(alike, group["lr"], group["weight_decay"])
        for parameter in gradients:
            parameter.grad = None  # AdamW passes over it
        super().step()
        for parameter, gradient in gradients.items():
            parameter.grad = gradient
        return loss

    def turn(self, parameters: list[Tensor], lr: float, weight_decay: float) -> None:
        """Update matrices of one shape; together, or a GPU would wait for many small products."""
        wanted = []
        for parameter in parameters:
            state = self.state[parameter]
            if not state:  # AdamW looks for a count of steps when it is loaded
                state.update(step=torch.tensor(0.0), momentum=torch.zeros_like(parameter))
            state["step"] += 1
            state["momentum"].lerp_(parameter.grad, 1 - self.momentum)
            wanted.append(parameter.grad.lerp(state["momentum"], self.momentum).flatten(1))
        changes = orthogonal(torch.stack(wanted))
        length = AS_ADAMW * max(changes.shape[1:]) ** 0.5
        for parameter, change in zip(parameters, changes, strict=True):
            parameter.mul_(1 - lr * weight_decay).sub_(change.view_as(parameter), alpha=lr * length)
