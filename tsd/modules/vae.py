"""Stage ``vae``: the KL VAE of Eq. 2."""

import torch
import torch.nn.functional as F
from torch import Tensor

from tsd import devices, losses
from tsd.clip import Clip
from tsd.modules.augmentation import similarities
from tsd.modules.base import WeightedStage, mouth_region
from tsd.nets.affine import after, frame_to_reference, placed, placed_cells
from tsd.nets.blocks import per_frame
from tsd.nets.interface import Appearance
from tsd.nets.vae import OF_LATENTS, VAE

LATENT_NOISE = 0.1
"""Standard deviation of the noise that is added to normalised latents (std 1) while the decoder trains. A decoder that
tolerates such errors makes the denoiser's task easier. Our choice."""

P_GUESSED = 0.5
"""Fraction of the clips whose latents a taught decoder sees as a student may guess them. Our choice."""

GUESS = (-0.2, 0.8)
"""How far a guessed latent lies on the way from the frame's to the reference's at the head's place: a student's mouths
move less, or a little more, than real ones. Our choice."""

GUESS_NOISE = 0.3
"""Largest standard deviation of the smooth errors of guessed latents. Our choice."""

PIXELS_OF_FLOW = 4.0
"""Weight, in the term ``moved``, of the difference from the teacher's offsets in units of the side. Our choice."""

P_NO_MOTION = 0.3
"""Probability that the head's position is withheld from the decoder in training, so that it works without. Our
choice."""


