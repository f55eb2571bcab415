"""Dubbing: the mouth of every frame of a video is generated for new speech; the rest stays the video's."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from tsd.media.audio import SAMPLES_PER_FRAME
from tsd.media.coding import Coding
from tsd.media.crops import crop, to_units
from tsd.media.light import Light
from tsd.media.marking.pattern import UNITS_OF_DUBBING
from tsd.media.mouth_mask import mouth_masks
from tsd.media.signals import FPS, to_planes
from tsd.media.timeline import there_and_back_order
from tsd.runtime.arrays import array, given, no_gradients
from tsd.runtime.canvas import picture_canvas
from tsd.runtime.composing import Composer
from tsd.runtime.driving import DrivingVideo
from tsd.runtime.hearing import Hearing, heard
from tsd.runtime.speaking import Known, Speaker, Speaking

LENGTHS = ("speech", "shorter", "video")
"""Length of a dubbed video: that of the speech (a shorter video runs back and forth), that of the shorter one, or that
of the video (the rest is silent)."""


def common_length(length: str, speech: int, video: int) -> int:
    """Number of frames of the result, from those of speech and video, by a rule of LENGTHS."""
    return {"speech": speech, "shorter": min(speech, video), "video": video}[length]


@dataclass
class Dubbing:
    """Iterate over it for the dubbed frames uint8 [<= chunk, H, W, 3]. Memory does not grow with the length of speech
    or video, and the frames do not depend on ``chunk``.

    ``wave``: float32 [N] at 16 kHz, the sound of the result. ``reference_frame``: number of the video's frame that is
    the reference image; None if another picture is.
    """

    talker: object
    reference: Speaker | None
    """Whose mouth it is; None: in every span, as its best frame shows it."""
    video: DrivingVideo
    wave: np.ndarray
    num_frames: int
    steps: str
    chunk: int
    seed: int

    def __post_init__(self):
        self.coding = Coding.of(self.video.path)
        self.speakers: dict[int, Speaker] = {}
        self.lights: dict[int, Light] = {}

    @property
    def num_left(self) -> int:
        """Frames of the result that stay as they are, for the face is not seen in them."""
        order = there_and_back_order(len(self.video), self.num_frames)
        return int((self.video.spans[order] < 0).sum())

    @property
    def changed(self) -> list[str]:
        """What an mp4 of the frames has otherwise than the video, each in a few words; size, colours and rotation are
        kept as they are seen."""
        found, seen = self.coding.lost(), self.video.timeline
        if abs(seen.fps - FPS) > 0.01:
            found.insert(0, f"{seen.fps:.2f} frames a second became {FPS}")
        if seen.width % 2 or seen.height % 2:
            even = f"{seen.width // 2 * 2} x {seen.height // 2 * 2}"
            found.append(f"{seen.width} x {seen.height} pixels became {even}, for H.264 takes even numbers")
        return found

    @property
    def reference_frame(self) -> int | None:
        return None if self.reference is not None else self.video.best_frame()

    def speaker(self, span: int) -> Speaker:
        """Who speaks in a span."""
        if self.reference is not None:
            return self.reference
        if span not in self.speakers:
            frame = self.video.best_frame(span)
            crop = self.light(span).usual(self.video.crop(frame, self.talker.vae.resolution))
            self.speakers[span] = self.talker.speaker(crop, self.video.motion[frame])
        return self.speakers[span]

    def light(self, span: int) -> Light:
        """One for all frames of a span, so that it does not flicker."""
        if span not in self.lights:
            frame = self.video.best_frame(span)
            self.lights[span] = Light.of(self.video.crop(frame, self.talker.vae.resolution))
        return self.lights[span]

    def __iter__(self) -> Iterator[np.ndarray]:
        talker, video = self.talker, self.video
        motion, schedule = video.motion, talker.schedule(self.steps)
        hearing = Hearing(talker.recogniser, self.chunk, talker.hears)
        # One mark for the whole video, named after whoever speaks first.
        unit = float(np.median(video.squares[:, 2])) / UNITS_OF_DUBBING
        marking = talker.marking(talker.run_payload(self.speaker(0).appearance, self.steps, self.seed), unit=unit)
        order, pictures, done = there_and_back_order(len(video), self.num_frames), video.frames(), 0
        speaking, before = None, -1
        for windows, _ in heard(hearing, [self.wave], self.chunk):
            for part in (windows[i : i + self.chunk] for i in range(0, len(windows), self.chunk)):
                here = order[done : done + len(part)]
                done += len(part)
                edges = np.flatnonzero(np.diff(video.spans[here])) + 1
                for some, run in zip(np.split(here, edges), np.split(np.arange(len(here)), edges), strict=True):
                    shown, span = [next(pictures) for _ in some], int(video.spans[some[0]])
                    if span >= 0 and span != before:  # nothing of another shot is remembered
                        speaking = Speaking(talker.student, self.speaker(span), schedule, self.seed)
                    before = span
                    made = np.stack(shown)
                    if span >= 0:
                        made = self.dub(speaking, part[run], motion[some], some, shown)
                    yield marking(made, np.stack(shown))

    def dub(
        self, speaking: Speaking, part: np.ndarray, motion: np.ndarray, numbers: np.ndarray, shown: list[np.ndarray]
    ) -> np.ndarray:
        """The pictures ``shown``, which are the frames ``numbers`` of the video, with the mouth of windows ``part``."""
        talker, video, size = self.talker, self.video, self.talker.vae.resolution
        faces = np.stack([crop(p, video.squares[i], size) for p, i in zip(shown, numbers, strict=True)])
        masks, light = mouth_masks(video.points[numbers], size), self.light(int(video.spans[numbers[0]]))
        with no_gradients():
            seen = talker.vae.appearance(given(to_planes(light.usual(faces))))
        known = Known(array(seen.latent), latent_masks(masks, talker.vae.latent_size))
        # Each frame is its own reference for the decoder: everything but the mouth is already in place.
        parts = talker.changes(speaking(part, motion, known=known), seen)
        return np.stack([self.composed(light, *given) for given in zip(shown, numbers, *parts, strict=True)])

    def composed(
        self, light: Light, picture: np.ndarray, number: int, change: np.ndarray, offsets: np.ndarray
    ) -> np.ndarray:
        """A frame uint8 [H, W, 3] of the video with a new lower face."""
        to_unit, points = to_units(self.video.squares[number]), self.video.points[number]
        canvas, frame = picture_canvas(picture, to_unit, points), picture.copy()
        height, width = canvas.size  # even numbers, which a video's need not be
        composer = Composer(canvas, self.talker.vae.resolution, light, True, self.talker.vae.painted)
        frame[:height, :width] = composer(change[None], offsets[None])[0]
        return frame


def latent_masks(masks: np.ndarray, size: int) -> np.ndarray:
    """float32 [T, R, R] -> [T, 1, size, size]: share of each position that is generated, the largest of its pixels. R
    is a multiple of ``size``."""
    cell = masks.shape[-1] // size
    return masks.reshape(len(masks), 1, size, cell, size, cell).max((3, 5))


def speech_of(wave: np.ndarray, num_frames: int) -> np.ndarray:
    """float32 [N] -> [num_frames * 640], cut or followed by silence."""
    wave = wave[: num_frames * SAMPLES_PER_FRAME]
    return np.pad(wave, (0, num_frames * SAMPLES_PER_FRAME - len(wave)))
