"""What a visitor asks for, made by one talker: progress, a signed video, figures, or a sentence that says why not."""

import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from threading import Event

import numpy as np

from tsd.browser.figures import Figures
from tsd.browser.limits import Limits
from tsd.clip import SAMPLE_RATE
from tsd.media.audio import SAMPLES_PER_FRAME, load_audio
from tsd.media.coding import PHOTOGRAPH
from tsd.media.credentials import Credentials
from tsd.media.faces import find_face, framing
from tsd.media.pictures import load_picture
from tsd.media.provenance import consent_of
from tsd.media.sound import Sound
from tsd.media.suitability import concerns
from tsd.runtime.canvas import side_of
from tsd.runtime.driving import DrivingVideo
from tsd.runtime.dubbing import Dubbing
from tsd.runtime.signed_video import write_signed_video
from tsd.runtime.talker import Talker

CHUNK = 24
"""Frames at a time, as `make talk` has it. A visitor who cancels waits for one chunk at most."""


class Cancelled(Exception):
    """The visitor does not want it any more."""


@dataclass(frozen=True)
class Wish:
    """What one sample shall be; the fields are the options of `make talk`. ``video``: dubbing, else ``photograph``."""

    speech: str | Path
    photograph: str | Path | None = None
    video: str | Path | None = None
    steps: str = "k2"
    size: int | str = "native"
    frame: str = "picture"
    motion: str = "natural"
    face: str | None = None
    length: str = "speech"
    seed: int = 0
    consent: str = ""
    label: bool = True


@dataclass(frozen=True)
class Sample:
    """A finished one."""

    path: Path
    figures: Figures
    mark: str | None


class Studio:
    """Makes samples with the nets of ``talker``, which stays as it is: every sample has a talker of its own."""

    def __init__(self, talker: Talker, limits: Limits, signer: Credentials):
        self.talker, self.limits, self.signer = talker, limits, signer

    def found(self, photograph: str | Path) -> list[str]:
        """Sentences about the face in a photograph. Raises ValueError where it cannot speak."""
        picture = load_picture(photograph)
        face = find_face(picture, photograph)
        side, (height, width) = side_of(framing(face.points)), picture.shape[:2]
        sentences = [f"One face, {side:.0f} pixels across, in a photograph of {width} x {height}."]
        if side > self.limits.face_pixels:
            sentences.append(f"It is made smaller: this page makes faces of {self.limits.face_pixels} pixels at most.")
        return sentences + [f"{concern[:1].upper()}{concern[1:]}." for concern in concerns(picture, face)]

    def make(self, wish: Wish, path: Path, progress: Callable[[float, str], None], cancelled: Event) -> Sample:
        """Write the video of a wish to ``path``.

        progress: called with a share in 0..1 and a sentence. Raises ValueError or FileNotFoundError for what cannot be
        made, and Cancelled soon after ``cancelled`` is set; nothing is left under ``path`` then.
        """
        talker = copy.copy(self.talker)
        wave = load_audio(wish.speech)
        self.limits.check_speech(len(wave), SAMPLE_RATE)
        figures = Figures()
        if wish.video is not None:
            dubbing = self.dubbed(talker, wish)
            pieces, total, colours = iter(dubbing), dubbing.num_frames, dubbing.coding.colours
        else:
            (pieces, total), colours = self.spoken(talker, wish, wave), PHOTOGRAPH

        def watched() -> Iterator[np.ndarray]:
            for piece in pieces:
                if cancelled.is_set():
                    raise Cancelled
                figures.add(piece)
                done = figures.num_frames
                progress(done / total, f"{wish.steps.upper()}: frame {done} of {total}")
                yield piece

        inputs = {"reference": wish.photograph, "sound": wish.speech, "video": wish.video}
        sound = Sound.of(wish.speech)
        write_signed_video(path, talker, watched(), sound, inputs, self.signer, wish.label, colours=colours)
        return Sample(path, figures, None if talker.payload is None else f"{talker.payload:08x}")

    def spoken(self, talker: Talker, wish: Wish, wave: np.ndarray) -> tuple[Iterator[np.ndarray], int]:
        """Frames of a photograph that speaks, and how many."""
        if wish.photograph is None:
            raise ValueError("a photograph is missing: give one of one person who looks into the camera")
        talker.set_reference(wish.photograph, self.size_of(wish), wish.frame, wish.consent)
        total = -(-len(wave) // SAMPLES_PER_FRAME)
        return talker.stream([wave], wish.steps, CHUNK, wish.seed, motion=wish.motion), total

    def size_of(self, wish: Wish) -> int | str:
        """Pixels across the face: as the photograph has them, up to the limit."""
        if wish.size != "native":
            return min(int(wish.size), self.limits.face_pixels)
        picture = load_picture(wish.photograph)
        side = side_of(framing(find_face(picture, wish.photograph).points))
        return self.limits.face_pixels if side > self.limits.face_pixels else "native"

    def dubbed(self, talker: Talker, wish: Wish) -> Dubbing:
        """A video with another mouth."""
        self.limits.check_video(wish.video)
        consent = consent_of(wish.consent)
        video = DrivingVideo.read(wish.video, face=wish.face)
        dubbing = talker.dub(video, wish.speech, wish.steps, CHUNK, wish.seed, wish.length)
        talker.consent = consent
        return dubbing
