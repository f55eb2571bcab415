"""Frames by number, from one of several decoders: the same pictures, at different speeds (`make bench-data`).

torchcodec is the fastest for a few frames of a clip but needs an installed ffmpeg. PyAV is always there and comes next,
then decord.
"""

from bisect import bisect_right
from collections.abc import Callable, Sequence
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import av
import numpy as np

from tsd.media.container import open_media, upright

Backend = Callable[[Path, Sequence[int]], np.ndarray]
"""(path, numbers in 0..n-1 in any order) -> uint8 [len(numbers), H, W, 3]; ValueError where decoding fails."""


def read_decord(path: Path, numbers: Sequence[int]) -> np.ndarray:
    """decord (Apache-2.0), which has wheels for x86_64 Linux only."""
    import decord

    try:
        reader = decord.VideoReader(str(path), ctx=decord.cpu(0), num_threads=1)
        return reader.get_batch(list(numbers)).asnumpy()
    except (decord.DECORDError, RuntimeError, IndexError) as error:
        raise ValueError("cannot be decoded") from error


def read_pyav(path: Path, numbers: Sequence[int], seek: bool = True) -> np.ndarray:
    """PyAV (BSD-3), from the nearest keyframe before each wanted frame that lies ahead.

    A file whose index does not keep its word is read again from the start (``seek`` False).
    """
    found, needed = {}, sorted(set(numbers))
    with open_media(path) as container:
        stream = container.streams.video[0]
        index = list(stream.index_entries)
        keys = [(n, entry.timestamp) for n, entry in enumerate(index) if entry.is_keyframe]
        shift = (stream.start_time or 0) - index[0].timestamp if index else 0  # the index holds decoding times
        frames, position = container.decode(stream), 0
        try:
            for number in needed:
                key, stamp = keys[max(bisect_right(keys, number, key=lambda k: k[0]) - 1, 0)] if keys else (0, 0)
                jumped = seek and key > position
                if jumped:
                    container.seek(stamp + shift, stream=stream)
                    frames, position = container.decode(stream), key
                for frame in frames:
                    if jumped and _number(frame, stream) != position:
                        return read_pyav(path, numbers, seek=False)
                    position, jumped = position + 1, False
                    if position > number:
                        found[number] = upright(frame)
                        break
        except av.error.FFmpegError as error:
            raise ValueError(f"cannot be decoded at frame {position}") from error
    if missing := sorted(set(needed) - found.keys()):
        raise ValueError(f"ends before frame {missing[0]}")
    return np.stack([found[number] for number in numbers])


def _number(frame: av.VideoFrame, stream) -> int:
    """Which frame this is, by its time stamp and the stream's rate."""
    return round((frame.time - float((stream.start_time or 0) * stream.time_base)) * float(stream.average_rate))


def read_torchcodec(path: Path, numbers: Sequence[int]) -> np.ndarray:
    """torchcodec (BSD-3), which brings no ffmpeg of its own: versions 4 to 9 have to be installed."""
    from torchcodec.decoders import VideoDecoder

    try:
        frames = VideoDecoder(str(path), num_ffmpeg_threads=1).get_frames_at(list(numbers)).data
    except (RuntimeError, IndexError) as error:
        raise ValueError("cannot be decoded") from error
    return np.ascontiguousarray(frames.permute(0, 2, 3, 1).numpy())


@cache
def has_torchcodec() -> bool:
    """Whether torchcodec is installed and finds an ffmpeg."""
    if find_spec("torchcodec") is None:
        return False
    from torchcodec.decoders import VideoDecoder

    try:
        VideoDecoder(b"no video")  # its libraries are loaded at the first use only
    except (RuntimeError, ValueError) as error:
        return "libtorchcodec" not in str(error)
    return True


BACKENDS: dict[str, Backend] = {"torchcodec": read_torchcodec, "pyav": read_pyav, "decord": read_decord}
"""The fastest first, as `make bench-data` measured them."""

DECODERS = ("auto", *BACKENDS)


def works(name: str) -> bool:
    """Whether a backend is installed here with all that it needs."""
    return has_torchcodec() if name == "torchcodec" else name == "pyav" or find_spec(name) is not None


def backend(name: str = "auto") -> Backend:
    """A decoder by its name; "auto": the fastest that works here. ValueError for one that does not."""
    if name == "auto":
        name = next(filter(works, BACKENDS))
    elif name not in BACKENDS or not works(name):
        here = ", ".join(filter(works, BACKENDS))
        raise ValueError(f"data.decoder={name}: is not installed here; choose auto or one of {here}")
    return BACKENDS[name]
