"""A finished chain in a folder: random nets of every stage, a corpus of discs, and a report of chosen figures."""

import json
from pathlib import Path

import torch
from fakes import LATENT_CHANNELS, LATENT_SIDE, SIDE, awake
from mini_corpus import disc_corpus

from tsd.evaluation.report import nest
from tsd.weights import checkpoint

SMALL = {"channels": [8, 16], "blocks": 1, "reference_channels": 8, "emb_channels": 16}
SMALL |= {"latent_channels": LATENT_CHANNELS, "latent_size": LATENT_SIDE}
ARGUMENTS = {
    "vae": {"resolution": SIDE, "latent_channels": LATENT_CHANNELS, "channels": [8, 8], "decoder_blocks": 1},
    "visemes": {"channels": 8, "blocks": 1},
    "identity": {"dim": 8, "channels": 8},
    "mouth": {"channels": 8},
    "sync": {"dim": 8, "channels": 8},
    "lipreader": {"channels": 8},
    "teacher": SMALL | {"causal": False},
    "student": SMALL | {"causal": True},
    "motion": {"num_tracks": 2, "num_frames": 9},
}
SCHEDULES = {"k1": [80.0], "k2": [80.0, 1.0], "k4": [80.0, 4.0, 1.0, 0.3], "k8": [80.0, 16, 6, 3, 1.5, 0.8, 0.4, 0.2]}
SPOKEN = {"mouth_r": 0.95, "viseme_ratio": 0.92, "sync_in_step": 1.0, "temporal_l1_ratio": 1.0}
SPOKEN |= {"flicker_std_ratio": 1.0, "sharpness_ratio_end": 0.98, "sharpness_end_to_recon": 1.0, "id_ratio_end": 0.99}
SPOKEN |= {"mouth_r_shuffled": 0.1, "id_cosine": 0.9}
GOOD = {
    "real": {"psnr_db": 34.0},
    "denoise.teacher": {"psnr_gain_db": 8.5},
    **{f"denoise.student.{k}": {"psnr_gain_db": 8.2} for k in SCHEDULES},
    **{f"generate.{k}": SPOKEN for k in SCHEDULES},
    **{f"follow.{k}": {"warp_error_ratio": 1.05} for k in SCHEDULES},
    "cross_identity.k2": {"correct": 1.0},
    "viseme_swap.k2": {"ratio": 30.0},
}
"""{row: {metric: figure}} with which everything is reached that is asked."""


def place(root: Path, stage: str) -> Path:
    return root / ("corpus/manifests/motion.safetensors" if stage == "motion" else f"{stage}/weights.safetensors")


def write_weights(root: Path, stage: str, card: dict, seed: int = 0) -> str:
    torch.manual_seed(seed)
    net = awake(checkpoint.NETS[stage](**ARGUMENTS[stage]), seed)
    return checkpoint.save(place(root, stage), stage, net, ARGUMENTS[stage], card)


def write_report(root: Path, hashes: dict[str, str], rows: dict = GOOD, **changed) -> dict:
    """``report.json``, as an evaluation of 64 clips with these figures leaves it; intervals are 0.01 to both sides."""
    summary = {"n": 64, "left_out": 0, "std": 0.1}
    statistics = {
        row: {name: summary | {"mean": v, "low": v - 0.01, "high": v + 0.01} for name, v in figures.items()}
        for row, figures in rows.items()
    }
    report = nest(statistics) | {
        "clips": 64,
        "identities": 64,
        "split": "test",
        "long": {"k2": {"seconds": 120, "id_ratio_end": 0.99, "sharpness_ratio_end": 0.97, "windows": []}},
        "unavailable": {},
        "statistics": statistics,
        "weights": hashes,
        "settings": {"seed": 0, "clips": [0, 1]},
        "seconds": {"vae": 3600.0, "student": 3600.0},
    }
    (root / "report.json").write_text(json.dumps(report | changed))
    return report | changed


def finished_chain(root: Path) -> dict[str, str]:
    """The folder filled; returns {stage: hash of its weights}."""
    disc_corpus(root / "corpus")
    hashes: dict[str, str] = {}
    for stage in ARGUMENTS:
        below = {"teacher": ("vae", "identity"), "student": ("vae", "identity", "teacher")}.get(stage, ())
        card = {"steps": 5, "seed": 0, "stands_on": {name: hashes[name] for name in below}}
        hashes[stage] = write_weights(root, stage, card | ({"schedules": SCHEDULES} if stage == "student" else {}))
    write_report(root, hashes)
    return hashes
