"""Stage ``student``: a small causal net distilled from the teacher (Eq. 6, 7, 11), then trained on its own steps."""

import torch
from torch import Tensor, nn

from tsd import devices, losses
from tsd.clip import Clip
from tsd.diffusion import S_MIN, Schedule, add_noise, draw_noise, expand, z0_from_eps
from tsd.modules.base import eyes_region, mouth_region
from tsd.modules.denoiser import DenoiserStage
from tsd.nets.denoiser import Condition

MOUTH_ENERGY = 8.0
"""In ``energy`` a position of the mouth counts so many times more. Our choice."""
LEAST_OF_S = 0.25
"""The estimate that ``consistency`` aims at has at least so much of the other's noise. Our choice."""


class StudentModule(DenoiserStage):
    """Two phases: match the teacher's noise over all s (Eq. 7), then walk its own few steps.

    schedules: the few-step schedules it is used with, by name. learns: the names of those whose steps it walks in
    training, one drawn per batch; None: all. own_steps_from: fraction of the training after which batches are own
    steps, but for match_share of them, which match the teacher so that the strengths between the steps are not
    forgotten. teacher: None where no term asks it (a trained student goes on with the clips alone). teacher_steps:
    sub-steps of the teacher inside one step of the student.
    """

    def __init__(
        self,
        *args,
        teacher: nn.Module | None = None,
        schedules: dict[str, Schedule],
        learns: list[str] | None = None,
        own_steps_from: float = 0.5,
        match_share: float = 0.0,
        teacher_steps: int = 2,
        **kwargs,
    ):
        super().__init__(*args, **kwargs)
        self.hold_frozen(teacher=teacher)
        if teacher is None and (self.loss.distill or self.loss.trajectory):
            raise ValueError(
                "loss.distill or loss.trajectory is above 0 but there is no teacher: run `make train-teacher`, give "
                "weights.teacher=<file>, or take loss=no_teacher"
            )
        if not 0 <= own_steps_from <= 1:
            raise ValueError(f"own_steps_from is a fraction of the training, 0..1, got {own_steps_from}")
        if not 0 <= match_share <= 1:
            raise ValueError(f"match_share is a share of the batches, 0..1, got {match_share}")
        learns = list(schedules) if learns is None else learns
        if not learns or set(learns) - set(schedules):
            raise ValueError(f"learns must name some of the schedules {', '.join(schedules)}, got {list(learns)}")
        self.schedules, self.own_steps_from, self.match_share = schedules, own_steps_from, match_share
        self.learnt = [schedules[name] for name in learns]
        self.teacher_steps = teacher_steps
        self.pictures = self.loss.picture > 0

    def step_losses(self, clip: Clip) -> dict[str, Tensor]:
        done = self.global_step / max(1, self.trainer.estimated_stepping_batches)
        walks = done >= self.own_steps_from and float(torch.rand(())) >= self.match_share
        return self.own_steps(clip) if walks else self.match(clip)

    def match(self, clip: Clip) -> dict[str, Tensor]:
        """Eq. 5 and 7 at the same z_s and s."""
        z, reference_latent = self.latents(clip)
        condition = self.condition(clip, reference_latent)
        z_s, s, eps = self.noisy(z)
        eps_hat = self.net(z_s, s, condition)
        share, weight = self.own_share(clip, s), self.weight(clip, s)
        terms = {"noise": losses.noise(eps_hat, eps, weight)}
        if self.loss.distill:
            with torch.no_grad():
                eps_teacher = self.frozen["teacher"](z_s, s, condition)
            terms["distill"] = losses.distill(eps_hat, eps_teacher, weight)
        if self.loss.mouth and clip.mouth_box is not None:
            terms["mouth"] = losses.mouth(eps_hat, eps, weight, mouth_region(clip, z.shape[-1]))
        if self.loss.eyes:
            terms["eyes"] = losses.eyes(eps_hat, eps, weight, eyes_region(clip, z.shape[-1]))
        z0_hat = z0_from_eps(z_s, eps_hat, s)
        if self.loss.consistency:
            share_of_s = LEAST_OF_S + (1 - LEAST_OF_S) * devices.rand(len(s), device=s.device)
            r = (s * share_of_s).clamp(min=S_MIN)
            terms["consistency"] = self.consistency(z0_hat, add_noise(z, r, eps), r, condition, share)
        terms |= self.latent_terms(clip, z, z0_hat, reference_latent, share)
        return terms | self.picture_terms(clip, z, z0_hat, reference_latent)

    def consistency(self, z0_hat: Tensor, z_r: Tensor, r: Tensor, condition: Condition, share: Tensor) -> Tensor:
        """``losses.consistency`` of estimates z0_hat with the student's own at z_r of strength r [B], further down the
        same path; the ``share`` [B] counts."""
        with torch.no_grad():
            target = z0_from_eps(z_r, self.net(z_r, r, condition), r)
        return losses.consistency(z0_hat, target, share)

    def own_steps(self, clip: Clip) -> dict[str, Tensor]:
        """From pure noise by its own steps to a random one; that step is judged.

        ``rollout``: its estimate against the clip (visemes, motion and reference leave little else to choose).
        ``trajectory``: where it lands against where the teacher lands from the same place in finer steps.
        ``consistency``: its estimate against the one of its next step, where there is one.
        ``energy``: how much its estimate moves against how much the clip does.
        """
        z, reference_latent = self.latents(clip)
        condition = self.condition(clip, reference_latent)
        schedule = self.learnt[int(torch.randint(len(self.learnt), ()))]
        step = int(torch.randint(schedule.num_steps, ()))
        bounds = (*schedule.strengths, 0.0)
        z_s = bounds[0] * draw_noise(z.shape, 1.0, device=z.device)
        with torch.no_grad():
            for k in range(step):
                z_s = z_s - schedule.etas[k] * self.net(z_s, z_s.new_full((len(z),), bounds[k]), condition)
        s = z_s.new_full((len(z),), bounds[step])
        eps_hat = self.net(z_s, s, condition)
        z0_hat = z0_from_eps(z_s, eps_hat, s)
        share = (~clip.mismatch).float()
        matched = expand(share, z)
        terms = {"rollout": losses.rollout(z0_hat, z, matched)}
        if self.loss.mouth and clip.mouth_box is not None:
            terms["mouth"] = losses.rollout(z0_hat, z, matched * mouth_region(clip, z.shape[-1]))
        if self.loss.eyes:
            terms["eyes"] = losses.rollout(z0_hat, z, matched * eyes_region(clip, z.shape[-1]))
        if self.loss.energy:
            region = torch.ones_like(z[:, :, :1])
            if clip.mouth_box is not None:
                region = region + MOUTH_ENERGY * mouth_region(clip, z.shape[-1])
            terms["energy"] = losses.energy(z0_hat, z, region, share)
        if self.loss.trajectory:
            landed = self.teacher_walk(z_s, bounds[step], bounds[step + 1], condition)
            terms["trajectory"] = losses.trajectory(z_s - schedule.etas[step] * eps_hat, landed)
        if self.loss.consistency and bounds[step + 1]:
            z_r, r = (z_s - schedule.etas[step] * eps_hat).detach(), torch.full_like(s, bounds[step + 1])
            terms["consistency"] = self.consistency(z0_hat, z_r, r, condition, torch.ones_like(s))
        terms |= self.latent_terms(clip, z, z0_hat, reference_latent, share)
        pictures = self.picture_terms(clip, z, z0_hat, reference_latent, ("identity", "temporal", "sync", "picture"))
        return terms | pictures

    @torch.no_grad()
    def teacher_walk(self, z_s: Tensor, start: float, end: float, condition: Condition) -> Tensor:
        """z at strength ``end``, by ``teacher_steps`` Euler steps of the teacher from ``z_s`` at ``start``."""
        floor = max(end, 0.05 * start, 0.02)
        ratio = (floor / start) ** (1 / self.teacher_steps)
        bounds = [start * ratio**i for i in range(self.teacher_steps)] + [end]
        for s, lower in zip(bounds, bounds[1:], strict=False):
            eps_hat = self.frozen["teacher"](z_s, z_s.new_full((len(z_s),), s), condition)
            z_s = z_s - (s - lower) * eps_hat
        return z_s
