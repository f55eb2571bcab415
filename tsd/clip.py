"""The batch that all stages share: its fields, shapes, ranges and checks, and the constants behind them."""

from collections.abc import Callable
from dataclasses import dataclass, fields, replace

import numpy as np
import torch
from torch import Tensor

from tsd.media.signals import (  # noqa: F401  stages take a clip's constants from here
    EYES_OPEN,
    FPS,
    HEARS,
    LIPS,
    LOUDNESS,
    MEL_AUDIBLE,
    MELS,
    MELS_PER_FRAME,
    MOTION,
    OPEN,
    PHONEMES,
    SAMPLE_RATE,
    VISEME_FUTURE,
    VISEME_PAST,
    VISEME_WINDOW,
    VISEMES,
    to_levels,
    to_planes,
)


def viseme_windows(visemes: Tensor) -> Tensor:
    """[..., T, V] -> [..., T, W, V]: the visemes around every frame, zeros beyond both ends."""
    padded = torch.nn.functional.pad(visemes, (0, 0, VISEME_PAST, VISEME_FUTURE))
    return padded.unfold(-2, VISEME_WINDOW, 1).transpose(-1, -2)


def to_unit(pictures: Tensor) -> Tensor:
    """uint8 -> float32 in [-1, 1]. Floats are returned as they are: they are expected to be in that range."""
    return pictures if pictures.is_floating_point() else pictures.float().div_(127.5).sub_(1.0)


def to_frames(pictures: np.ndarray) -> Tensor:
    """uint8 [..., H, W, 3] -> float32 [..., 3, H, W] in [-1, 1]."""
    return torch.from_numpy(to_planes(pictures))


def to_uint8(frames: Tensor) -> np.ndarray:
    """Frames [..., 3, H, W] in [-1, 1] -> uint8 [..., H, W, 3]."""
    return to_levels(frames.detach().float().cpu().numpy())


def flip_motion(motion: Tensor) -> Tensor:
    """Motion [..., M] of the mirrored picture: x becomes 1 - x and the eyes change places."""
    lx, ly, rx, ry, nx, ny, eyes = motion.unbind(-1)
    return torch.stack([1 - rx, ry, 1 - lx, ly, 1 - nx, ny, eyes], -1)


def openness(mouth_open: Tensor, motion: Tensor) -> Tensor:
    """Gap between the lips [..., T] over the picture's side and motion [..., T, M] -> [..., T], the gap over the
    distance of the eyes in units of OPEN: the same for every size of a face. nan where the gap is unknown."""
    x, y = motion[..., 2] - motion[..., 0], motion[..., 3] - motion[..., 1]
    return mouth_open / torch.hypot(x, y).clamp(min=1e-3) / OPEN


@dataclass
class Clip:
    """A batch of windows of T frames. ``None`` means that the source does not have the field.

    The reference is another frame of the same clip, or of another identity where ``mismatch``.
    """

    frames: Tensor
    """[B, T, 3, H, W] in [-1, 1]; uint8 as they come from a loader (see ``in_unit``)."""
    reference: Tensor
    """[B, 3, H, W], in the same range."""
    visemes: Tensor
    """[B, T, W, V] viseme probabilities around each frame; all zero where unknown. With ``data.hears``
    [B, T, W, HEARS[hears]]: LIPS or LOUDNESS behind them, all zero where unknown."""
    motion: Tensor
    """[B, T, M], see MOTION; zeros where not ``motion_known``."""
    reference_motion: Tensor
    """[B, M]; zeros where not ``motion_known``."""
    motion_known: Tensor
    """[B] bool: motion of the clip and of its reference are both known."""
    mismatch: Tensor
    """[B] bool: the reference shows another identity."""
    identity: Tensor
    """[B] int64, index of the person inside the split."""
    key: list[str]
    """[B] the clip's path inside its root. It names the clip in reports and seeds its noise."""
    start: Tensor
    """[B] int64, first frame of the window inside the clip."""
    mel: Tensor | None = None
    """[B, T * MELS_PER_FRAME, MELS] log-mel of the window's sound."""
    viseme_labels: Tensor | None = None
    """[B, T, V] visemes of the frames themselves: the target of the viseme recogniser."""
    phoneme_labels: Tensor | None = None
    """[B, T, P] the phonemes of the frames; zeros where unknown."""
    mouth_open: Tensor | None = None
    """[B, T] true mouth opening: the distance of the inner lips over the picture's side; nan if unknown."""
    mouth_box: Tensor | None = None
    """[B, T, 4] x0 y0 x1 y1 in units of the picture's side; nan if unknown."""
    latents: Tensor | None = None
    """[B, T, C, h, w] normalised latents of ``frames``, from the cache."""
    reference_latent: Tensor | None = None
    """[B, C, h, w] normalised latent of ``reference``, from the cache."""
    pair: Tensor | None = None
    """[B] int64 t in 1..T-1: the frame whose flow to frame t - 1 is given."""
    flow: Tensor | None = None
    """[B, 2, H, W] pixels: frame t at (x, y) shows what frame t - 1 shows at (x, y) + flow."""
    visible: Tensor | None = None
    """[B, 1, H, W] in {0, 1}: 1 where that flow passes the forward-backward check."""

    def __post_init__(self):
        if self.frames.ndim != 5 or self.frames.shape[2] != 3:
            raise ValueError(f"frames must be [B, T, 3, H, W], got {list(self.frames.shape)}")
        b, t, _, h, w = self.frames.shape
        expected = {
            "reference": (b, 3, h, w),
            "visemes": (b, t, VISEME_WINDOW, max(self.visemes.shape[-1], len(VISEMES))),
            "motion": (b, t, len(MOTION)),
            "reference_motion": (b, len(MOTION)),
            "motion_known": (b,),
            "mismatch": (b,),
            "identity": (b,),
            "mel": (b, t * MELS_PER_FRAME, MELS),
            "viseme_labels": (b, t, len(VISEMES)),
            "phoneme_labels": (b, t, len(PHONEMES)),
            "mouth_open": (b, t),
            "mouth_box": (b, t, 4),
            "flow": (b, 2, h, w),
            "visible": (b, 1, h, w),
        }
        for name, shape in expected.items():
            value = getattr(self, name)
            if value is not None and tuple(value.shape) != shape:
                raise ValueError(f"{name} must be {list(shape)}, got {list(value.shape)}")

    def __len__(self) -> int:
        return len(self.frames)

    def to(self, device, non_blocking: bool = False) -> "Clip":
        """The same batch on another device (Lightning moves batches by this)."""
        return self._map(lambda value: value.to(device, non_blocking=non_blocking))

    def pin_memory(self) -> "Clip":
        """The same batch in pinned memory, from where a GPU copies it asynchronously (torch's loader calls this)."""
        return self._map(Tensor.pin_memory)

    def _map(self, change: Callable[[Tensor], Tensor]) -> "Clip":
        values = {f.name: getattr(self, f.name) for f in fields(self)}
        return Clip(**{name: change(v) if isinstance(v, Tensor) else v for name, v in values.items()})

    def in_unit(self) -> "Clip":
        """The same batch with its pictures in [-1, 1]. A loader gives them as bytes: as floats, the copy to a GPU would
        take four times as long."""
        return replace(self, frames=to_unit(self.frames), reference=to_unit(self.reference))
