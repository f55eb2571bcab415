"""What teacher and student share: conditioning, latents, the objective at a drawn noise strength, validation."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from tsd import devices, losses
from tsd.clip import VISEMES, Clip
from tsd.diffusion import Schedule
from tsd.diffusion.noise import LOG_NORMAL, add_noise, draw_noise, draw_strengths, expand, noise_weight, z0_from_eps
from tsd.diffusion.sampler import sample
from tsd.modules.base import WeightedStage, clip_noise, eyes_region, mouth_region
from tsd.modules.lip_probe import LipProbe
from tsd.modules.pictures import PICTURE_TERMS, Decoded, moment
from tsd.nets.affine import frame_to_reference
from tsd.nets.denoiser import Condition, Denoiser
from tsd.nets.vae import Appearance

P_NO_VISEMES, P_NO_MOTION = 0.05, 0.1
"""Probability that visemes or motion are withheld in training, so that the net works without them. Our choice."""
P_NO_VISEMES_WITH_LIPS = 0.25
"""The same of the visemes, where lips are told beside them: so that lips alone say how far the mouth is open. Our
choice."""
VALIDATION_STRENGTHS = (0.3, 1.0, 3.0, 40.0)


@dataclass
class Latents:
    """A batch as latents: z [B, T, C, h, w] of the frames, and the references' [B, C, h, w]."""

    z: Tensor
    reference: Tensor


@dataclass
class Noisy:
    """Latents under noise (Eq. 3): z_s = z + s eps, with z_s and eps [B, T, C, h, w] and s [B]."""

    z_s: Tensor
    s: Tensor
    eps: Tensor


