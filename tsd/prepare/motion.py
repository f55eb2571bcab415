"""Head motion of clips without truth: landmarks on every n-th frame, filled in between and smoothed."""

from pathlib import Path

import cv2
import numpy as np

from tsd.media.faces import detect_faces, landmarks_to_motion
from tsd.media.video import read_frames, resize_square, video_info
from tsd.prepare.manifests import write_array

SMOOTHING = 1.5
"""Std of the Gaussian over time in frames: below the quickest nods, above the detector's jitter (our choice)."""

MIN_FOUND = 0.5
"""Share of the looked-at frames that must show a face."""


def motion_file(video: Path) -> Path:
    """Where the head motion of ``00001.mp4`` lies: ``00001.motion.npy`` beside it."""
    return video.with_suffix(".motion.npy")


def write_motion(video: Path, every: int = 3) -> Path:
    """Track the head of a clip and write float32 [T, 7] (clip.MOTION) beside it.

    ``every``: look for the face on every n-th frame. Units are those of the square that ``read_frames``
    cuts out. Raises ValueError where a face is seen on fewer than half of the frames looked at.
    """
    num_frames = video_info(video).num_frames
    looked = sorted({*range(0, num_frames, every), num_frames - 1})
    seen, motion = [], []
    for picture, frame in zip(resize_square(read_frames(video, looked), 160), looked, strict=True):
        if faces := detect_faces(picture):
            seen.append(frame)
            motion.append(landmarks_to_motion(faces[0].points / len(picture)))
    if len(seen) < MIN_FOUND * len(looked):
        raise ValueError(f"{video}: a face is seen on {len(seen)} of {len(looked)} frames only")
    path = motion_file(video)
    write_array(path, fill(np.array(seen), np.stack(motion), num_frames))
    return path


def fill(seen: np.ndarray, motion: np.ndarray, num_frames: int) -> np.ndarray:
    """Values [n, M] at the frames ``seen`` [n] -> float32 [T, M]: linear in between, constant beyond, smoothed."""
    frames = np.arange(num_frames)
    full = np.stack([np.interp(frames, seen, column) for column in motion.T], 1).astype(np.float32)
    return cv2.GaussianBlur(full, (1, 0), sigmaX=0.1, sigmaY=SMOOTHING, borderType=cv2.BORDER_REPLICATE)
