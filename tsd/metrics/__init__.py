"""Every reported number, as a function of whole clips: videos [B, T, 3, H, W] in [-1, 1] without padding.

What is logged while a net trains is also a ``torchmetrics.Metric``: ``update`` takes a batch of clips (clips of another
length go in another call), ``compute`` gives ``{name: Summary}``. Ratios have their ideal at 1.
"""

from tsd.metrics.frechet import frechet_distance, gaussian
from tsd.metrics.identity import embed_frames, identity_cosines, slope_per_minute
from tsd.metrics.lpips import lpips_distance
from tsd.metrics.mouth import pearson, viseme_accuracy
from tsd.metrics.pixels import PSNR, psnr, sharpness, ssim
from tsd.metrics.statistics import Summary, start_middle_end, summarise
from tsd.metrics.sync import summarise_shifts, sync_distances, sync_scores
from tsd.metrics.temporal import (
    FlickerMeanStd,
    FlickerStd,
    TemporalL1,
    flicker_mean_std,
    flicker_std,
    motion_magnitude,
    real_flow,
    temporal_l1,
    warp_error,
)
