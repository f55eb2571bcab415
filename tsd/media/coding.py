"""How the pictures of a video are coded: the colours that a result keeps, and what else a result cannot keep."""

from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np
from av.video.reformatter import ColorRange, Colorspace, VideoReformatter

from tsd.media.container import decode_pictures, open_media, picture_stream, pixel_aspect

UNSAID = 2
"""The tag of a video that does not say how its colours are meant (ITU-T H.273)."""

MATRICES = {
    1: Colorspace.ITU709,
    4: Colorspace.FCC,
    5: Colorspace.ITU601,
    6: Colorspace.ITU601,
    7: Colorspace.SMPTE240M,
    9: Colorspace.BT2020,
}
"""Matrices between RGB and luma and chroma by their tag; BT.601 for any other, as decoders take it."""

WRITTEN = ("yuv420p", "yuvj420p")
"""Pixel formats that a result has: 8 bits, and chroma of half the size."""


@dataclass(frozen=True)
class Colours:
    """Tags by which players turn the numbers of a video into light (ITU-T H.273)."""

    matrix: int = UNSAID
    primaries: int = UNSAID
    transfer: int = UNSAID
    full: bool = False
    """Whether luma has the whole range 0..255, not 16..235."""

    @classmethod
    def of(cls, frame: av.VideoFrame) -> "Colours":
        """Those of a decoded frame. A matrix that is not known, or that of RGB, counts as unsaid."""
        matrix = int(frame.colorspace) if int(frame.colorspace) in MATRICES else UNSAID
        full = frame.color_range == ColorRange.JPEG or frame.format.name.startswith("yuvj")
        return cls(matrix, int(frame.color_primaries) or UNSAID, int(frame.color_trc) or UNSAID, full)

    def tag(self, encoder) -> None:
        """Let the codec context of a stream that is written carry them."""
        encoder.colorspace, encoder.color_primaries, encoder.color_trc = self.matrix, self.primaries, self.transfer
        encoder.color_range = ColorRange.JPEG if self.full else ColorRange.MPEG

    def coded(self, picture: np.ndarray, converter: VideoReformatter) -> av.VideoFrame:
        """uint8 [H, W, 3] RGB -> a frame of yuv420p, which ``upright`` turns into the same RGB again. One converter for
        all frames of a video: a frame's own takes three times as long."""
        return converter.reformat(
            av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24"),
            format="yuv420p",
            dst_colorspace=MATRICES.get(self.matrix, Colorspace.ITU601),
            dst_color_range=ColorRange.JPEG if self.full else ColorRange.MPEG,
            threads=1,  # the nets keep the others busy
        )


PHOTOGRAPH = Colours(matrix=6, primaries=1, transfer=13)
"""sRGB, as photographs are. Without tags players take the matrix of large pictures to be BT.709."""


@dataclass(frozen=True)
class Coding:
    """What the first picture of a video says of all of them."""

    colours: Colours
    pixels: str
    """Pixel format, by ffmpeg's name."""
    interlaced: bool
    aspect: float
    """Width over height of a pixel."""

    @classmethod
    def of(cls, path: str | Path) -> "Coding":
        """Raises FileNotFoundError, or ValueError for what is no video."""
        with open_media(path) as container:
            aspect = pixel_aspect(picture_stream(container, path))
            frame = next(decode_pictures(container, path))
            return cls(Colours.of(frame), frame.format.name, bool(frame.interlaced_frame), aspect)

    def lost(self) -> list[str]:
        """What a result has otherwise, each in a few words."""
        found = []
        if self.pixels not in WRITTEN:
            found.append(f"pixels of {self.pixels} became {WRITTEN[0]}")
        if abs(self.aspect - 1) > 0.01:
            found.append(f"pixels {self.aspect:.2f} times as wide as high became square")
        if self.interlaced:
            found.append("interlaced lines stay in the pictures, which are shown whole")
        return found
