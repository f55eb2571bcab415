"""Recorded head motion of the training clips, for heads that have none of their own."""

import logging
from pathlib import Path

import torch

from tsd.data.manifest import manifest_path, read_manifest
from tsd.data.tracks import load_tracks
from tsd.nets.motion import MotionBank
from tsd.weights import checkpoint

log = logging.getLogger(__name__)
MAX_TRACKS, MAX_FRAMES = 64, 250


def write_motion_bank(root: str | Path, path: str | Path, manifests: str = "manifests") -> int:
    """Write up to 64 tracks (one a clip, spread over the train split, cut to a common length of at most 10 s).

    Returns how many; 0, and no file, where no clip has motion.
    """
    root = Path(root)
    entries = [e for e in read_manifest(manifest_path(root, "train", manifests), root) if e.motion is not None]
    if not entries:
        log.warning("%s: no clip has head motion, so generated heads will be still", root)
        return 0
    chosen = [entries[i * len(entries) // min(MAX_TRACKS, len(entries))] for i in range(min(MAX_TRACKS, len(entries)))]
    num_frames = min([MAX_FRAMES, *(e.frames for e in chosen)])
    bank = MotionBank(len(chosen), num_frames)
    bank.tracks.copy_(torch.stack([torch.as_tensor(load_tracks(e).motion[:num_frames]) for e in chosen]))
    checkpoint.save(path, "motion", bank, {"num_tracks": len(chosen), "num_frames": num_frames}, {"clips": len(chosen)})
    return len(chosen)
