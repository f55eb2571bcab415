"""A video to be dubbed: the face in it, its position in every frame, and the frame that shows it best. The face is
detected, tracked and cropped as in `make prepare`."""

import logging
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from tqdm import tqdm

from tsd.media.crops import crop, in_squares, squares
from tsd.media.faces import RIVAL, SMALLEST, Landmarks, detect_faces, landmarks_to_motion
from tsd.media.heads import MAX_TURNED, Head, follow, rivals
from tsd.media.shots import change, find_cuts, thumbnail
from tsd.media.signals import FPS
from tsd.media.suitability import no_lips, redness
from tsd.media.timeline import Timeline, frames_between, read_timeline, resampled_frames, there_and_back

log = logging.getLogger(__name__)

LOOK_EVERY = 3
"""Faces are detected in every third frame and their landmarks interpolated, as in preparation."""

MAX_RIVAL = 0.2
"""Fraction of the time in which a second face of comparable size may be visible."""


CHOICES = {
    "largest": lambda head: head.size,
    "left": lambda head: -head.middle,
    "right": lambda head: head.middle,
}
"""Which face of several speaks: the one of the greatest value."""

LEAST = 0.5
"""Share of a video's frames that must show the face."""

LEAST_COVERED = FPS // 5
"""Frames without lips from which a video is warned of (our choice)."""


@dataclass(frozen=True)
class DrivingVideo:
    """The first T frames of a video, at 25 frames a second, and the face in them that is to speak."""

    path: Path
    timeline: Timeline
    squares: np.ndarray
    """[T, 3], see ``crops.squares``: the crop of every frame."""
    points: np.ndarray
    """float32 [T, 5, 2], landmarks in units of the squares."""
    spans: np.ndarray
    """int [T]: number of the stretch in which the face is seen without a cut, -1 where it is not seen."""

    @classmethod
    def read(cls, path: str | Path, num_frames: int | None = None, face: str | None = None) -> "DrivingVideo":
        """Follow the face through the first ``num_frames`` frames (None: all).

        face: one of CHOICES, by which the face is chosen in every shot; None: every shot shows one.
        Raises FileNotFoundError, or ValueError for what is no video, shows no face, several (without ``face``), or one
        that is seen in less than half of the time, is too small or is mostly turned away.
        """
        if face is not None and face not in CHOICES:
            raise ValueError(f"face={face}: must be one of {', '.join(CHOICES)}")
        path, timeline = Path(path), read_timeline(path)
        count = min(num_frames or timeline.num_frames, timeline.num_frames)
        heads = chosen_heads(path, find_heads(path, timeline, count), count, face)
        points, boxes, spans = np.zeros((count, 5, 2), np.float32), np.zeros((count, 4), np.float32), np.full(count, -1)
        covered = np.zeros(count, bool)
        for number, head in enumerate(heads):
            here = slice(head.first, head.end)
            points[here], boxes[here] = head.landmarks()
            spans[here], covered[here] = number, head.covered(LOOK_EVERY)
        if covered.sum() >= LEAST_COVERED:
            log.warning("%s: %s", path, concern(covered))
        seen = np.flatnonzero(spans >= 0)
        nearest = seen[np.abs(seen[None] - np.arange(count)[:, None]).argmin(1)]  # unseen: never looked at
        points, boxes = points[nearest], boxes[nearest]
        places = squares(points)
        return cls(path, timeline, places, in_squares(points, boxes, places)[0], spans)

    def __len__(self) -> int:
        return len(self.squares)

    @property
    def motion(self) -> np.ndarray:
        """float32 [T, 7], clip.MOTION of the crops."""
        return landmarks_to_motion(self.points)

    def frames(self) -> Iterator[np.ndarray]:
        """Its frames uint8 [H, W, 3], forwards and backwards without end."""
        return there_and_back(self.path, self.timeline, len(self))

    def crop(self, number: int, size: int) -> np.ndarray:
        """The face of one frame, uint8 [size, size, 3]."""
        picture = frames_between(self.path, self.timeline, number, number + 1)[0]
        return crop(picture, self.squares[number], size)

    def best_frame(self, span: int = 0) -> int:
        """The frame of a span that shows the face most frontally and nearest to its usual position.

        With it as reference the other frames need the least invention: a frontal face hides no cheek, and one at the
        usual position is warped least. Shut eyes do not matter, because the eyes stay the video's.
        """
        here = np.flatnonzero(self.spans == span)
        points = self.points[here]
        eyes, nose = points[:, :2], points[:, 2]
        apart = eyes[:, 1] - eyes[:, 0]
        distance = np.maximum(np.linalg.norm(apart, axis=1), 1e-6)
        turned = np.abs(((nose - eyes.mean(1)) * apart).sum(1)) / distance**2
        leaning = np.abs(np.arctan2(apart[:, 1], apart[:, 0]))
        away = np.linalg.norm(points - np.median(points, 0), axis=2).mean(1) / np.median(distance)
        return int(here[(turned + leaning + away).argmin()])


