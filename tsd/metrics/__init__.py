"""Every reported number: a functional core, and a thin ``torchmetrics.Metric`` over whole clips.

``update`` takes a batch of whole clips, videos [B, T, 3, H, W] in [-1, 1] without padding (clips of
another length go in another call); ``compute`` gives ``{name: Summary}``. Ratios have their ideal at 1.
"""

from tsd.metrics.frechet import FrechetVideoDistance, frechet_distance, gaussian
from tsd.metrics.identity import IdentityCosine, embed_frames, identity_cosines, slope_per_minute
from tsd.metrics.lpips import LPIPS, lpips_distance, lpips_net
from tsd.metrics.mouth import MouthCorrelation, VisemeAccuracy, pearson, viseme_accuracy
from tsd.metrics.pixels import PSNR, SSIM, Sharpness, psnr, sharpness, ssim
from tsd.metrics.statistics import AgainstBase, PerClip, Summary, start_middle_end, summarise
from tsd.metrics.sync import Sync, SyncScores, summarise_shifts, sync_distances, sync_scores
from tsd.metrics.temporal import (
    FlickerMeanStd,
    FlickerStd,
    MotionMagnitude,
    TemporalL1,
    WarpError,
    flicker_mean_std,
    flicker_std,
    motion_magnitude,
    real_flow,
    temporal_l1,
    warp_error,
)

__all__ = [
    "LPIPS",
    "PSNR",
    "SSIM",
    "AgainstBase",
    "FlickerMeanStd",
    "FlickerStd",
    "FrechetVideoDistance",
    "IdentityCosine",
    "MotionMagnitude",
    "MouthCorrelation",
    "PerClip",
    "Sharpness",
    "Summary",
    "Sync",
    "SyncScores",
    "TemporalL1",
    "VisemeAccuracy",
    "WarpError",
    "embed_frames",
    "flicker_mean_std",
    "flicker_std",
    "frechet_distance",
    "gaussian",
    "identity_cosines",
    "lpips_distance",
    "lpips_net",
    "motion_magnitude",
    "pearson",
    "psnr",
    "real_flow",
    "sharpness",
    "slope_per_minute",
    "ssim",
    "start_middle_end",
    "summarise",
    "summarise_shifts",
    "sync_distances",
    "sync_scores",
    "temporal_l1",
    "viseme_accuracy",
    "warp_error",
]
