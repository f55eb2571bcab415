"""The border between the runtime, which computes in NumPy, and nets, which take tensors where PyTorch computes them.

In a process that has imported PyTorch (training, evaluation, nets run by PyTorch) ``given`` makes tensors, which share
their memory; in one that runs graphs alone nothing is converted, and PyTorch need not be installed.
"""

from __future__ import annotations

import sys
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from torch import Tensor


def given(x: np.ndarray) -> Tensor | np.ndarray:
    """What nets are given for an array."""
    torch = sys.modules.get("torch")
    if torch is None or not isinstance(x, np.ndarray):
        return x
    x = np.ascontiguousarray(x)
    return torch.from_numpy(x if x.flags.writeable else x.copy())


def array(x: Tensor | np.ndarray) -> np.ndarray:
    """The array of what nets give back."""
    return x if isinstance(x, np.ndarray) else x.detach().numpy()


def no_gradients() -> AbstractContextManager:
    """PyTorch keeps nothing for gradients inside."""
    torch = sys.modules.get("torch")
    return nullcontext() if torch is None else torch.inference_mode()
