"""The KL VAE of Eq. 2: pictures in [-1, 1] to normalised latents and back."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tsd.nets.blocks import ResBlock, norm

LOG_VARIANCE_RANGE = (-20.0, 4.0)
FIRST_LOG_VARIANCE = -6.0
"""Posterior noise at the start of training: with the usual 0 the latents drown in it for hundreds of steps."""


class VAE(nn.Module):
    """Encoder and light decoder, ``2 ** len(channels)`` times smaller latents.

    channels: widths from the picture's half size down to the latent's size. Both ends of the net are pixel
    (un)shuffles, so no layer at full size is wider than 12 channels.
    Latents leave ``encode`` with zero mean and unit std per channel: the statistics of the training
    latents are stored with the weights (buffers ``latent_mean``, ``latent_std``).
    """

    def __init__(self, resolution: int, latent_channels: int, channels: list[int], decoder_blocks: int = 2):
        super().__init__()
        self.factor = 2 ** len(channels)
        if resolution % self.factor:
            raise ValueError(f"resolution {resolution} must be a multiple of {self.factor} (model.vae.channels)")
        self.resolution, self.latent_channels = resolution, latent_channels
        self.latent_size = resolution // self.factor

        self.encoder = nn.ModuleList([nn.Conv2d(12, channels[0], 3, padding=1), ResBlock(channels[0], channels[0])])
        for wide, wider in zip(channels, channels[1:], strict=False):
            self.encoder += [nn.Conv2d(wide, wider, 4, stride=2, padding=1), ResBlock(wider, wider)]
        self.to_moments = nn.Sequential(norm(channels[-1]), nn.SiLU(), nn.Conv2d(channels[-1], 2 * latent_channels, 1))

        nn.init.constant_(self.to_moments[-1].bias[latent_channels:], FIRST_LOG_VARIANCE)

        self.decoder = nn.ModuleList([nn.Conv2d(latent_channels, channels[-1], 3, padding=1)])
        self.decoder += [ResBlock(channels[-1], channels[-1]) for _ in range(decoder_blocks)]
        for wider, wide in zip(channels[:0:-1], channels[-2::-1], strict=True):
            self.decoder += [nn.Conv2d(wider, 4 * wide, 1), nn.PixelShuffle(2), ResBlock(wide, wide)]
        self.to_picture = nn.Sequential(norm(channels[0]), nn.SiLU(), nn.Conv2d(channels[0], 12, 3, padding=1))

        self.register_buffer("latent_mean", torch.zeros(latent_channels))
        self.register_buffer("latent_std", torch.ones(latent_channels))

    def moments(self, frames: Tensor) -> tuple[Tensor, Tensor]:
        """frames [N, 3, H, W] -> mean, log variance [N, C, h, w], not normalised."""
        if frames.shape[-3:] != (3, self.resolution, self.resolution):
            want = [3, self.resolution, self.resolution]
            raise ValueError(f"the VAE takes frames {want}, got {list(frames.shape[-3:])}")
        x = F.pixel_unshuffle(frames, 2)
        for layer in self.encoder:
            x = layer(x)
        mean, log_variance = self.to_moments(x).chunk(2, 1)
        return mean, log_variance.clamp(*LOG_VARIANCE_RANGE)

    def encode(self, frames: Tensor) -> Tensor:
        """frames [..., 3, H, W] in [-1, 1] -> z [..., C, h, w], the normalised posterior mean."""
        mean, _ = self.moments(frames.flatten(0, -4))
        return self.normalise(mean).unflatten(0, frames.shape[:-3])

    def decode(self, z: Tensor) -> Tensor:
        """z [..., C, h, w] -> frames [..., 3, H, W] in [-1, 1]."""
        return self.decode_raw(self.denormalise(z.flatten(0, -4))).clamp(-1, 1).unflatten(0, z.shape[:-3])

    def decode_raw(self, x: Tensor) -> Tensor:
        """Latents [N, C, h, w] before normalisation -> pictures, not clamped (so that gradients flow)."""
        for layer in self.decoder:
            x = layer(x)
        return F.pixel_shuffle(self.to_picture(x), 2)

    def normalise(self, latent: Tensor) -> Tensor:
        """Latents [N, C, h, w] to zero mean and unit std per channel."""
        return (latent - self.latent_mean[:, None, None]) / self.latent_std[:, None, None]

    def denormalise(self, z: Tensor) -> Tensor:
        """The inverse of ``normalise``."""
        return z * self.latent_std[:, None, None] + self.latent_mean[:, None, None]
