"""The one door to media files: what is opened, and how large a stranger's file may make us."""

from contextlib import contextmanager
from pathlib import Path

import av
import cv2
import numpy as np

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
    try:
        container = av.open(str(path), options={"format_whitelist": FORMATS, "protocol_whitelist": "file"})
    except (av.error.FFmpegError, UnicodeDecodeError, MemoryError) as error:
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
