"""A real clip made ready: the stretch that shows one talking face, its sound, and what is said where a text says so."""

from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

import numpy as np

from tsd.clip import FPS
from tsd.media.audio import SAMPLES_PER_FRAME, load_audio
from tsd.media.crops import crop, squares
from tsd.media.faces import SMALLEST, Landmarks, crop_face
from tsd.media.heads import MAX_TURNED, TURNED, Head, rivals
from tsd.media.timeline import Timeline, frames_between, read_timeline, resampled_frames
from tsd.prepare.labels import label
from tsd.prepare.recording import Recording
from tsd.prepare.transcript import with_transcript
from tsd.runtime.driving import MAX_RIVAL, find_heads

MIN_FRAMES = FPS
"""A second: a correlation over less says nothing."""

CLOSE = 256
"""Side of the pictures of real faces in which the truth is read: as large as faces in small clips."""


@dataclass(frozen=True)
class Found:
    """Where a video shows one talking face, and what is said there: all that is slow to find."""

    first: int
    """Number of the first frame at 25 frames a second."""
    points: np.ndarray
    """float32 [T, 5, 2], landmarks in pixels of the T frames from there on."""
    visemes: np.ndarray | None
    """float32 [T, V] by forced alignment of the text beside the clip; None without one that fits."""


@dataclass(frozen=True)
class TalkingClip:
    """T frames of a video at 25 frames a second that show one face, from frame ``first`` on."""

    name: str
    path: Path
    timeline: Timeline
    wave: np.ndarray
    """float32 [T * 640], their sound."""
    first: int
    points: np.ndarray
    visemes: np.ndarray | None
    """As in ``Found``."""

    def __len__(self) -> int:
        return len(self.points)

    def faces(self, *sizes: int) -> list[np.ndarray]:
        """For each size the face of every frame, uint8 [T, size, size, 3], in a square that follows the head."""
        found: list[list[np.ndarray]] = [[] for _ in sizes]
        frames = islice(resampled_frames(self.path, self.timeline), self.first, self.first + len(self))
        for picture, place in zip(frames, squares(self.points), strict=True):
            for pictures, size in zip(found, sizes, strict=True):
                pictures.append(crop(picture, place, size))
        return [np.stack(pictures) for pictures in found]

    def reference(self, size: int) -> tuple[np.ndarray, np.ndarray]:
        """The first face that looks ahead, uint8 [size, size, 3], and its motion [7], as a photograph of it would be
        cut out."""
        number = first_ahead(self.points)
        picture = frames_between(self.path, self.timeline, self.first + number, self.first + number + 1)[0]
        return crop_face(picture, Landmarks(self.points[number], np.zeros(4, np.float32), 1.0), size)


def first_ahead(points: np.ndarray) -> int:
    """Landmarks [T, 5, 2] -> the first frame in which the head is not turned away."""
    apart = np.maximum(np.linalg.norm(points[:, 1] - points[:, 0], axis=1), 1e-6)
    aside = np.abs(points[:, 2, 0] - points[:, :2, 0].mean(1))
    return int((aside <= TURNED * apart).argmax())


def find(path: Path, seconds: float | None = None, language: str = "en") -> Found:
    """The longest stretch in which one face is seen, of a video's first ``seconds`` (None: all).

    ValueError or FileNotFoundError says why a clip is of no use: no sound, no face, two faces, one that is too small,
    turned away or seen for less than a second.
    """
    timeline, sound = read_timeline(path), load_audio(path)
    count = min(timeline.num_frames, round(seconds * FPS)) if seconds else timeline.num_frames
    head = talking_head(path, find_heads(path, timeline, count))
    points, _ = head.landmarks()
    recording = replace(with_transcript(Recording(path, path.name, path.name), plain=True), words=())
    said = label(recording, sound, head.first + len(points), language)
    return Found(head.first, points, said.visemes[head.first :] if said.source == "aligned" else None)


def read_clip(path: Path, name: str, found: Found) -> TalkingClip:
    """The clip as it was found, with its sound."""
    begin, end = (frame * SAMPLES_PER_FRAME for frame in (found.first, found.first + len(found.points)))
    sound = load_audio(path)
    wave = np.pad(sound, (0, max(0, end - len(sound))))[begin:end]
    return TalkingClip(name, path, read_timeline(path), wave, found.first, found.points, found.visemes)


def talking_head(path: Path, heads: list[Head]) -> Head:
    """The head that is seen longest, the larger of equals; ValueError where it is of no use."""
    if not heads:
        raise ValueError(f"{path}: no face is found; give a video of one person looking at the camera")
    head = max(heads, key=lambda h: (h.end - h.first, h.size))
    if head.end - head.first < MIN_FRAMES:
        seconds = (head.end - head.first) / FPS
        raise ValueError(f"{path}: one face is seen for {seconds:.2f} s at most; {MIN_FRAMES / FPS:g} s are needed")
    if rivals(head, heads) > MAX_RIVAL:
        raise ValueError(f"{path}: two faces are seen at once, and nobody knows whose voice it is; cut one out")
    if head.size < SMALLEST:
        raise ValueError(f"{path}: the face is only {head.size:.0f} pixels across; {SMALLEST} are needed")
    if head.turned > MAX_TURNED:
        raise ValueError(f"{path}: the face is turned away in {head.turned:.0%} of the time; its lips cannot be read")
    return head
