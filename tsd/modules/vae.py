"""Stage ``vae``: the KL VAE of Eq. 2."""

import torch
from torch import Tensor

from tsd import devices, losses
from tsd.clip import Clip
from tsd.modules.base import WeightedStage, mouth_region
from tsd.nets.affine import frame_to_reference
from tsd.nets.vae import OF_LATENTS, VAE

LATENT_NOISE = 0.1
"""Std of the noise on normalised latents while the decoder trains, in units of the latents' own std: a decoder that
shrugs at errors of this size makes the denoiser's task easier. Our choice."""

P_NO_MOTION = 0.3
"""How often the decoder is not told where the head is while it trains: it must do without, too. Our choice."""


class VAEModule(WeightedStage):
    """Reconstruction, edges, flow and KL; the statistics of the latents are tracked as it trains.

    decoder_only: latents stay as they are, so that what was trained on them stays right: a decoder of another size, or
    for pictures of twice the size, is trained on the encoder of the VAE that the training goes on from. Our choice.
    """

    net: VAE

    def __init__(self, net: VAE, loss, optimizer, decoder_only: bool = False):
        super().__init__(net, loss, optimizer)
        self.decoder_only = decoder_only
        if decoder_only:
            for name, parameter in net.named_parameters():
                parameter.requires_grad_(not name.startswith(OF_LATENTS))

    def step_losses(self, clip: Clip) -> dict[str, Tensor]:
        frames = clip.frames.flatten(0, 1)
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.decoder_only):
            mean, log_variance = self.net.moments(frames)
        if self.training and not self.decoder_only:
            self.track_statistics(mean.detach().float())
        shape = len(clip), 2, clip.frames.shape[1], *mean.shape[1:]
        first, second = (x.flatten(0, 1) for x in devices.randn(*shape, device=mean.device).unbind(1))
        latent = mean + first * (0.5 * log_variance).exp()
        with torch.no_grad():
            appearance = self.net.appearance(clip.reference).along(self.maps(clip))
        z = self.net.normalise(latent)
        recon, moved = self.net.decode_raw(z + LATENT_NOISE * second, appearance, clip.frames.shape[1])
        terms = {
            "reconstruction": losses.reconstruction(recon, frames),
            "moved": losses.moved(moved, frames),
            "edges": losses.edges(recon, frames),
        }
        if not self.decoder_only:
            terms["kl"] = losses.kl(mean, log_variance)
        if self.loss.mouth and clip.mouth_box is not None:
            region = mouth_region(clip, frames.shape[-1]).flatten(0, 1)
            terms["mouth"] = losses.reconstruction(recon, frames, region)
        return terms

    def maps(self, clip: Clip) -> Tensor:
        """Where the heads are, [B * T, 2, 3]; withheld from some clips in training."""
        known = clip.motion_known
        if self.training:
            known = known & (devices.rand(len(clip), device=known.device) >= P_NO_MOTION)
        return frame_to_reference(clip.motion, clip.reference_motion, known)

    @torch.no_grad()
    def track_statistics(self, mean: Tensor, momentum: float = 0.02) -> None:
        """Running mean and std per latent channel (exponential, so that the last steps decide)."""
        first = bool((self.net.latent_std == 1).all()) and bool((self.net.latent_mean == 0).all())
        momentum = 1.0 if first else momentum
        self.net.latent_mean.lerp_(devices.mean(mean.mean((0, 2, 3))), momentum)
        variance = devices.mean((mean - self.net.latent_mean[:, None, None]).square().mean((0, 2, 3)))
        self.net.latent_std.copy_(self.net.latent_std.square().lerp(variance, momentum).sqrt().clamp(min=1e-4))

    def validation_step(self, clip: Clip, _: int) -> dict[str, Tensor]:
        recon = self.net.decode(self.net.encode(clip.frames), self.net.appearance(clip.reference))
        self.log("val/total", losses.reconstruction(recon, clip.frames), batch_size=len(clip), prog_bar=True)
        return {"pred": recon, "target": clip.frames}
