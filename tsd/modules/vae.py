"""Stage ``vae``: the KL VAE of Eq. 2."""

import torch
from torch import Tensor, nn

from tsd import devices, losses
from tsd.clip import Clip
from tsd.diffusion import Schedule, draw_noise, sample
from tsd.modules.augmentation import similarities
from tsd.modules.base import WeightedStage, mouth_region
from tsd.nets.affine import after, frame_to_reference, placed, placed_cells
from tsd.nets.blocks import per_frame
from tsd.nets.denoiser import Condition
from tsd.nets.vae import OF_LATENTS, VAE

LATENT_NOISE = 0.1
"""Std of the noise on normalised latents while the decoder trains, in units of the latents' own std: a decoder that
shrugs at errors of this size makes the denoiser's task easier. Our choice."""

P_NO_MOTION = 0.3
"""How often the decoder is not told where the head is while it trains: it must do without, too. Our choice."""

DECODED = 2
"""Frames of a window that are decoded where a student makes some of the latents: its windows are longer than a decoder
has use for. Drawn at random."""


class VAEModule(WeightedStage):
    """Reconstruction, edges, flow and KL; the statistics of the latents are tracked as it trains.

    decoder_only: latents stay as they are, so that what was trained on them stays right: a decoder of another size, or
    for pictures of twice the size, is trained on the encoder of the VAE that the training goes on from. Our choice.
    generated_share: so many of the batches are latents that the ``student`` makes from pure noise, in steps of one of
    the ``schedules``, to be painted as the clip: what a decoder meets in use is neither free of errors nor are they
    white. With ``decoder_only`` alone. Our choice.
    carried_share: so many of the clips have their latents turned, sized and shifted, to be painted as the clip
    likewise carried: a denoiser begins with the reference's latent carried to where the head is, which is right as far
    as latents move as pictures do. After Kouzelis et al. 2025 (EQ-VAE).
    """

    net: VAE

    def __init__(
        self,
        net: VAE,
        loss,
        optimizer,
        decoder_only: bool = False,
        generated_share: float = 0.0,
        schedules: dict[str, Schedule] | None = None,
        student: nn.Module | None = None,
        carried_share: float = 0.0,
    ):
        super().__init__(net, loss, optimizer)
        if not 0 <= generated_share <= 1:
            raise ValueError(f"generated_share is a share of the batches, 0..1, got {generated_share}")
        if not 0 <= carried_share <= 1:
            raise ValueError(f"carried_share is a share of the clips, 0..1, got {carried_share}")
        if generated_share and (student is None or not schedules):
            raise ValueError("generated_share is above 0 but there is no student, or no schedule: give weights.student")
        if generated_share and not decoder_only:
            raise ValueError("generated_share is above 0: the student knows latents that stay, set decoder_only=true")
        self.decoder_only, self.generated_share = decoder_only, generated_share
        self.of_student, self.carried_share = list((schedules or {}).values()), carried_share
        self.hold_frozen(student=student)
        if decoder_only:
            for name, parameter in net.named_parameters():
                parameter.requires_grad_(not name.startswith(OF_LATENTS))

    def step_losses(self, clip: Clip) -> dict[str, Tensor]:
        generated = self.generated_share > 0 and float(torch.rand(())) < self.generated_share
        shown = self.decoded_frames(clip)
        count = shown[1].shape[1]
        frames = clip.frames[shown].flatten(0, 1)
        terms, carry = {}, None
        if self.training and self.carried_share and not self.decoder_only:
            carry = similarities(len(clip), self.carried_share, frames.device)
        if generated:
            z = self.generate(clip)[shown].flatten(0, 1)
        else:
            z, terms = self.encode(frames, len(clip), carry)
        if carry is not None:
            frames = placed(frames, per_frame(carry, count))
        maps = self.maps(clip, carry, always=generated).unflatten(0, clip.motion.shape[:2])[shown].flatten(0, 1)
        with torch.no_grad():
            appearance = self.net.appearance(clip.reference).along(maps)
        recon, moved = self.net.decode_raw(z, appearance, count)
        terms |= {
            "reconstruction": losses.reconstruction(recon, frames),
            "moved": losses.moved(moved, frames),
            "edges": losses.edges(recon, frames),
        }
        if self.loss.mouth and clip.mouth_box is not None:
            region = mouth_region(clip, frames.shape[-1])[shown].flatten(0, 1)
            region = region if carry is None else placed(region, per_frame(carry, count))
            terms["mouth"] = losses.reconstruction(recon, frames, region)
        return terms

    def decoded_frames(self, clip: Clip) -> tuple[Tensor, Tensor]:
        """Rows [B, 1] and numbers [B, n] of the frames of a batch that are decoded; all without ``generated_share``."""
        frames, device = clip.frames.shape[1], clip.frames.device
        rows = torch.arange(len(clip), device=device)[:, None]
        if not self.generated_share:
            return rows, torch.arange(frames, device=device).expand(len(clip), -1)
        drawn = devices.rand(len(clip), frames, device=device)
        return rows, drawn.topk(min(DECODED, frames)).indices.sort().values

    def encode(self, frames: Tensor, clips: int, carry: Tensor | None = None) -> tuple[Tensor, dict[str, Tensor]]:
        """Latents of frames [clips * n, 3, H, W] drawn from the posterior, carried by [clips, 2, 3], with noise; and
        what they cost."""
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.decoder_only):
            mean, log_variance = self.net.moments(frames)
        if self.training and not self.decoder_only:
            self.track_statistics(mean.detach().float())
        shape = clips, 2, len(frames) // clips, *mean.shape[1:]
        first, second = (x.flatten(0, 1) for x in devices.randn(*shape, device=mean.device).unbind(1))
        z = self.net.normalise(mean + first * (0.5 * log_variance).exp())
        if carry is not None:
            z = placed_cells(z, per_frame(carry, len(frames) // clips))
        z = z + LATENT_NOISE * second
        return z, {} if self.decoder_only else {"kl": losses.kl(mean, log_variance)}

    @torch.no_grad()
    def generate(self, clip: Clip) -> Tensor:
        """Latents [B, T, C, h, w] of the clip by the student, from pure noise, its words and its head's motion."""
        reference_latent = self.net.encode(clip.reference).float()
        condition = Condition(clip.visemes, clip.motion, clip.motion_known, reference_latent, clip.reference_motion)
        schedule, student = self.of_student[int(torch.randint(len(self.of_student), ()))], self.frozen["student"]
        reference = student.read_reference(condition)
        shape = *clip.motion.shape[:2], *reference_latent.shape[1:]
        eps = draw_noise(shape, 1.0, device=reference_latent.device)
        predict = lambda z_s, s, k: student(z_s, s, condition, reference)  # noqa: E731
        return sample(predict, schedule.strengths[0] * eps, schedule)

    def maps(self, clip: Clip, carry: Tensor | None = None, always: bool = False) -> Tensor:
        """Where the heads are, carried by [B, 2, 3], as [B * T, 2, 3]; withheld from some clips in training, unless
        ``always``."""
        known, frames = clip.motion_known, clip.motion.shape[1]
        if self.training and not always:
            known = known & (devices.rand(len(clip), device=known.device) >= P_NO_MOTION)
        maps = frame_to_reference(clip.motion, clip.reference_motion, known)
        if carry is None:
            return maps
        return torch.where(per_frame(known, frames)[:, None, None], after(maps, per_frame(carry, frames)), maps)

    @torch.no_grad()
    def track_statistics(self, mean: Tensor, momentum: float = 0.02) -> None:
        """Running mean and std per latent channel (exponential, so that the last steps decide)."""
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


def roughness(z: Tensor) -> Tensor:
    """How unlike neighbouring cells of normalised latents [..., h, w] are: their mean squared difference, 2 for white
    noise. A denoiser has less to guess where latents are smooth (docs/design/vae-training.md). Our choice."""
    return (z.diff(dim=-1).square().mean() + z.diff(dim=-2).square().mean()) / 2
