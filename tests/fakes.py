"""Batches of noise and small nets: enough to run every stage without a corpus. And where the configurations lie."""

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import nn

from tsd.clip import MELS, MELS_PER_FRAME, VISEMES, Clip, viseme_windows
from tsd.nets.affine import CANONICAL_FACE
from tsd.nets.denoiser import Condition, Denoiser
from tsd.nets.vae import VAE

CONF = Path(__file__).parents[1] / "conf"
SIDE, LATENT_CHANNELS, LATENT_SIDE = 32, 4, 8
PAYLOAD = 0xA1B2C3D4
"""Of a mark."""


def fake_motion(*shape: int) -> torch.Tensor:
    """Motion [*shape, M]: the canonical face a little displaced."""
    face = torch.tensor(CANONICAL_FACE).flatten()
    return torch.cat([face.expand(*shape, 6) + 0.03 * torch.randn(*shape, 6), torch.rand(*shape, 1)], -1)


def fake_clip(batch: int = 3, frames: int = 4, side: int = SIDE, seed: int = 0) -> Clip:
    """A batch with every field but the cached latents; the last reference shows another identity."""
    torch.manual_seed(seed)
    labels = torch.rand(batch, frames, len(VISEMES)).softmax(-1)
    return Clip(
        frames=torch.rand(batch, frames, 3, side, side) * 2 - 1,
        reference=torch.rand(batch, 3, side, side) * 2 - 1,
        visemes=viseme_windows(labels).contiguous(),
        motion=fake_motion(batch, frames),
        reference_motion=fake_motion(batch),
        motion_known=torch.ones(batch, dtype=torch.bool),
        mismatch=torch.arange(batch) == batch - 1,
        identity=torch.arange(batch),
        key=[f"trainval/p{i:04d}/00001.mp4" for i in range(batch)],
        start=torch.arange(batch) * 3,
        mel=torch.randn(batch, frames * MELS_PER_FRAME, MELS),
        viseme_labels=labels,
        mouth_open=torch.rand(batch, frames) * 0.1,
        mouth_box=torch.tensor([0.35, 0.6, 0.65, 0.85]).expand(batch, frames, 4).clone(),
        pair=torch.randint(1, frames, (batch,)),
        flow=torch.randn(batch, 2, side, side),
        visible=torch.ones(batch, 1, side, side),
    )


def part_of(clip: Clip, rows: list[int]) -> Clip:
    """Some clips of a batch as a batch."""
    fields = {name: value[rows] if isinstance(value, torch.Tensor) else value for name, value in vars(clip).items()}
    return Clip(**{**fields, "key": [clip.key[i] for i in rows]})


def awake(net: nn.Module, seed: int = 0) -> nn.Module:
    """The net with its zero-initialised layers at random, so that every branch has something to say."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in net.parameters():
            if not parameter.any():
                parameter.copy_(0.1 * torch.randn(parameter.shape, generator=generator))
    return net


def fake_vae(side: int = SIDE, painted: Sequence[int] = ()) -> VAE:
    torch.manual_seed(1)
    vae = VAE(side, LATENT_CHANNELS, [8, 16], decoder_blocks=1, painted=painted)
    vae.latent_mean.copy_(torch.randn(LATENT_CHANNELS))
    vae.latent_std.copy_(torch.rand(LATENT_CHANNELS) + 0.5)
    return awake(vae)


def fake_denoiser(causal: bool = True, seed: int = 2, **kwargs) -> Denoiser:
    torch.manual_seed(seed)
    sizes = {"channels": [8, 16], "blocks": 1, "reference_channels": 8, "emb_channels": 16} | kwargs
    return awake(Denoiser(LATENT_CHANNELS, LATENT_SIDE, causal=causal, **sizes))


def fake_condition(batch: int = 2, frames: int = 6, seed: int = 3) -> Condition:
    torch.manual_seed(seed)
    return Condition(
        visemes=viseme_windows(torch.rand(batch, frames, len(VISEMES)).softmax(-1)).contiguous(),
        motion=fake_motion(batch, frames),
        motion_known=torch.ones(batch, dtype=torch.bool),
        reference_latent=torch.randn(batch, LATENT_CHANNELS, LATENT_SIDE, LATENT_SIDE),
        reference_motion=fake_motion(batch),
    )


def fake_encode(frames: torch.Tensor) -> torch.Tensor:
    """A linear stand-in for a VAE that is not symmetric under mirroring: [n, 3, 32, 32] -> [n, 4, 8, 8]."""
    pooled = torch.nn.functional.avg_pool2d(frames, 4)
    return torch.cat([pooled, pooled[:, :1] * torch.linspace(0, 1, 8)], 1)


def busy(num_frames: int = 80, height: int = 128, width: int = 128, seed: int = 0) -> np.ndarray:
    """uint8 [T, H, W, 3]: blurred noise that drifts, beside a flat strip on the left."""
    rng = np.random.default_rng(seed)
    noise = cv2.GaussianBlur(rng.normal(0, 1, (height + 16, width + 16)).astype(np.float32), (0, 0), height / 100)
    noise = 128 + 30 * noise / noise.std()
    noise[:, : width // 4] = 90
    shifts = np.rint(4 * np.sin(np.arange(num_frames) / 12)).astype(int) + 8
    frames = [noise[s : s + height, :width] for s in shifts]
    return np.clip(np.rint(np.stack(frames)), 0, 255).astype(np.uint8)[..., None].repeat(3, 3)
