"""Stage ``student``: a small causal net distilled from the teacher (Eq. 6, 7, 11), then trained on its own steps."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from tsd import devices, losses
from tsd.clip import Clip
from tsd.diffusion import S_MIN, Schedule
from tsd.diffusion.noise import add_noise, draw_noise, expand, z0_from_eps
from tsd.diffusion.sampler import advance
from tsd.modules.base import mouth_region
from tsd.modules.denoiser import DenoiserStage
from tsd.nets.denoiser import Condition

MOUTH_ENERGY = 8.0
"""In ``energy`` a position of the mouth has this weight on top of the 1 that all positions have. Our choice."""
LEAST_OF_S = 0.25
"""``consistency`` compares an estimate at strength s with one at r, where r is at least this fraction of s. Our
choice."""


class StudentModule(DenoiserStage):
    """Trains in two phases: first match the teacher's noise over all s (Eq. 7), then walk its own few steps.

    schedules: the few-step schedules it will be used with, by name. learns: names of the schedules that it walks in
    training, one drawn per batch; None: all. own_steps_from: fraction of the training after which it walks its own
    steps. match_share: fraction of the batches that still match the teacher after that, so that the strengths between
    the steps are not forgotten. teacher: None where no term needs it (a trained student can go on with the clips
    alone). teacher_steps: steps of the teacher inside one step of the student.
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
        """At a drawn strength: the teacher's objective, and the teacher's own noise at the same z_s and s (Eq. 7)."""
        latents = self.latents(clip)
        condition = self.condition(clip, latents.reference)
        noisy = self.noisy(latents.z)
        eps_hat = self.net(noisy.z_s, noisy.s, condition)
        terms = self.objective(clip, latents, noisy, eps_hat)
        if self.loss.distill:
            with torch.no_grad():
                eps_teacher = self.frozen["teacher"](noisy.z_s, noisy.s, condition)
            terms["distill"] = losses.distill(eps_hat, eps_teacher, self.weight(clip, noisy.s))
        if self.loss.consistency:
            share_of_s = LEAST_OF_S + (1 - LEAST_OF_S) * devices.rand(len(noisy.s), device=noisy.s.device)
            r = (noisy.s * share_of_s).clamp(min=S_MIN)
            z0_hat, z_r = z0_from_eps(noisy.z_s, eps_hat, noisy.s), add_noise(latents.z, r, noisy.eps)
            share = self.own_share(clip, noisy.s)
            terms["consistency"] = self.consistency(z0_hat, z_r, r, lambda *x: self.net(*x, condition), share)
        return terms

    def own_steps(self, clip: Clip) -> dict[str, Tensor]:
        """Walk from pure noise to a random step of a schedule, without gradient; judge that step.

        ``rollout``, ``mouth``, ``eyes``: its estimate against the clip (visemes and motion leave little else to
        choose). ``energy``: how much the estimate moves against how much the clip does. ``trajectory``: where the step
        ends against where the teacher's finer steps from the same place end. ``consistency``: its estimate against that
        of the next step, where there is one. ``lips``: how far its mouth is open.
        """
        latents = self.latents(clip)
        z, condition = latents.z, self.condition(clip, latents.reference)
        schedule = self.learnt[int(torch.randint(len(self.learnt), ()))]
        step = int(torch.randint(schedule.num_steps, ()))
        predict = self.predictor(condition)
        z_s = schedule.strengths[0] * draw_noise(z.shape, 1.0, device=z.device)
        with torch.no_grad():
            for k in range(step):
                z_s = advance(predict, z_s, schedule, k)
        s = z_s.new_full((len(z),), schedule.strengths[step])
        eps_hat = predict(z_s, s)
        z0_hat = z0_from_eps(z_s, eps_hat, s)
        landed, end = z_s - schedule.etas[step] * eps_hat, (*schedule.strengths, 0.0)[step + 1]

        share = (~clip.mismatch).float()
        matched = expand(share, z)
        terms = {"rollout": losses.rollout(z0_hat, z, matched)}
        for name, region in self.regions(clip, z.shape[-1]).items():
            terms[name] = losses.rollout(z0_hat, z, matched * region)
        if self.loss.energy:
            terms["energy"] = losses.energy(z0_hat, z, self.energy_region(clip, z), share)
        if self.loss.trajectory:
            target = self.teacher_walk(z_s, schedule.strengths[step], end, condition)
            terms["trajectory"] = losses.trajectory(landed, target)
        if self.loss.consistency and end:
            r = torch.full_like(s, end)
            terms["consistency"] = self.consistency(z0_hat, landed.detach(), r, predict, torch.ones_like(s))
        terms |= self.mouth_motion(clip, z, z0_hat, share) | self.lips(clip, z, z0_hat, share)
        return terms | self.picture_terms(clip, latents, z0_hat, ("identity", "temporal", "sync", "picture"))

    @staticmethod
    def energy_region(clip: Clip, z: Tensor) -> Tensor:
        """[B, T, 1, h, w]: how much each position counts in ``energy``."""
        region = torch.ones_like(z[:, :, :1])
        return region if clip.mouth_box is None else region + MOUTH_ENERGY * mouth_region(clip, z.shape[-1])

    @staticmethod
    def consistency(z0_hat: Tensor, z_r: Tensor, r: Tensor, predict: Callable, share: Tensor) -> Tensor:
        """``losses.consistency`` of estimates z0_hat with those that ``predict`` gives at z_r of strength r [B],
        further down the same path; each clip is weighted by ``share`` [B]."""
        with torch.no_grad():
            target = z0_from_eps(z_r, predict(z_r, r), r)
        return losses.consistency(z0_hat, target, share)

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
