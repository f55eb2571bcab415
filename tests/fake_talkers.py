"""A talker of small random nets, with its weights in files, a portrait and sound."""

import numpy as np
import torch
from fakes import LATENT_SIDE, SIDE, awake, fake_denoiser, fake_motion, fake_vae

from tsd.diffusion import S_MAX, Schedule
from tsd.nets.motion import MotionBank
from tsd.nets.visemes import VisemeNet
from tsd.runtime.talker import Talker
from tsd.weights import checkpoint

SCHEDULES = {
    "k1": Schedule((S_MAX,)),
    "k2": Schedule((S_MAX, 1.0)),
    "k4": Schedule((S_MAX, 4.0, 1.2, 0.4)),
    "k8": Schedule((S_MAX, 16.0, 6.0, 3.0, 1.5, 0.8, 0.4, 0.15)),
}
DENOISER = {"latent_channels": 4, "latent_size": LATENT_SIDE, "channels": [8, 16], "blocks": 1}
DENOISER |= {"reference_channels": 8, "emb_channels": 16}
ARGUMENTS = {
    "vae": {"resolution": SIDE, "latent_channels": 4, "channels": [8, 16], "decoder_blocks": 1},
    "student": DENOISER | {"causal": True},
    "teacher": DENOISER | {"causal": False},
    "visemes": {"channels": 16, "blocks": 2, "look_ahead": 2},
    "motion": {"num_tracks": 2, "num_frames": 10},
}


def talker(causal: bool = True) -> Talker:
    torch.manual_seed(4)
    bank = MotionBank(2, 10)
    bank.tracks.copy_(fake_motion(2, 10))
    recogniser = VisemeNet(16, 2, look_ahead=2).eval()
    made = Talker(fake_vae().eval(), fake_denoiser(causal).eval(), recogniser, bank, SCHEDULES)
    made.marked = False  # tests look at what the nets generated
    return made


def files(folder, card=None, **arguments) -> dict[str, str]:
    paths = {}
    for stage, given in ARGUMENTS.items():
        given, paths[stage] = given | arguments.get(stage, {}), str(folder / f"{stage}.safetensors")
        net = awake(checkpoint.NETS[stage](**given))
        content = {"schedules": {"k2": [80.0, 1.0]}} if card is None else card
        checkpoint.save(paths[stage], stage, net, given, content if stage == "student" else {})
    return paths


def portrait(seed: int = 0, side: int = SIDE) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (side, side, 3), np.uint8)


def wave(samples: int, seed: int = 3) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 0.1, samples).astype(np.float32)


def pieces(sound: np.ndarray, size: int) -> list[np.ndarray]:
    return [sound[i : i + size] for i in range(0, len(sound), size)]
