"""Table 1 of the paper: noise of one known strength is taken away again."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor
from tqdm import trange

from tsd.clip import MOTION
from tsd.diffusion import S_MAX, S_MIN, Schedule
from tsd.diffusion.sampler import sample
from tsd.evaluation.clips.chain import Chain, Subject
from tsd.evaluation.clips.clock import clock
from tsd.evaluation.clips.instruments import Row, Truth, compare, movement
from tsd.metrics import psnr, warp_error
from tsd.nets.vae import Appearance
from tsd.runtime.talker import Talker

STRENGTH_STEPS, CLOSE = 20, 0.005
"""At most so many trials, until the PSNR is met to so many dB."""


def find_strength(decode: Callable, probes: list[tuple[Tensor, Tensor, Appearance]], target: float) -> float:
    """The noise strength s at which the mean over clips of PSNR(decode(z + s eps, a), decode(z, a)) is ``target`` dB.

    ``probes``: z and eps [n, C, h, w] of some frames of each clip, and its appearance a. The PSNR falls with s: false
    position over ln s in S_MIN..S_MAX, halving the end that stays (the Illinois rule). ValueError where the target
    lies outside what this VAE gives there.
    """
    with torch.inference_mode():
        clean = [decode(z, appearance) for z, _, appearance in probes]

        def noisy_psnr(s: float) -> float:
            noisy = (decode(z + s * eps, appearance) for z, eps, appearance in probes)
            return float(np.mean([float(psnr(x[None], y[None])) for x, y in zip(noisy, clean, strict=True)]))

        best, worst = noisy_psnr(S_MIN), noisy_psnr(S_MAX)
        if not worst < target < best:
            raise ValueError(
                f"noisy_psnr={target:g}: with this VAE, noise of strength {S_MIN:g}..{S_MAX:g} gives "
                f"{best:.2f}..{worst:.2f} dB; choose a value between"
            )
        low, high = (np.log(S_MIN), best - target), (np.log(S_MAX), worst - target)
        for _ in trange(STRENGTH_STEPS, desc="finding the noise strength", leave=False, delay=1):
            middle = (low[0] * high[1] - high[0] * low[1]) / (high[1] - low[1])
            over = noisy_psnr(float(np.exp(middle))) - target
            if abs(over) < CLOSE:
                break
            if over > 0:
                low, high = (middle, over), (high[0], high[1] / 2)
            else:
                low, high = (low[0], low[1] / 2), (middle, over)
    # Five digits: the last ones depend on how many threads took the sums.
    return float(f"{np.exp(middle):.5g}")


def middle_fifth(num_frames: int) -> slice:
    """The frames of a clip that are denoised; two at least, for what is measured between neighbours."""
    outer = min(2 * num_frames // 5, (num_frames - 2) // 2)
    return slice(outer, num_frames - outer)


def middle_of(subject: Subject) -> tuple[slice, Truth, Appearance]:
    """The middle fifth of a clip: which frames, their truth, and the portrait's appearance along them."""
    middle = middle_fifth(len(subject.z))
    flow, visible = subject.truth.flow
    truth = replace(subject.truth, frames=subject.truth.frames[middle])
    truth.flow = flow[:, middle.start : middle.stop - 1], visible[:, middle.start : middle.stop - 1]
    return middle, truth, subject.appearance.along(subject.appearance.maps[middle])


def recon_row(recon: Tensor, truth: Truth) -> Row:
    """What ratios of rows of the same frames stand against."""
    return movement(recon) | {"warp_error": float(warp_error(recon[None], *truth.flow))}


def equal_steps(strength: float, num_steps: int) -> Schedule:
    """K steps of one size from ``strength`` to 0: s_k = s (1 - k / K)."""
    return Schedule(tuple(strength * (1 - k / num_steps) for k in range(num_steps)))


@torch.inference_mode()
def denoise(
    chain: Chain, subject: Subject, strength: float, steps: dict[str, int], main: str | None = None
) -> dict[str, Row]:
    """Rows ``noisy``, ``teacher`` (one evaluation) and ``student.<name>`` for each K of ``steps``, by Algorithm 3 in
    equal steps from ``strength``; all against ``recon``. The nets know what they know when they speak: the reference,
    recognised visemes, and the head's motion. The paper's nets know nothing of the head: with a schedule ``main`` there
    are rows ``head_unknown.teacher`` and ``head_unknown.<main>`` that do without, too (the decoder, also that of
    ``noisy`` and ``recon``, does not).

    On the middle fifth of the clip, whose reconstruction is the row ``recon`` here: a fifth of the time, and the same
    number of clips."""
    middle, truth, appearance = middle_of(subject)
    recon, z_s = subject.recon[middle], (subject.z + strength * subject.noise())[middle]
    known = subject.portrait.motion is not None
    start = subject.portrait.motion if known else torch.zeros(len(MOTION))
    condition = Talker.condition(appearance.latent, start, known, subject.visemes[None], subject.motion[None])
    condition = replace(condition, visemes=condition.visemes[:, middle], motion=condition.motion[:, middle])
    blind = replace(condition, motion_known=torch.tensor([False]))

    def score(z: Tensor) -> Row:
        with clock("decoding"):
            video = chain.decode(z, appearance)
        return compare(chain.instruments, video, recon, truth) | movement(video)

    rows = {"recon": recon_row(recon, truth), "noisy": score(z_s)}
    student, teacher = chain.talker.student, chain.teacher
    runs = [] if teacher is None else [("teacher", teacher, 1, condition)]
    runs += [(f"student.{name}", student, num_steps, condition) for name, num_steps in steps.items()]
    if main is not None:
        runs += [] if teacher is None else [("head_unknown.teacher", teacher, 1, blind)]
        runs.append((f"head_unknown.{main}", student, steps[main], blind))
    for name, net, num_steps, given in runs:
        reference = net.read_reference(given)

        def predict(z: Tensor, s: Tensor, _: int, net=net, given=given, reference=reference) -> Tensor:
            return net(z, s, given, reference)

        with clock("denoising"):
            z = sample(predict, z_s[None], equal_steps(strength, num_steps))[0]
        rows[name] = score(z)
        rows[name]["psnr_gain_db"] = rows[name]["psnr_db"] - rows["noisy"]["psnr_db"]
    return rows
