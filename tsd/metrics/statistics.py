"""Summaries over clips: n, mean, std, 95 % bootstrap interval, and ratios.

Every metric scores whole clips and keeps one row per clip. So batch size and number of devices change only the order
of the rows, and the order has no influence.
"""

from abc import abstractmethod
from collections.abc import Callable
from typing import TypedDict

import numpy as np
import torch
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.utilities import dim_zero_cat

RESAMPLES = 1000
"""Bootstrap resamples. With so many, the interval's ends vary by about 2 % of its width between seeds. Our choice."""

END_FRAMES = 10
"""Length of "start", "middle" and "end" of a clip in frames (0.4 s); a third of a shorter clip."""


class Summary(TypedDict):
    """Statistics of one metric, as plain Python numbers for JSON."""

    n: int
    """Number of clips in the mean."""
    left_out: int
    """Number of clips where the value is not defined (nan). They are left out of the mean."""
    mean: float
    """Over clips; for a ratio mean(numerator) / mean(denominator). nan if n is 0."""
    std: float
    """Sample standard deviation over clips (n - 1); nan if n < 2."""
    low: float
    """2.5th percentile of the mean over resampled clips (percentile bootstrap); nan if n < 2."""
    high: float
    """97.5th percentile, likewise."""


def summarise(values: np.ndarray, base: np.ndarray | None = None, seed: int = 0) -> Summary:
    """Summary of one value per clip [n], or, with ``base`` [n], of the ratio of the two.

    A ratio is mean(values) / mean(base); 1 is ideal where base is the real video. It is not a mean of ratios, which one
    nearly still clip could dominate. Clips are resampled in pairs, and ``std`` is that
    of the residuals (values - ratio * base) / mean(base), the ratio estimator's own (Cochran 1977,
    Sampling Techniques, eq. 6.9). The order of clips has no influence. Intervals: Efron 1979.
    """
    pairs = np.stack([values, np.ones_like(values) if base is None else base]).astype(np.float64)
    known = np.isfinite(pairs).all(0)
    pairs = pairs[:, known]
    n = pairs.shape[1]
    summary = Summary(n=n, left_out=int((~known).sum()), mean=np.nan, std=np.nan, low=np.nan, high=np.nan)
    if n == 0:
        return summary
    top, bottom = pairs[:, np.lexsort(pairs)]
    with np.errstate(divide="ignore", invalid="ignore"):
        mean = top.mean() / bottom.mean()
        summary["mean"] = float(mean)
        if n > 1:
            residuals = top - mean * bottom if base is not None else top - mean
            summary["std"] = float(np.sqrt((residuals**2).sum() / (n - 1)) / bottom.mean())
            drawn = np.random.default_rng(seed).integers(0, n, (RESAMPLES, n))
            resampled = top[drawn].mean(1) / bottom[drawn].mean(1)
            summary["low"], summary["high"] = (float(p) for p in np.percentile(resampled, [2.5, 97.5]))
    return summary


def start_middle_end(track: Tensor, every: int = 1) -> tuple[Tensor, Tensor, Tensor]:
    """Means [B] of the first, middle and last END_FRAMES frames of a track [B, T], nan skipped.

    Where the track holds every ``every``-th frame only, END_FRAMES is divided by that.
    """
    length = track.shape[1]
    count = max(1, min(END_FRAMES // every, length // 3))
    middle = (length - count) // 2
    return tuple(track[:, i : i + count].nanmean(1) for i in (0, middle, length - count))


class PerClip(Metric):
    """A metric that keeps one row of ``columns`` per clip.

    ``compute()`` gives ``{name: Summary}`` for every column and for every entry of ``ratios``
    (name -> (numerator column, denominator column)); ``per_clip()`` gives the rows themselves.
    """

    full_state_update = False
    columns: tuple[str, ...] = ()
    ratios: dict[str, tuple[str, str]] = {}

    def __init__(self, seed: int = 0, **kwargs):
        super().__init__(**kwargs)
        self.seed = seed
        # One flat list, not [n, columns]: torchmetrics lets a device without clips gather a tensor of shape [0].
        self.add_state("rows", default=[], dist_reduce_fx="cat")

    @abstractmethod
    def score(self, *inputs) -> tuple[Tensor, ...]:
        """One tensor [B] for each of ``columns``."""

    def update(self, *inputs) -> None:
        """Score a batch of whole clips; the arguments are those of ``score``."""
        self.rows.append(torch.stack(self.score(*inputs), -1).float().flatten())

    def per_clip(self) -> dict[str, np.ndarray]:
        """Column -> one float64 value per clip [n], in the order of the updates."""
        rows = dim_zero_cat(self.rows) if len(self.rows) else torch.zeros(0)
        table = rows.cpu().double().view(-1, len(self.columns)).numpy()
        return {name: table[:, i] for i, name in enumerate(self.columns)}

    def compute(self) -> dict[str, Summary]:
        clips = self.per_clip()
        summaries = {name: summarise(clips[name], seed=self.seed) for name in self.columns}
        for name, (top, bottom) in self.ratios.items():
            summaries[name] = summarise(clips[top], clips[bottom], seed=self.seed)
        return summaries


class AgainstBase(PerClip):
    """A measure of ``video`` and of ``base`` (the reconstruction or the real clip), and their ratio.

    Columns ``<name>`` and ``<name>_base``, ratio ``<name>_ratio`` with its ideal at 1.
    """

    name: str
    measure: Callable[[Tensor], Tensor]
    """[B, T, 3, H, W] in [-1, 1] -> [B]."""

    def __init__(self, seed: int = 0, **kwargs):
        super().__init__(seed, **kwargs)
        self.columns = (self.name, f"{self.name}_base")
        self.ratios = {f"{self.name}_ratio": self.columns}

    def score(self, video: Tensor, base: Tensor) -> tuple[Tensor, Tensor]:
        return self.measure(video), self.measure(base)