class DenoiserStage(WeightedStage):
    """Noise prediction on the latents of a frozen VAE, conditioned on reference, visemes and motion.

    decoded: number of clips of a batch, over all devices, whose estimates are decoded for the terms on pictures.
    schedule: the steps of the samples from noise that validation shows.
    shared_from: noise strength from which on all frames of a window share one noise, as in a video that starts from
        pure noise; below it every frame has its own noise, as in the paper's Table 1, and the net can average it over
        frames. None: half of the windows share part of their noise at every strength. This suits samplers whose later
        steps may have any strength. Our choice.
    log_normal: mean and standard deviation of ln s where training does not start from pure noise
        (``draw_strengths``).
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
        self.lip_probe = LipProbe(net.latent_channels, net.latent_size) if loss.lips else None
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

    def latents(self, clip: Clip) -> Latents:
        """From the cache, or by the frozen VAE."""
        if clip.latents is not None:
            return Latents(clip.latents.float(), clip.reference_latent.float())
        with torch.no_grad():
            vae = self.frozen["vae"]
            return Latents(vae.encode(clip.frames).float(), vae.encode(clip.reference).float())

    def condition(self, clip: Clip, reference_latent: Tensor) -> Condition:
        """The conditioning of a batch; training withholds some of it."""
        visemes, known = clip.visemes, clip.motion_known
        if self.training:
            chance = devices.rand(len(clip), 3, device=visemes.device)
            visemes, more = visemes.split([len(VISEMES), visemes.shape[-1] - len(VISEMES)], -1)
            gone = P_NO_VISEMES_WITH_LIPS if self.net.hears == "visemes_lips" else P_NO_VISEMES
            parts = zip((visemes, more), chance[:, :2].T, (gone, P_NO_VISEMES), strict=True)
            visemes = torch.cat([part * (drawn >= p)[:, None, None, None] for part, drawn, p in parts], -1)
            known = known & (chance[:, 2] >= P_NO_MOTION)
        return Condition(visemes, clip.motion, known, reference_latent, clip.reference_motion)

    def noisy(self, z: Tensor) -> Noisy:
        """Eq. 3 with s drawn from the whole range; ``shared_from`` says which frames share their noise."""
        s = draw_strengths(len(z), log_normal=self.log_normal, device=z.device)
        share, half = devices.rand(len(z), 2, device=z.device).unbind(1)
        share = (share * (half < 0.5)).round(decimals=1)
        if self.shared_from is not None:
            share = (s >= self.shared_from).float()
        eps = draw_noise(z.shape, share, device=z.device)
        return Noisy(add_noise(z, s, eps), s, eps)

    @staticmethod
    def own_share(clip: Clip, s: Tensor) -> Tensor:
        """[B] in 0..1: how far the target of the estimate is the clip's own frames (Eq. 12).

        A mismatched reference shows another person than the frames. The target is still the clip's own frames, but its
        weight is the share of z_s's variance that comes from them, 1 / (s^2 + 1). So near s = 0 the net learns to trust
        z_s more than the reference. Near pure noise only the terms ``identity`` and ``sync`` judge the picture, which
        then shows the reference's person.
        """
        return torch.where(clip.mismatch, 1 / (s.square() + 1), torch.ones_like(s))

    def weight(self, clip: Clip, s: Tensor) -> Tensor:
        """Eq. 5's weight per noise strength, times ``own_share``."""
        return noise_weight(s) * self.own_share(clip, s)

    def objective(self, clip: Clip, latents: Latents, noisy: Noisy, eps_hat: Tensor) -> dict[str, Tensor]:
        """The terms that teacher and student share, on the noise eps_hat predicted at a drawn strength: Eq. 5, 8, 9
        and our additions. Terms of weight 0 are left out, except ``noise``."""
        share, weight = self.own_share(clip, noisy.s), self.weight(clip, noisy.s)
        terms = {"noise": losses.noise(eps_hat, noisy.eps, weight)}
        for name, region in self.regions(clip, latents.z.shape[-1]).items():
            terms[name] = getattr(losses, name)(eps_hat, noisy.eps, weight, region)
        z0_hat = z0_from_eps(noisy.z_s, eps_hat, noisy.s)
        terms |= self.mouth_motion(clip, latents.z, z0_hat, share) | self.lips(clip, latents.z, z0_hat, share)
        return terms | self.picture_terms(clip, latents, z0_hat, ("identity", "temporal", "sync", "denoised"))

    def regions(self, clip: Clip, size: int) -> dict[str, Tensor]:
        """[B, T, 1, size, size] in 0..1 for each of the terms ``mouth`` and ``eyes`` that has a weight."""
        regions = {}
        if self.loss.mouth and clip.mouth_box is not None:
            regions["mouth"] = mouth_region(clip, size)
        if self.loss.eyes:
            regions["eyes"] = eyes_region(clip, size)
        return regions

    def mouth_motion(self, clip: Clip, z: Tensor, z0_hat: Tensor, share: Tensor) -> dict[str, Tensor]:
        """``losses.mouth_motion``, each clip weighted by ``share`` [B]; empty without a weight or a mouth box."""
        if not self.loss.mouth_motion or clip.mouth_box is None:
            return {}
        region = expand(share, z) * mouth_region(clip, z.shape[-1])
        return {"mouth_motion": losses.mouth_motion(z0_hat, z, region)}

    def lips(self, clip: Clip, z: Tensor, z0_hat: Tensor, share: Tensor) -> dict[str, Tensor]:
        """``losses.lips``, each clip weighted by ``share`` [B]; empty without a weight. The map from latents to
        openings is fitted on the clip's own latents, never on estimates."""
        if not self.loss.lips or clip.mouth_open is None:
            return {}
        self.lip_probe.learn(z, clip)
        opening_hat, opening = self.lip_probe(torch.cat([z0_hat, z]), clip).chunk(2)
        return {"lips": losses.lips(opening_hat, opening, share * clip.motion_known)}

    def picture_terms(self, clip: Clip, latents: Latents, z0_hat: Tensor, names: tuple[str, ...]) -> dict[str, Tensor]:
        """Those of PICTURE_TERMS that are in ``names`` and have a weight, on some decoded frames of a few clips."""
        wanted = [name for name in PICTURE_TERMS if name in names and getattr(self.loss, name)]
        if not wanted:
            return {}
        decoded = self.decode_some(clip, latents, z0_hat, wanted)
        return {name: PICTURE_TERMS[name](decoded, self.frozen) for name in wanted}

    def decode_some(self, clip: Clip, latents: Latents, z0_hat: Tensor, wanted: list[str]) -> Decoded:
        """Decode what the terms ``wanted`` compare: two neighbouring frames of each of the first clips, and with
        ``sync`` as many frames around them as its expert looks at."""
        _, world = devices.place()
        n = min(-(-self.decoded // world), len(clip))
        rows = torch.arange(n, device=z0_hat.device)
        later = clip.pair[:n] if clip.pair is not None else torch.full_like(rows, min(1, z0_hat.shape[1] - 1))
        first, length = moment(clip, later, self.frozen["sync_loss"]) if "sync" in wanted else (later - 1, 2)
        pair = rows[:, None], torch.stack([later - 1, later], 1)
        window = rows[:, None], first[:, None] + torch.arange(length, device=rows.device)

        def decode(z: Tensor, at: tuple[Tensor, Tensor]) -> Tensor:
            maps = frame_to_reference(clip.motion[at], clip.reference_motion[:n], clip.motion_known[:n])
            return self.frozen["vae"].decode(z[at], Appearance(clip.reference[:n], latents.reference[:n], maps))

        recon = None
        if "denoised" in wanted:
            with torch.no_grad():
                recon = decode(latents.z, pair)
        return Decoded(clip, pair, first, decode(z0_hat, window), recon)

    def predictor(self, condition: Condition):
        """The net as ``diffusion.sampler.sample`` calls it: reference and frames are read once for all steps."""
        read = self.net.read_condition(condition)
        return lambda z_s, s, k=0: self.net(z_s, s, condition, *read)

    def from_noise(self, clip: Clip, schedule: Schedule) -> Tensor:
        """Latents [B, T, C, h, w] generated from pure noise (one noise per clip), with the clip's own motion."""
        latents = self.latents(clip)
        eps = clip_noise(clip, latents.z, shared=1.0, draw=0)
        return sample(self.predictor(self.condition(clip, latents.reference)), schedule.strengths[0] * eps, schedule)

    def validation_step(self, clip: Clip, _: int) -> dict[str, Tensor]:
        """The loss of Eq. 5 at fixed strengths, with noise shared as in training, and a sample from noise against the
        reconstruction."""
        latents = self.latents(clip)
        z, predict = latents.z, self.predictor(self.condition(clip, latents.reference))
        total = 0.0
        for draw, strength in enumerate(VALIDATION_STRENGTHS, 1):
            s = torch.full((len(z),), strength, device=z.device)
            eps = clip_noise(clip, z, float(self.shared_from is not None and strength >= self.shared_from), draw)
            error = losses.noise(predict(add_noise(z, s, eps), s), eps, noise_weight(s))
            self.log(f"val/noise_{strength:g}", error, batch_size=len(clip))
            total = total + error / len(VALIDATION_STRENGTHS)
        self.log("val/total", total, batch_size=len(clip), prog_bar=True)
        maps = frame_to_reference(clip.motion, clip.reference_motion, clip.motion_known)
        vae, appearance = self.frozen["vae"], Appearance(clip.reference, latents.reference, maps)
        generated = self.from_noise(clip, self.schedule)
        return {"pred": vae.decode(generated, appearance), "target": vae.decode(z, appearance)}
