"""A video whose speech is to be replaced: whose face it shows, where it is on every frame, and which frame shows it
best. The face is found, followed and cut out as `python -m tsd.prepare` does it for training."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tqdm import tqdm

from tsd.clip import FPS
from tsd.media.crops import crop, in_squares, squares
from tsd.media.faces import RIVAL, SMALLEST, detect_faces, landmarks_to_motion
from tsd.media.heads import MAX_TURNED, Head, follow, rivals
from tsd.media.shots import change, find_cuts, thumbnail
from tsd.media.timeline import Timeline, frames_between, read_timeline, resampled_frames, there_and_back

LOOK_EVERY = 3
"""Faces are looked for on every third frame and their landmarks interpolated, as in training."""

MAX_RIVAL = 0.2
"""Share of the time in which a second face of comparable size may be seen."""


@dataclass(frozen=True)
class DrivingVideo:
    """The first T frames of a video, at 25 frames a second, and the one face they show."""

    path: Path
    timeline: Timeline
    squares: np.ndarray
    """[T, 3], see ``crops.squares``: what is cut out of every frame."""
    points: np.ndarray
    """float32 [T, 5, 2], landmarks in units of the squares."""

    @classmethod
    def read(cls, path: str | Path, num_frames: int | None = None) -> "DrivingVideo":
        """Follow the face through the first ``num_frames`` frames (None: all).

        Raises FileNotFoundError, or ValueError for what is no video, shows no face, several, or one that comes or goes,
        is too small or is mostly turned away.
        """
        path, timeline = Path(path), read_timeline(path)
        count = min(num_frames or timeline.num_frames, timeline.num_frames)
        head = the_one_head(path, find_heads(path, timeline, count), count)
        points, boxes = head.landmarks(count)
        places = squares(points)
        return cls(path, timeline, places, in_squares(points, boxes, places)[0])

    def __len__(self) -> int:
        return len(self.squares)

    @property
    def motion(self) -> np.ndarray:
        """float32 [T, 7], clip.MOTION of the crops."""
        return landmarks_to_motion(self.points)

    def frames(self) -> Iterator[np.ndarray]:
        """Its frames uint8 [H, W, 3], there and back for ever."""
        return there_and_back(self.path, self.timeline, len(self))

    def crop(self, number: int, size: int) -> np.ndarray:
        """The face of one frame, uint8 [size, size, 3]."""
        picture = frames_between(self.path, self.timeline, number, number + 1)[0]
        return crop(picture, self.squares[number], size)

    def best_frame(self) -> int:
        """The frame that shows the face most from the front, and nearest to where it usually is.

        What has to be invented of the others is least then: a frontal face hides no cheek, and a usual one is moved
        least. Whether its eyes are shut does not matter, for eyes stay the video's.
        """
        eyes, nose = self.points[:, :2], self.points[:, 2]
        apart = eyes[:, 1] - eyes[:, 0]
        distance = np.maximum(np.linalg.norm(apart, axis=1), 1e-6)
        turned = np.abs(((nose - eyes.mean(1)) * apart).sum(1)) / distance**2
        leaning = np.abs(np.arctan2(apart[:, 1], apart[:, 0]))
        away = np.linalg.norm(self.points - np.median(self.points, 0), axis=2).mean(1) / np.median(distance)
        return int((turned + leaning + away).argmin())


def find_heads(path: Path, timeline: Timeline, count: int) -> list[Head]:
    """Every head of the first ``count`` frames, followed within its shot, in order of appearance."""
    looked, changes, before = [], [], None
    frames = tqdm(resampled_frames(path, timeline), total=count, unit="frame", desc="following the face", delay=2)
    for number, picture in zip(range(count), frames, strict=False):
        if number % LOOK_EVERY == 0 or number == count - 1:
            looked.append((number, detect_faces(picture)))
        small = thumbnail(picture)
        changes += [] if before is None else [change(before, small)]
        before = small
    frames.close()
    return follow(looked, find_cuts(np.array(changes)), count, LOOK_EVERY)


def the_one_head(path: Path, heads: list[Head], num_frames: int) -> Head:
    """The head that is seen from the first frame to the last, or a ValueError that says what is seen instead."""
    if not heads:
        raise ValueError(f"{path}: no face is found; give a video of one person looking at the camera")
    head = max(heads, key=lambda h: (h.end - h.first, h.size))
    if rivals(head, heads) > MAX_RIVAL:
        count = 1 + sum(h is not head and h.size > RIVAL * head.size for h in heads)
        raise ValueError(f"{path}: shows {count} faces; cut out the one that shall speak")
    if head.first > 0 or head.end < num_frames:
        raise ValueError(
            f"{path}: the face is seen from {head.first / FPS:.1f} s to {head.end / FPS:.1f} s of "
            f"{num_frames / FPS:.1f} s only; cut the video to one shot that shows it throughout"
        )
    if head.size < SMALLEST:
        raise ValueError(
            f"{path}: the face is only {head.size:.0f} pixels across; give a video where it has {SMALLEST}"
        )
    if head.turned > MAX_TURNED:
        raise ValueError(
            f"{path}: the face is turned away in {head.turned:.0%} of the time; give one seen from the front"
        )
    return head
