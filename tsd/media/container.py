"""The one door to media files: what is opened, and how large a stranger's file may make us."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import av
import cv2
import numpy as np
from PIL import Image

FORMATS = (
    "aac,ac3,aiff,amr,ape,asf,avi,caf,dv,flac,flv,h264,hevc,ivf,m4v,matroska,mjpeg,mov,mp3,mpeg,mpegts,mpegvideo,mxf,"
    "nut,ogg,rm,w64,wav,wv"
)
"""Demuxers that read one file. Playlists and scripts (hls, dash, concat, sdp, ...) would open others by name, inside
or outside the corpus or on a network, whatever their own name ends in."""

LARGEST_FRAME = 4096 * 2304
"""Pixels: 4K. A damaged header may ask for more memory than there is."""

LONGEST = 3600.0
"""Seconds of one file: sound is held in memory whole."""


@contextmanager
def open_media(path: str | Path):
    """An open PyAV container; a missing, unreadable or oversized file is one clear error naming the file."""
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file")
    if not path.stat().st_size:
        raise ValueError(f"{path}: the file is empty; record or copy it again")
    try:
        container = av.open(str(path), options={"format_whitelist": FORMATS, "protocol_whitelist": "file"})
    except (av.error.FFmpegError, UnicodeDecodeError, MemoryError) as error:
        if is_picture(path):
            raise ValueError(f"{path}: is a picture; give a video or sound, an animation as mp4") from error
        raise ValueError(f"{path}: not a readable media file; convert it to mp4 or wav, or remove it") from error
    with container:
        for stream in container.streams.video:
            context = stream.codec_context
            if context is None:
                raise ValueError(f"{path}: the picture's codec is not known; convert it to H.264")
            if stream.width * stream.height > LARGEST_FRAME:
                raise ValueError(
                    f"{path}: a picture of {stream.width} x {stream.height} pixels is more than 4096 x 2304; "
                    "make the video smaller"
                )
            context.thread_count = 1  # whoever reads many files reads them side by side
            context.options = {"max_pixels": str(LARGEST_FRAME)}
        yield container


def is_picture(path: Path) -> bool:
    """Whether the file begins as one of a picture does."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            with Image.open(path):
                return True
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return False


def picture_stream(container, path: str | Path):
    """The first video stream; ValueError where there is none. A cover of a sound file does not count."""
    for stream in container.streams.video:
        if not stream.disposition & av.stream.Disposition.attached_pic:
            return stream
    raise ValueError(f"{path}: holds no video; give a video file such as an mp4")


def decode_pictures(container, path: str | Path) -> Iterator[av.VideoFrame]:
    """The pictures of the first video stream, in the order they are shown.

    What is decoded counts, not what a header says: an edit list hides pictures, a growing file has fewer. Raises
    ValueError, with the time, where a picture cannot be decoded. A last picture that is not there whole is left out.
    """
    stream = picture_stream(container, path)
    sent, made, time, whole = 0, 0, 0.0, True
    try:
        for packet in container.demux(stream):
            whole = not packet.is_corrupt
            sent += packet.size > 0 and whole and not packet.is_discard
            for frame in packet.decode():
                made, time = made + 1, frame.time if frame.time is not None else time
                yield frame
    except av.error.FFmpegError as error:
        if whole:
            raise ValueError(
                f"{path}: the video is broken at {time:.2f} s; copy it again, or remove it and prepare again"
            ) from error
    if not made:
        raise ValueError(f"{path}: the video holds no picture that can be decoded; write or copy it again")
    # Only containers that count their pictures have one in each packet; some codecs send packets that show none.
    if stream.frames and made < sent:
        raise ValueError(
            f"{path}: the video is broken: {sent - made} of {sent} pictures cannot be decoded; write or copy it again"
        )


def upright(frame: av.VideoFrame, aspect: float = 1.0) -> np.ndarray:
    """A decoded frame as uint8 [H, W, 3] RGB as it is meant to be seen: turned as its rotation flag says, and
    widened where its pixels are ``aspect`` times as wide as high."""
    # One thread: a frame is done before others would be awake, and whoever reads many files reads them side by side.
    picture = np.rot90(frame.to_ndarray(format="rgb24", threads=1), round(frame.rotation / 90))
    if abs(aspect - 1) > 0.01:
        height, width = picture.shape[:2]
        sideways = round(frame.rotation / 90) % 2
        sized = (width, round(height * aspect)) if sideways else (round(width * aspect), height)
        picture = cv2.resize(np.ascontiguousarray(picture), sized, interpolation=cv2.INTER_LINEAR)
    return np.ascontiguousarray(picture)


def pixel_aspect(stream) -> float:
    """Width over height of a stream's pixels; 1 where it does not say, or says what no camera makes."""
    aspect = float(stream.sample_aspect_ratio or 1)
    return aspect if 0.25 <= aspect <= 4 else 1.0
