"""The chain of nets under test, and one clip made ready for it."""

import zlib
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from tsd.clip import Clip
from tsd.diffusion import Schedule, many_steps
from tsd.evaluation.clips.clock import clock
from tsd.evaluation.clips.instruments import BLOCK, Instruments, Truth, opening
from tsd.nets.affine import frame_to_reference
from tsd.nets.vae import Appearance
from tsd.runtime.talker import Talker


@dataclass
class Chain:
    """The nets under test, and what measures them; without a teacher its rows are left out."""

    talker: Talker
    teacher: nn.Module | None = None
    instruments: Instruments = field(default_factory=Instruments)
    teacher_schedule: Schedule = many_steps()

    def encode(self, frames: Tensor) -> Tensor:
        """[T, 3, R, R] -> [T, C, h, w]."""
        return torch.cat([self.talker.vae.encode(block) for block in frames.split(BLOCK)])

    def decode(self, z: Tensor, appearance: Appearance) -> Tensor:
        """[T, C, h, w] of one speaker, ``appearance`` along these frames -> [T, 3, R, R] in [-1, 1]."""
        blocks = zip(z.split(BLOCK), appearance.maps.split(BLOCK), strict=True)
        return torch.cat([self.talker.vae.decode(block, appearance.along(maps)) for block, maps in blocks])

    def visemes(self, mel: Tensor) -> Tensor:
        """What the student hears of a sound: log-mel [T * 4, 80] -> [T, V], or [T, V + 3] (``Talker.visemes``)."""
        return self.talker.listen(mel.cpu().numpy())


@dataclass
class Portrait:
    """A reference: picture [3, R, R] and motion [M], None where unknown."""

    picture: Tensor
    motion: Tensor | None

    @classmethod
    def of(cls, clip: Clip) -> "Portrait":
        """The reference of a batch of one."""
        return cls(clip.reference[0], clip.reference_motion[0] if clip.motion_known[0] else None)


@dataclass
class Other:
    """A clip of another identity, repeated or cut to T frames: the wrong face and the wrong speech."""

    portrait: Portrait
    frames: Tensor
    """[T, 3, R, R]"""
    visemes: Tensor
    """[T, V]"""


@dataclass
class Subject:
    """One clip of T frames, made ready once for all protocols."""

    key: str
    seed: int
    portrait: Portrait
    truth: Truth
    z: Tensor
    recon: Tensor
    appearance: Appearance
    """Of the portrait, along the clip's own motion."""
    motion: Tensor
    """[T, M] of the clip; zeros where unknown."""
    visemes: Tensor
    """[T, V] recognised from the clip's own sound."""
    other: Other | None
    """None where the split holds only one identity."""

    @classmethod
    @torch.inference_mode()
    def of(cls, chain: Chain, clip: Clip, other: Clip | None, seed: int) -> "Subject":
        """Two clips as ``whole_clip`` gives them: batches of one, with their sound."""
        frames, identity = clip.frames[0], chain.instruments.identity
        with clock("recon"):
            z, appearance = chain.encode(frames), appearance_along(chain, clip)
            recon = chain.decode(z, appearance)
        mouth_open = mouth_opening(chain.instruments, clip)
        embedding = identity(clip.reference) if identity is not None else None
        if other is not None:
            turns = torch.arange(len(frames)) % other.frames.shape[1]
            other = Other(Portrait.of(other), other.frames[0, turns], chain.visemes(other.mel[0])[turns])
        labels = clip.viseme_labels[0] if clip.viseme_labels is not None else None
        truth = Truth(frames, mouth_open, labels, clip.mel[0], embedding)
        visemes = chain.visemes(clip.mel[0])
        return cls(clip.key[0], seed, Portrait.of(clip), truth, z, recon, appearance, clip.motion[0], visemes, other)

    @property
    def own_seed(self) -> int:
        """The seed of everything random about this clip, whatever is evaluated beside it."""
        return clip_seed(self.key, self.seed)

    def noise(self) -> Tensor:
        """Unit noise [T, C, h, w], fresh in every frame."""
        return clip_noise(self.key, self.z.shape, self.seed)


def mouth_opening(instruments: Instruments, clip: Clip) -> Tensor | None:
    """[T] of a batch of one: the true opening of a drawn mouth; of a recorded one, whose opening nobody knows, what the
    instrument sees in the real frames. None where there is neither."""
    if clip.mouth_open is not None and clip.mouth_open.isfinite().any():
        return clip.mouth_open[0]
    if instruments.mouth is None:
        return None
    return opening(instruments, clip.frames[0])


def appearance_along(chain: Chain, clip: Clip) -> Appearance:
    """The reference of a batch of one, in frames whose heads move as the clip's do."""
    maps = frame_to_reference(clip.motion, clip.reference_motion, clip.motion_known)
    return chain.talker.vae.appearance(clip.reference).along(maps)


def clip_seed(key: str, seed: int) -> int:
    """The seed of everything random about one clip."""
    return zlib.crc32(f"{seed} {key}".encode())


def clip_noise(key: str, shape, seed: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(clip_seed(key, seed)))
