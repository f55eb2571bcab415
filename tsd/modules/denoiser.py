"""What teacher and student share: conditions, latents, the terms on decoded pictures, validation."""

import torch
from torch import Tensor, nn

from tsd import devices, losses
from tsd.clip import Clip
from tsd.diffusion import (
    LOG_NORMAL,
    Schedule,
    add_noise,
    draw_noise,
    draw_strengths,
    expand,
    noise_weight,
    sample,
    z0_from_eps,
)
from tsd.modules.base import WeightedStage, clip_noise, eyes_region, mouth_region, upper_face
from tsd.nets.affine import canonical_to_frame, frame_to_reference, placed_cells
from tsd.nets.denoiser import Condition, Denoiser
from tsd.nets.vae import Appearance

P_NO_VISEMES, P_NO_MOTION = 0.05, 0.1
"""How often visemes or motion are withheld in training, so that the net works without them. Our choice."""
MOUTH_WEIGHT, EYES_WEIGHT = 8.0, 4.0
"""In ``picture`` a pixel of the mouth, and one of the eyes, counts so many times more: mouths are a thirtieth of a
picture, and eyes shut in one frame of twenty. Our choice."""
VALIDATION_STRENGTHS = (0.3, 1.0, 3.0, 40.0)


class DenoiserStage(WeightedStage):
    """Noise prediction on the latents of a frozen VAE, conditioned on reference, visemes and motion.

    decoded: clips of a batch, over all devices, whose estimate is decoded for the terms on pictures (identity,
        temporal, sync, denoised).
    schedule: the steps of the from-noise samples that validation shows.
    shared_from: strength from which on all frames of a window have the same noise, as a video has that begins with
        pure noise; below it noise is new in every frame, as in Table 1, and can be averaged away. None: at every
        strength half of the windows share part of it, for samplers whose later steps lie anywhere. Our choice.
    log_normal: mean and standard deviation of ln s where training does not begin at pure noise (``draw_strengths``).
    """

    net: Denoiser

    def __init__(
        self,
        net: Denoiser,
        loss: losses.LossWeights,
        optimizer,
        vae: nn.Module,
        schedule: Schedule,
        identity: nn.Module | None = None,
        sync_loss: nn.Module | None = None,
        decoded: int = 4,
        shared_from: float | None = None,
        log_normal: tuple[float, float] = LOG_NORMAL,
    ):
        super().__init__(net, loss, optimizer)
        self.shared_from, self.log_normal = shared_from, tuple(log_normal)
        self.hold_frozen(vae=vae, identity=identity, sync_loss=sync_loss)
        self.schedule, self.decoded = schedule, decoded
        if loss.identity and identity is None:
            raise ValueError(
                "loss.identity is above 0 but there is no embedder: run `make train-identity`, "
                "give weights.identity=<file>, or set loss.identity=0"
            )
        if loss.sync and sync_loss is None:
            raise ValueError(
                "loss.sync is above 0 but there is no expert to listen: run `make train-sync_loss`, "
                "give weights.sync_loss=<file>, or set loss.sync=0"
            )

    def latents(self, clip: Clip) -> tuple[Tensor, Tensor]:
        """z [B, T, C, h, w] and the reference's [B, C, h, w]: from the cache, or by the frozen VAE."""
        if clip.latents is not None:
            return clip.latents.float(), clip.reference_latent.float()
        with torch.no_grad():
            vae = self.frozen["vae"]
            return vae.encode(clip.frames).float(), vae.encode(clip.reference).float()

    def condition(self, clip: Clip, reference_latent: Tensor) -> Condition:
        """The conditions of a batch; in training some are withheld."""
        visemes, known = clip.visemes, clip.motion_known
        if self.training:
            chance = devices.rand(len(clip), 2, device=visemes.device)
            visemes = visemes * (chance[:, 0] >= P_NO_VISEMES)[:, None, None, None]
            known = known & (chance[:, 1] >= P_NO_MOTION)
        return Condition(visemes, clip.motion, known, reference_latent, clip.reference_motion)

    def noisy(self, z: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Eq. 3 for a batch: z_s, s [B] over the whole range, eps, which frames share as ``shared_from`` says."""
        s = draw_strengths(len(z), log_normal=self.log_normal, device=z.device)
        share, half = devices.rand(len(z), 2, device=z.device).unbind(1)
        share = (share * (half < 0.5)).round(decimals=1)
        if self.shared_from is not None:
            share = (s >= self.shared_from).float()
        eps = draw_noise(z.shape, share, device=z.device)
        return add_noise(z, s, eps), s, eps

    @staticmethod
    def own_share(clip: Clip, s: Tensor) -> Tensor:
        """[B] in 0..1: Eq. 12's targets, how far the estimate is to be the clip's own frames.

        A mismatched reference shows another person than the frames. The target stays the clip's own frames, but only
        in so far as z_s still shows them (the share 1 / (s^2 + 1) of its variance): near s = 0 the net learns to trust
        z_s over the reference, near pure noise the picture belongs to the reference and is judged by the terms
        ``identity``, ``anchor`` and ``sync`` alone.
        """
        return torch.where(clip.mismatch, 1 / (s.square() + 1), torch.ones_like(s))

    def weight(self, clip: Clip, s: Tensor) -> Tensor:
        """Eq. 5's weight per noise strength, times ``own_share``."""
        return noise_weight(s) * self.own_share(clip, s)

    def latent_terms(
        self, clip: Clip, z: Tensor, z0_hat: Tensor, reference_latent: Tensor, share: Tensor
    ) -> dict[str, Tensor]:
        """``mouth_motion`` and ``anchor`` on estimates [B, T, C, h, w], of which the ``share`` [B] is to be the clip's;
        those of weight 0 are left out.

        The anchor holds for mismatched references too: in its canonical place and outside the mouth the face shown is
        the reference's, whoever moves it. It counts as much as the picture is the reference's: wholly where that shows
        the clip's person, else 1 - share. Windows whose head is in an unknown place do not count.
        """
        terms = {}
        if self.loss.mouth_motion and clip.mouth_box is not None:
            region = expand(share, z) * mouth_region(clip, z.shape[-1])
            terms["mouth_motion"] = losses.mouth_motion(z0_hat, z, region)
        if self.loss.anchor:
            known = clip.motion_known
            faces = placed_cells(z0_hat.flatten(0, 1), canonical_to_frame(clip.motion, known)).view_as(z0_hat)
            reference = placed_cells(reference_latent, canonical_to_frame(clip.reference_motion, known))
            weight = torch.where(clip.mismatch, 1 - share, torch.ones_like(share)) * known
            terms["anchor"] = losses.anchor(faces, reference, upper_face(z.shape[-1]).to(z), weight)
        return terms

    def picture_terms(
        self,
        clip: Clip,
        z: Tensor,
        z0_hat: Tensor,
        reference_latent: Tensor,
        names: tuple[str, ...] = ("identity", "temporal", "sync", "denoised"),
    ) -> dict[str, Tensor]:
        """Eq. 8 and 9, ``denoised`` and ``picture``, on two neighbouring decoded frames of a few clips, and ``sync`` on
        as many around them as its expert looks at; of ``names`` those of weight 0 are left out."""
        wanted = {name for name in names if getattr(self.loss, name)}
        if not wanted:
            return {}
        _, world = devices.place()
        n = min(-(-self.decoded // world), len(clip))
        rows = torch.arange(n, device=z0_hat.device)
        pair = clip.pair[:n] if clip.pair is not None else torch.full_like(rows, min(1, z0_hat.shape[1] - 1))
        both = rows[:, None], torch.stack([pair - 1, pair], 1)
        first, length = self.moment(clip, pair) if "sync" in wanted else (pair - 1, 2)
        shown = rows[:, None], first[:, None] + torch.arange(length, device=rows.device)

        def decode(latents: Tensor, at: tuple[Tensor, Tensor]) -> Tensor:
            maps = frame_to_reference(clip.motion[at], clip.reference_motion[:n], clip.motion_known[:n])
            return self.frozen["vae"].decode(latents[at], Appearance(clip.reference[:n], reference_latent[:n], maps))

        decoded = decode(z0_hat, shown)
        frames = decoded[rows[:, None], both[1] - first[:, None]]
        matched = expand((~clip.mismatch[:n]).float(), frames)[:, :, :1].expand_as(frames[:, :, :1])
        terms = {}
        if "sync" in wanted:
            terms["sync"] = self.sync_term(clip, decoded, first)
        if "identity" in wanted:
            embedder = self.frozen["identity"]
            with torch.no_grad():
                target = embedder(clip.reference[:n])
            terms["identity"] = losses.identity(embedder(frames[:, 1]), target)
        if "temporal" in wanted:
            if clip.flow is None:
                raise ValueError("loss.temporal is above 0 but the data has no flow: set data.flow=true")
            terms["temporal"] = losses.temporal(frames[:, 1], frames[:, 0], clip.flow[:n], clip.visible[:n])
        if "denoised" in wanted:
            with torch.no_grad():
                recon = decode(z, both)
            terms["denoised"] = losses.denoised(frames, recon, matched)
        if "picture" in wanted:
            size = frames.shape[-1]
            counts = 1 + EYES_WEIGHT * eyes_region(clip, size)[both]
            if clip.mouth_box is not None:
                counts = counts + MOUTH_WEIGHT * mouth_region(clip, size)[both]
            terms["picture"] = losses.picture(frames, clip.frames[both], matched * counts)
        return terms

    def moment(self, clip: Clip, pair: Tensor) -> tuple[Tensor, int]:
        """The first frame [n], and the number, of those that the expert sees as one moment, with frames pair - 1 and
        pair among them."""
        field, frames = self.frozen["sync_loss"].field, clip.frames.shape[1]
        if clip.mel is None:
            raise ValueError("loss.sync is above 0 but the data has no sound: set data.mel=true")
        if frames < field:
            raise ValueError(f"loss.sync needs windows of {field} frames or more: data.window is {frames}")
        return (pair - field // 2).clamp(0, frames - field), field

    def sync_term(self, clip: Clip, decoded: Tensor, first: Tensor) -> Tensor:
        """``losses.sync`` of one moment per clip, frames [n, field, 3, H, W] from ``first`` [n] on, among all sounds of
        the batch. What is said decides, not who says it: mismatched references count like others."""
        expert = self.frozen["sync_loss"]
        with torch.no_grad():
            heard = expert.hear(clip.mel)
        own = torch.arange(len(decoded), device=first.device) * heard.shape[1] + first
        return losses.sync(expert.see(decoded)[:, 0], heard.flatten(0, 1), own)

    def from_noise(self, clip: Clip, schedule: Schedule) -> Tensor:
        """Latents [B, T, C, h, w] generated from pure noise (one noise per clip), with the clip's own motion."""
        z, reference_latent = self.latents(clip)
        condition = self.condition(clip, reference_latent)
        reference = self.net.read_reference(condition)
        eps = clip_noise(clip, z, shared=1.0, draw=0)
        return sample(lambda z_s, s, k: self.net(z_s, s, condition, reference), schedule.strengths[0] * eps, schedule)

    def validation_step(self, clip: Clip, _: int) -> dict[str, Tensor]:
        """The loss of Eq. 5 at fixed strengths, under noise of the kind that is learnt there, and a sample from noise
        against the reconstruction."""
        z, reference_latent = self.latents(clip)
        condition = self.condition(clip, reference_latent)
        total = 0.0
        for draw, strength in enumerate(VALIDATION_STRENGTHS, 1):
            s = torch.full((len(z),), strength, device=z.device)
            shared = float(self.shared_from is not None and strength >= self.shared_from)
            z_s = add_noise(z, s, clip_noise(clip, z, shared=shared, draw=draw))
            z0_hat = z0_from_eps(z_s, self.net(z_s, s, condition), s)
            error = (expand(1 + 1 / s.square(), z) * (z0_hat - z).square()).mean()
            self.log(f"val/noise_{strength:g}", error, batch_size=len(clip))
            total = total + error / len(VALIDATION_STRENGTHS)
        self.log("val/total", total, batch_size=len(clip), prog_bar=True)
        maps = frame_to_reference(clip.motion, clip.reference_motion, clip.motion_known)
        vae, appearance = self.frozen["vae"], Appearance(clip.reference, reference_latent, maps)
        generated = self.from_noise(clip, self.schedule)
        return {"pred": vae.decode(generated, appearance), "target": vae.decode(z, appearance)}
