"""A pair made ready: both videos in step at 25 frames a second and in the real one's size, and where the face is."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from tsd.clip import FPS
from tsd.evaluation.pairs.matching import Pair
from tsd.media.audio import SAMPLES_PER_FRAME, load_audio
from tsd.media.faces import Landmarks, crop_face, detect_faces
from tsd.media.timeline import Timeline, read_timeline, resampled_frames
from tsd.media.video import resize_square

MIN_FRAMES = 10
"""0.4 s: what start and end of a clip mean (``tsd.metrics.statistics.END_FRAMES``)."""

MIN_SIDE, MAX_PIXELS = 32, 1920 * 1080
"""Pictures that are scored: LPIPS needs the lower limit; the upper one bounds memory."""

SHAPE_TOLERANCE = 0.05
"""How much height / width may differ, as a share, before a resized picture would be a distorted one."""

LOOKED_AT = (0, 6, 12, 18, 24)
"""Frames of the real video in which a face is looked for, until one is found."""

CROP = 128
"""Side of the pictures of faces that the measuring nets see."""


@dataclass(frozen=True)
class ReadyPair:
    """Two videos that can be compared; nothing of their pictures is in memory."""

    pair: Pair
    real: Timeline
    generated: Timeline
    num_frames: int
    """Common length at 25 frames a second."""
    face: Landmarks | None
    """Of the real video, for all frames of both; None where there is none, or none was asked for."""
    crop: str
    """What was done about the face, in words."""
    wave: np.ndarray | None
    """float32 [num_frames * 640] the real video's sound at 16 kHz; None where it has none."""
    sound: str
    """What was done about the sound, in words."""

    @property
    def size(self) -> tuple[int, int]:
        """Height and width in which both are compared: those of the real video."""
        return self.real.height, self.real.width

    def frames(self, path: Path, timeline: Timeline, repeat: bool = False) -> Iterator[np.ndarray]:
        """uint8 [H, W, 3] in the pair's size, ``num_frames`` of them, over and over where ``repeat``."""
        count = 0
        while count < self.num_frames:
            for picture in resampled_frames(path, timeline):
                yield resize(picture, *self.size)
                count += 1
                if count == self.num_frames:
                    return
            if not repeat:
                raise ValueError(f"{path}: the video is broken after {count / FPS:.2f} s; write or copy it again")

    def faces(self, pictures: np.ndarray) -> np.ndarray:
        """uint8 [n, H, W, 3] -> [n, CROP, CROP, 3]: the face in canonical framing, or the picture's middle square."""
        if self.face is None:
            return resize_square(pictures, CROP)
        return np.stack([crop_face(picture, self.face, CROP)[0] for picture in pictures])

    def face_box(self) -> np.ndarray | None:
        """float32 [4] x0 y0 x1 y1 of the face in units of width and height; None where none was found."""
        if self.face is None:
            return None
        height, width = self.size
        return np.clip(self.face.box / np.float32([width, height, width, height]), 0, 1)


def resize(picture: np.ndarray, height: int, width: int) -> np.ndarray:
    """uint8 [h, w, 3] -> [height, width, 3], area resampled (linear upwards)."""
    if picture.shape[:2] == (height, width):
        return picture
    smaller = height * width < picture.shape[0] * picture.shape[1]
    return cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA if smaller else cv2.INTER_LINEAR)


def make_ready(pair: Pair, crop: bool, length_tolerance: float) -> ReadyPair:
    """Both videos decoded once and checked, the face found. ValueError or FileNotFoundError says why a pair is
    refused: a broken file, a picture too small or too large, another shape, too short, another length."""
    real, generated = read_timeline(pair.real), read_timeline(pair.generated)
    for path, video in ((pair.real, real), (pair.generated, generated)):
        if min(video.height, video.width) < MIN_SIDE or video.height * video.width > MAX_PIXELS:
            raise ValueError(
                f"{path}: is {video.width} x {video.height} pixels; from {MIN_SIDE} on each side to 1920 x 1080 "
                "are scored: scale both folders"
            )
    stretch = generated.height * real.width / (generated.width * real.height)
    if not 1 / (1 + SHAPE_TOLERANCE) <= stretch <= 1 + SHAPE_TOLERANCE:
        raise ValueError(
            f"{pair.generated}: is {generated.width} x {generated.height}, the real one {real.width} x {real.height}; "
            "pictures of another shape show something else: cut out the same part of the real ones"
        )
    lengths = generated.num_frames, real.num_frames
    if abs(lengths[0] - lengths[1]) > length_tolerance * FPS:
        raise ValueError(
            f"{pair.generated}: lasts {lengths[0] / FPS:.2f} s, the real one {lengths[1] / FPS:.2f} s; "
            f"up to length_tolerance={length_tolerance:g} s may be missing or too much"
        )
    if min(lengths) < MIN_FRAMES:
        raise ValueError(
            f"{pair.generated}: only {min(lengths) / FPS:.2f} s are common; {MIN_FRAMES / FPS:g} s are needed"
        )
    face, done = None, "off"
    if crop:
        face, done = first_face(pair.real, real)
    num_frames = min(lengths)
    return ReadyPair(pair, real, generated, num_frames, face, done, *read_sound(pair.real, num_frames))


def read_sound(path: Path, num_frames: int) -> tuple[np.ndarray | None, str]:
    """The sound of a video's first ``num_frames`` frames, and what was done in words."""
    try:
        wave = load_audio(path)[: num_frames * SAMPLES_PER_FRAME]
    except ValueError as error:
        return None, f"none: {str(error).removeprefix(f'{path}: ')}"
    return np.pad(wave, (0, num_frames * SAMPLES_PER_FRAME - len(wave))), "of the real video"


def first_face(path: Path, timeline: Timeline) -> tuple[Landmarks | None, str]:
    """The largest face of the first frame that shows one, and what was done in words."""
    for number, picture in enumerate(resampled_frames(path, timeline)):
        if number in LOOKED_AT and (found := detect_faces(picture)):
            return found[0], f"the real video's face at frame {number}"
        if number >= LOOKED_AT[-1]:
            break
    return None, "none: no face found in the real video's first second; the middle square is used"
