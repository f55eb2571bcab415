"""What a schedule costs: short videos from pure noise against the clips they should be."""

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from tsd.clip import Clip, viseme_windows
from tsd.diffusion import Schedule
from tsd.evaluation.clips import Chain, Portrait, clip_seed
from tsd.evaluation.clips.chain import appearance_along
from tsd.evaluation.clips.generate import make_ready
from tsd.evaluation.clips.instruments import FACE
from tsd.evaluation.clips.swaps import inside, mouth_boxes
from tsd.losses import huber
from tsd.metrics import sharpness
from tsd.nets.vae import Appearance
from tsd.runtime.speaking import Speaker, Speaking

FRAMES = 24
"""Of a clip, from its middle: what a causal student of two frames of memory per layer has settled in."""

EVERY = 6
"""Of these frames every sixth is decoded, with the one after it."""

TERMS = ("rollout", "mouth", "temporal_l1", "recon_temporal_l1", "sharpness", "recon_sharpness")


@dataclass
class Probe:
    """Some frames of one clip, and everything that a student needs to say them."""

    speaker: Speaker
    windows: Tensor
    """[T, W, V] of the recognised speech."""
    track: Tensor
    """[T, M], the clip's own motion."""
    z: Tensor
    """[T, C, h, w] of the clip."""
    decoded: Tensor
    """Numbers of the frames that are decoded: pairs of neighbours."""
    recon: Tensor
    """Their reconstructions [n, 3, R, R]."""
    appearance: Appearance
    """Along these frames."""
    mouth: Tensor
    """[n, 1, R, R]: 1 inside the mouth."""
    seed: int

    @classmethod
    @torch.inference_mode()
    def of(cls, chain: Chain, clip: Clip, seed: int) -> "Probe":
        """A whole clip as a batch of one, with sound and known motion."""
        length = clip.frames.shape[1]
        span = slice(max(0, (length - FRAMES) // 2), max(0, (length - FRAMES) // 2) + FRAMES)
        portrait, track = Portrait.of(clip), clip.motion[0, span]
        z = chain.encode(clip.frames[0, span])
        first = torch.arange(0, len(z) - 1, EVERY)
        decoded = torch.stack([first, first + 1], 1).flatten()
        appearance = appearance_along(chain, clip)
        appearance = appearance.along(appearance.maps[span][decoded])
        mouth = inside(mouth_boxes(track[decoded], True), clip.frames.shape[-1]).float()[:, None]
        return cls(
            make_ready(chain.talker, portrait),
            viseme_windows(chain.visemes(clip.mel[0]))[span],
            track,
            z,
            decoded,
            chain.decode(z[decoded], appearance),
            appearance,
            mouth,
            clip_seed(clip.key[0], seed),
        )


@torch.inference_mode()
def roll_out(chain: Chain, probe: Probe, schedule: Schedule) -> dict[str, float]:
    """TERMS of one clip: the pseudo-Huber distance of the latents, the mean absolute error of decoded mouths, and
    movement and sharpness of the decoded faces and of their reconstructions."""
    z = Speaking(chain.talker.student, probe.speaker, schedule, probe.seed)(probe.windows, probe.track)
    video = chain.decode(z[probe.decoded], probe.appearance)
    error = ((video - probe.recon).abs() * probe.mouth).sum() / (3 * probe.mouth.sum()).clamp_min(1)
    row = {"rollout": float(huber(z - probe.z).mean()), "mouth": float(error)}
    for name, frames in (("", video), ("recon_", probe.recon)):
        pairs = frames.unflatten(0, (-1, 2))
        row[f"{name}temporal_l1"] = float((pairs[:, 1] - pairs[:, 0]).abs().mean())
        boxes = torch.tensor(FACE).expand(1, len(frames), 4)
        row[f"{name}sharpness"] = float(sharpness(frames[None], boxes).mean())
    return row


def mean_terms(rows: list[dict[str, float]]) -> dict[str, float]:
    """Means over clips; movement and sharpness as ratios to the reconstructions', ideal 1."""
    means = {name: float(np.mean([row[name] for row in rows])) for name in TERMS}
    ratios = {f"{name}_ratio": means[name] / means[f"recon_{name}"] for name in ("temporal_l1", "sharpness")}
    return {"rollout": means["rollout"], "mouth": means["mouth"], **ratios}


def cost(terms: dict[str, float], known: dict[str, float]) -> float:
    """Errors relative to those of the schedule that is known, and how far movement and sharpness are from the
    reconstruction's (2 where only the errors count and are the known ones).

    Errors alone would choose what is safe: a mean over all that might be, which moves little and is blurred.
    """
    errors = sum(terms[name] / max(known[name], 1e-6) for name in ("rollout", "mouth"))
    return errors + sum(abs(math.log(max(terms[f"{name}_ratio"], 1e-3))) for name in ("temporal_l1", "sharpness"))
