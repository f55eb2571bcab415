"""Small corpora for tests: moving discs with a tone, written in LRS3's layout but not by the corpus generator."""

import cv2
import numpy as np

from tsd.clip import SAMPLE_RATE
from tsd.media.video import write_video
from tsd.prepare.manifests import write_manifests


def disc_frames(num_frames: int, size: int = 64, hue: int = 0) -> np.ndarray:
    """uint8 [T, S, S, 3]: a disc that moves right by one pixel a frame over texture; its colour is the person."""
    texture = cv2.resize(np.random.default_rng(hue).integers(60, 200, (16, 16, 3), np.uint8), (size, size))
    frames = np.repeat(texture[None], num_frames, 0)
    for t, frame in enumerate(frames):
        cv2.circle(frame, (8 + t % (size - 16), size // 2), size // 6, (hue * 37 % 256, 255 - hue * 53 % 256, 128), -1)
    return frames


def write_disc(path, num_frames: int = 30, size: int = 64, hue: int = 0, sound: bool = True, fps: int = 25) -> None:
    """An mp4 of ``disc_frames`` with a tone."""
    wave = 0.3 * np.sin(np.arange(num_frames * 640) / SAMPLE_RATE * 2 * np.pi * (200 + 40 * hue)).astype(np.float32)
    write_video(path, disc_frames(num_frames, size, hue), wave if sound else None, fps=fps)


def motion_of(num_frames: int, hue: int) -> np.ndarray:
    """float32 [T, 7] that differs for every person and frame."""
    return np.linspace(0.1 * hue, 0.1 * hue + 0.05, num_frames * 7, dtype=np.float32).reshape(num_frames, 7)


def disc_corpus(root, num_people: int = 4, num_clips: int = 2, num_frames: int = 30):
    """Clips with visemes and motion, and manifests with one person each in val and test; returns the root."""
    records = []
    for person in range(num_people):
        for clip in range(num_clips):
            stem = f"trainval/p{person}/{clip:05d}"
            write_disc(root / f"{stem}.mp4", num_frames, hue=person)
            np.save(root / f"{stem}.npy", np.arange(num_frames) % 15)
            np.save(root / f"{stem}.motion.npy", motion_of(num_frames, person))
            records.append(
                {
                    "video": f"{stem}.mp4",
                    "identity": f"p{person}",
                    "frames": num_frames,
                    "text": "LAY BLUE",
                    "visemes": f"{stem}.npy",
                    "viseme_source": "npy",
                    "motion": f"{stem}.motion.npy",
                    "truth": None,
                }
            )
    write_manifests(root, records, val_ratio=0.25, test_ratio=0.25, seed=0)
    return root