def find_heads(path: Path, timeline: Timeline, count: int) -> list[Head]:
    """Every head of the first ``count`` frames, followed within its shot, in order of appearance."""
    looked, changes, before = [], [], None
    frames = tqdm(resampled_frames(path, timeline), total=count, unit="frame", desc="following the face", delay=2)
    for number, picture in zip(range(count), frames, strict=False):
        if number % LOOK_EVERY == 0 or number == count - 1:
            looked.append((number, [with_redness(face, picture) for face in detect_faces(picture)]))
        small = thumbnail(picture)
        changes += [] if before is None else [change(before, small)]
        before = small
    frames.close()
    return follow(looked, find_cuts(np.array(changes)), count, LOOK_EVERY)


def with_redness(face: Landmarks, picture: np.ndarray) -> Landmarks:
    """A face found in uint8 [H, W, 3], and how red its mouth is."""
    return replace(face, redness=-np.inf if no_lips(picture, face) else redness(picture, face))


def concern(covered: np.ndarray) -> str:
    """The sentence about a video in which no lips are seen on the frames ``covered``, bool [T]."""
    return (
        f"no lips are seen in {covered.sum() / FPS:.1f} s of {len(covered) / FPS:.1f} s, first at "
        f"{covered.argmax() / FPS:.1f} s: a hand, a mask or a microphone may hide the mouth; the new "
        "mouth is painted over it"
    )


def chosen_heads(path: Path, heads: list[Head], num_frames: int, face: str | None) -> list[Head]:
    """The heads that speak, one after the other, or a ValueError that says why there are too few frames of them."""
    if not heads:
        raise ValueError(f"{path}: no face is found; give a video of one person who looks at the camera, upright")
    value = CHOICES[face or "largest"]
    chosen, reasons = [], {}
    for head in sorted(heads, key=value, reverse=True):
        if any(head.first < other.end and other.first < head.end for other in chosen):
            continue
        if reason := fault(head, heads, face):
            reasons.setdefault(reason, head)
        else:
            chosen.append(head)
    usable = sum(head.end - head.first for head in chosen)
    if usable < LEAST * num_frames:
        why = next(iter(reasons), "cut the video to the shots that show the face")
        raise ValueError(
            f"{path}: a face that can speak is seen in {usable / FPS:.1f} s of {num_frames / FPS:.1f} s only: {why}"
        )
    return sorted(chosen, key=lambda head: head.first)


def fault(head: Head, heads: list[Head], face: str | None) -> str:
    """Why a head cannot speak; empty where it can."""
    if face is None and rivals(head, heads) > MAX_RIVAL:
        count = 1 + sum(h is not head and h.size > RIVAL * head.size for h in heads)
        return f"the video shows {count} faces; say which one with face=largest, left or right"
    if head.size < SMALLEST:
        return f"the face is only {head.size:.0f} pixels across; give a video where it has {SMALLEST}"
    if head.lying > MAX_TURNED:
        return "the face lies on its side or on its head; turn the video by 90 or 180 degrees"
    if head.turned > MAX_TURNED:
        return f"the face is turned away in {head.turned:.0%} of the time; give one seen from the front"
    return ""