class VAEModule(WeightedStage):
    """Trains reconstruction, edges, flow and KL, and tracks the mean and std of the latents.

    decoder_only: train the decoder alone. Encoder and latents stay as they are, so denoisers trained on them still fit:
    for another decoder, or one that paints pictures of twice the size. Our choice.
    taught: with ``decoder_only``, the decoder that the latents come with (``init``) shows what to paint of latents that
    are guessed and not encoded (``guesses``). Frames cannot show that, and a lighter decoder that learned from encoded
    latents alone painted worse what a student guessed (docs/log.md). Our choice.
    carried_share: fraction of the clips that are augmented: their latents are rotated, scaled and shifted, and the
    decoder has to paint the frames transformed in the same way. The denoiser starts from the reference's latent warped
    to the head's position, which only works if latents transform as pictures do. After Kouzelis et al. 2025 (EQ-VAE).
    Without effect where the decoder is trained alone, and in validation.
    """

    net: VAE

    def __init__(
        self,
        net: VAE,
        loss,
        optimizer,
        decoder_only: bool = False,
        carried_share: float = 0.0,
        taught: bool = False,
    ):
        super().__init__(net, loss, optimizer)
        if not 0 <= carried_share <= 1:
            raise ValueError(f"carried_share is a share of the clips, 0..1, got {carried_share}")
        self.decoder_only, self.carried_share, self.taught = decoder_only, carried_share, taught
        if decoder_only:
            for name, parameter in net.named_parameters():
                parameter.requires_grad_(not name.startswith(OF_LATENTS))

    def learn_from(self, teacher: VAE) -> None:
        """The VAE whose decoder shows what to paint. ValueError where it paints pictures of another size."""
        if teacher.resolution != self.net.resolution:
            raise ValueError(
                f"stage.module.taught=true: init paints {teacher.resolution} pixels, model.vae {self.net.resolution}: "
                "only a decoder of the same size can show what to paint"
            )
        self.hold_frozen(teacher=teacher)

    def step_losses(self, clip: Clip) -> dict[str, Tensor]:
        count, frames = clip.frames.shape[1], clip.frames.flatten(0, 1)
        region = None
        if self.loss.mouth and clip.mouth_box is not None:
            region = mouth_region(clip, frames.shape[-1]).flatten(0, 1)
        carry = self.carry(clip)
        z, terms = self.encode(frames, len(clip), carry)
        if carry is not None:
            frames = placed(frames, carry)
            region = None if region is None else placed(region, carry)
        maps = self.maps(clip, carry)
        shown = None
        with torch.no_grad():
            appearance = self.net.appearance(clip.reference).along(maps)
            if self.taught and self.training:
                z = self.guessed(z, appearance, count)
                shown = self.frozen["teacher"].decode_raw(z, appearance, count)
                frames = shown.picture.clamp(-1, 1)
        decoded = self.net.decode_raw(z, appearance, count)
        recon, moved = decoded.picture, frames if shown is None else shown.moved
        terms |= {
            "reconstruction": losses.reconstruction(recon, frames),
            "moved": losses.moved(decoded.moved, moved),
            "edges": losses.edges(recon, frames),
        }
        if shown is not None:
            terms["moved"] = terms["moved"] + PIXELS_OF_FLOW * (decoded.offsets - shown.offsets).abs().mean()
        if region is not None:
            terms["mouth"] = losses.reconstruction(recon, frames, region)
        return terms

    def guessed(self, z: Tensor, appearance: Appearance, count: int) -> Tensor:
        """Latents z [B * count, C, h, w], those of P_GUESSED of the clips as a student may guess them."""
        chosen = devices.rand(len(z) // count, device=z.device) < P_GUESSED
        if not chosen.any():
            return z
        each = per_frame(chosen, count)
        here = placed_cells(per_frame(appearance.latent, count)[each], appearance.maps[each])
        z = z.clone()
        z[each] = guesses(z[each], here, count)
        return z

    def carry(self, clip: Clip) -> Tensor | None:
        """Random rotation, scale and shift of every frame as maps [B * T, 2, 3], the same for all frames of a clip;
        None where nothing is augmented."""
        if not self.training or not self.carried_share or self.decoder_only:
            return None
        return per_frame(similarities(len(clip), self.carried_share, clip.frames.device), clip.frames.shape[1])

    def encode(self, frames: Tensor, clips: int, carry: Tensor | None) -> tuple[Tensor, dict[str, Tensor]]:
        """Latents of frames [clips * T, 3, H, W]: drawn from the posterior, normalised, transformed by ``carry``, with
        noise added; and the term ``kl`` where the encoder is trained."""
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.decoder_only):
            mean, log_variance = self.net.moments(frames)
        if self.training and not self.decoder_only:
            self.track_statistics(mean.detach().float())
        shape = clips, 2, len(frames) // clips, *mean.shape[1:]
        first, second = (x.flatten(0, 1) for x in devices.randn(*shape, device=mean.device).unbind(1))
        z = self.net.normalise(mean + first * (0.5 * log_variance).exp())
        if carry is not None:
            z = placed_cells(z, carry)
        z = z + LATENT_NOISE * second
        return z, {} if self.decoder_only else {"kl": losses.kl(mean, log_variance)}

    def maps(self, clip: Clip, carry: Tensor | None) -> Tensor:
        """Maps [B * T, 2, 3] from positions in the frames, transformed by ``carry``, to positions in the reference.
        The identity where the head's position is unknown or, in training, withheld."""
        known = clip.motion_known
        if self.training:
            known = known & (devices.rand(len(clip), device=known.device) >= P_NO_MOTION)
        maps = frame_to_reference(clip.motion, clip.reference_motion, known)
        if carry is None:
            return maps
        return torch.where(per_frame(known, clip.motion.shape[1])[:, None, None], after(maps, carry), maps)

    @torch.no_grad()
    def track_statistics(self, mean: Tensor, momentum: float = 0.02) -> None:
        """Exponential running mean and std per latent channel, so that the last steps decide."""
        first = bool((self.net.latent_std == 1).all()) and bool((self.net.latent_mean == 0).all())
        momentum = 1.0 if first else momentum
        self.net.latent_mean.lerp_(devices.mean(mean.mean((0, 2, 3))), momentum)
        variance = devices.mean((mean - self.net.latent_mean[:, None, None]).square().mean((0, 2, 3)))
        self.net.latent_std.copy_(self.net.latent_std.square().lerp(variance, momentum).sqrt().clamp(min=1e-4))

    def validation_step(self, clip: Clip, _: int) -> dict[str, Tensor]:
        z = self.net.encode(clip.frames)
        recon = self.net.decode(z, self.net.appearance(clip.reference))
        self.log("val/roughness", roughness(z), batch_size=len(clip))
        self.log("val/total", losses.reconstruction(recon, clip.frames), batch_size=len(clip), prog_bar=True)
        return {"pred": recon, "target": clip.frames}


def guesses(z: Tensor, reference: Tensor, count: int) -> Tensor:
    """Latents z [B * count, C, h, w] of frames moved towards those of the reference at the head's place, by as much in
    all frames of a clip, with errors that neighbouring cells share."""
    clips = len(z) // count
    way = GUESS[0] + (GUESS[1] - GUESS[0]) * devices.rand(clips, 1, 1, 1, device=z.device)
    noise = 3 * F.avg_pool2d(devices.randn(*z.shape, device=z.device), 3, 1, 1)  # of standard deviation 1
    spread = GUESS_NOISE * devices.rand(clips, 1, 1, 1, device=z.device)
    return torch.lerp(z, reference, per_frame(way, count)) + per_frame(spread, count) * noise


def roughness(z: Tensor) -> Tensor:
    """Mean squared difference of neighbouring cells of normalised latents [..., h, w]; 2 for white noise. Smoother
    latents leave less for a denoiser to guess (docs/design/vae-training.md). Our choice."""
    return (z.diff(dim=-1).square().mean() + z.diff(dim=-2).square().mean()) / 2
