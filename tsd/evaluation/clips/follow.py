"""Speaking from pure noise while the head moves as the clip's does: then frames can be compared one by one."""

import numpy as np
import torch

from tsd.clip import to_frames, viseme_windows
from tsd.evaluation.clips.chain import Chain, Subject
from tsd.evaluation.clips.clock import clock
from tsd.evaluation.clips.denoise import middle_of, recon_row
from tsd.evaluation.clips.generate import make_ready
from tsd.evaluation.clips.instruments import BLOCK, Row, compare, movement
from tsd.runtime.speaking import Speaking


@torch.inference_mode()
def follow(chain: Chain, subject: Subject, steps: list[str]) -> dict[str, Row]:
    """Rows for each schedule of ``steps``, and ``recon``, of the same frames; none where the head's motion is unknown.

    ``generate`` moves the head as some training clip's moved, and what is warped by the flow of *this* clip says
    nothing of such a video: here are the warping error, and nearness to the reconstruction. On the middle fifth of
    the clip, as ``denoise``; visemes recognised from the sound.
    """
    if subject.portrait.motion is None:
        return {}
    talker, (middle, truth, _) = chain.talker, middle_of(subject)
    speaker, track = make_ready(talker, subject.portrait), subject.motion[middle]
    windows, recon = viseme_windows(subject.visemes)[middle], subject.recon[middle]
    rows = {"recon": recon_row(recon, truth)}
    for name in steps:
        with clock("speaking"):
            z = Speaking(talker.student, speaker, talker.schedule(name), subject.own_seed)(windows, track)
        with clock("decoding"):
            blocks = zip(z.split(BLOCK), track.split(BLOCK), strict=True)
            frames = np.concatenate([talker.decode(block, speaker.along(motion)) for block, motion in blocks])
        video = to_frames(frames)
        rows[name] = compare(chain.instruments, video, recon, truth) | movement(video)
    return rows
