"""How much a visitor may ask for, and what is said to who asks for more."""

import re
from dataclasses import dataclass
from pathlib import Path

from tsd.media.signals import FPS
from tsd.media.timeline import read_timeline


@dataclass(frozen=True)
class Limits:
    """seconds: of speech. video_seconds: of a video to be dubbed. video_pixels: of one of its pictures. face_pixels:
    across the face's square in a result, at most. upload_mb: of one file. keep_minutes: for how long files are kept.
    waiting: how many visitors may wait."""

    seconds: float = 60.0
    video_seconds: float = 60.0
    video_pixels: int = 1920 * 1080
    face_pixels: int = 512
    upload_mb: int = 100
    keep_minutes: float = 30.0
    waiting: int = 20

    def __post_init__(self):
        wrong = [f"limits.{key}={value}: must be above 0" for key, value in vars(self).items() if not value > 0]
        if wrong:
            raise ValueError("; ".join(wrong))

    def check_speech(self, num_samples: int, rate: int) -> None:
        if num_samples > self.seconds * rate:
            raise ValueError(
                f"the speech is {num_samples / rate:.1f} s long; this page takes {self.seconds:g} s at most: cut it"
            )

    def check_video(self, path: str | Path) -> None:
        """Length and size, before the face is looked for."""
        timeline = read_timeline(path)
        if (pixels := timeline.width * timeline.height) > self.video_pixels:
            raise ValueError(
                f"the video has {timeline.width} x {timeline.height} pixels ({pixels / 1e6:.1f} million); this page "
                f"takes {self.video_pixels / 1e6:.1f} million at most: make it smaller"
            )
        if (seconds := timeline.num_frames / FPS) > self.video_seconds:
            raise ValueError(
                f"the video is {seconds:.1f} s long; this page takes {self.video_seconds:g} s at most: cut it"
            )


def said(error: Exception, names: dict[str | Path | None, str]) -> str:
    """The sentence of an error for a visitor: files by what they are to them, no path of this machine."""
    text = str(error)
    for path, name in names.items():
        if path is not None:
            text = text.replace(str(path), name)
    text = re.sub(r"(/[^\s/:;,]+)+/", "", text)
    return text[:1].upper() + text[1:].rstrip(".") + "."
