"""Video files: what they hold, frames out, frames and sound in (PyAV; ffmpeg comes inside its wheel)."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import chain, repeat
from pathlib import Path

import av
import cv2
import numpy as np
from av.video.reformatter import VideoReformatter

from tsd.media import backends, processor
from tsd.media.atomic import replacing
from tsd.media.coding import PHOTOGRAPH, Colours
from tsd.media.container import decode_pictures, open_media, picture_stream, upright
from tsd.media.signals import FPS, SAMPLE_RATE
from tsd.media.sound import Samples, Sound

BIT_RATE, LOW_BIT_RATE = "192k", "96k"
"""Of the sound of a result, and of one channel of 16 kHz, which needs less."""


@dataclass(frozen=True)
class VideoInfo:
    """Size, rate and length of a video. ``num_frames``: pictures that are shown, counted; headers miscount them."""

    num_frames: int
    fps: float
    height: int
    width: int
    has_audio: bool


def video_info(path: str | Path) -> VideoInfo:
    """Size, rate and length of the first picture stream.

    Raises FileNotFoundError, or ValueError for a file that is not a video.
    """
    with open_media(path) as container:
        stream = picture_stream(container, path)
        # Counted from packets, which needs no decoding: headers count what an edit list hides, too, and empty packets.
        try:
            num_frames = sum(packet.size > 0 and not packet.is_discard for packet in container.demux(stream))
        except av.error.FFmpegError as error:
            raise broken(path) from error
        return VideoInfo(
            num_frames=num_frames,
            fps=float(stream.average_rate or 0),
            height=stream.height,
            width=stream.width,
            has_audio=bool(container.streams.audio),
        )


def read_frames(
    path: str | Path, indices: Sequence[int] | None = None, size: int | None = None, decoder: str = "auto"
) -> np.ndarray:
    """Frames as uint8 [T, H, W, 3] RGB: all of them, or those of ``indices`` in that order.

    ``size``: side of a square; the middle square is cut out of a frame that is not square, then area
    resampled. ``decoder``: one of ``backends.DECODERS``. Raises FileNotFoundError, or ValueError for no video, a frame
    that does not exist, a stream that cannot be decoded or a decoder that is not installed.
    """
    read = backends.backend(decoder)
    if indices is None:  # by PyAV, which gives what an edit list shows and what is there of a growing file
        with open_media(path) as container:
            frames = np.stack([upright(frame) for frame in decode_pictures(container, path)])
    else:
        numbers, count = [int(i) for i in indices], video_info(path).num_frames
        if wrong := [i for i in numbers if not 0 <= i < count]:
            raise ValueError(f"{path}: has {count} frames, so frame {wrong[0]} does not exist")
        try:
            frames = read(Path(path), numbers)
        except ValueError as error:
            raise broken(path, f": {error}") from error
    return frames if size is None else resize_square(frames, size)


def resize_square(frames: np.ndarray, size: int) -> np.ndarray:
    """uint8 [T, H, W, 3] -> [T, size, size, 3]: the middle square, area resampled (linear upwards)."""
    _, height, width, _ = frames.shape
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    frames = frames[:, top : top + side, left : left + side]
    if side == size:
        return np.ascontiguousarray(frames)
    how = cv2.INTER_AREA if size < side else cv2.INTER_LINEAR
    return np.stack([cv2.resize(frame, (size, size), interpolation=how) for frame in frames])


def write_video(
    path: str | Path,
    frames: np.ndarray | Iterator[np.ndarray],
    audio: np.ndarray | Sound | None = None,
    fps: int | Fraction = FPS,
    keyframe_every: int = 250,
    comment: str = "",
    colours: Colours = PHOTOGRAPH,
) -> None:
    """Write an mp4: H.264 (yuv420p, crf 18) and, with ``audio``, AAC of its rate and channels.

    Args:
        frames: uint8 [T, H, W, 3] RGB, even H and W; or an iterator of such pieces, of which one is held at a time.
        audio: float32 [N] in [-1, 1] at 16 kHz, or what ``Sound.of`` says of a file; cut or padded with silence to
            exactly T / fps seconds.
        keyframe_every: frames; few make a window out of the middle quick to read, and the file larger.
        comment: what the container's metadata say of the file.
        colours: how they are coded; those of the video that the frames were taken from.

    The file appears under its name only when it is complete.
    """
    pieces = frames if isinstance(frames, Iterator) else iter([np.asarray(frames)])
    sound = Samples(audio) if isinstance(audio, np.ndarray) else audio
    with replacing(path) as temporary:
        _encode(str(temporary), _checked(path, pieces), sound, Fraction(fps), keyframe_every, comment, colours)


def _checked(path: str | Path, pieces: Iterator[np.ndarray]) -> Iterator[np.ndarray]:
    """The pieces, one by one, each able to follow the first; at least one frame."""
    shape = None
    for frames in pieces:
        if frames.dtype != np.uint8 or frames.ndim != 4 or frames.shape[-1] != 3 or not len(frames):
            raise ValueError(f"{path}: frames must be uint8 [T, H, W, 3], got {frames.dtype} {list(frames.shape)}")
        if frames.shape[1] % 2 or frames.shape[2] % 2:
            raise ValueError(f"{path}: H.264 needs an even height and width, got {frames.shape[1]} x {frames.shape[2]}")
        shape = shape or frames.shape[1:]
        if frames.shape[1:] != shape:
            raise ValueError(f"{path}: frames change their size from {list(shape)} to {list(frames.shape[1:])}")
        yield frames
    if shape is None:
        raise ValueError(f"{path}: there are no frames to write")


def _encode(
    path: str,
    pieces: Iterator[np.ndarray],
    sound: Sound | Samples | None,
    fps: Fraction,
    keyframe_every: int,
    comment: str,
    colours: Colours,
) -> None:
    first, count = next(pieces), 0
    with av.open(path, "w", format="mp4") as container:
        options = {"crf": "18", "preset": "veryfast", "threads": "1", "g": str(keyframe_every)}
        if processor.AVX512 <= processor.features():
            # x264's AVX-512 code gives other bits now and then on a busy machine (docs/design/preparation.md)
            options["x264-params"] = "asm=AVX2"
        if comment:
            container.metadata["comment"] = comment
        video = container.add_stream("libx264", rate=fps, options=options)
        video.height, video.width, video.pix_fmt = first.shape[1], first.shape[2], "yuv420p"
        colours.tag(video.codec_context)
        converter = VideoReformatter()
        track = None if sound is None else _Track(container, sound)
        for frames in chain([first], pieces):
            count += len(frames)
            for picture in frames:
                container.mux(video.encode(colours.coded(picture, converter)))
            if track:
                track.encode(round(count / fps * sound.rate))
        container.mux(video.encode(None))
        if track:
            track.close()


class _Track:
    """The sound of a file being written, which keeps up with its pictures: the container holds nothing back."""

    def __init__(self, container, sound: Sound | Samples):
        quiet = sound.channels == 1 and sound.rate <= SAMPLE_RATE
        options = {"b": LOW_BIT_RATE if quiet else BIT_RATE}
        self.container, self.sound, self.done = container, sound, 0
        self.stream = container.add_stream("aac", rate=sound.rate, layout=sound.layout, options=options)
        self.blocks = chain(sound.blocks(), repeat(np.zeros((sound.channels, sound.rate), np.float32)))
        self.block = np.zeros((sound.channels, 0), np.float32)

    def encode(self, num_samples: int) -> None:
        """Go on to this many samples; beyond its end the sound is silence."""
        while self.done < num_samples:
            if not self.block.shape[1]:
                self.block = next(self.blocks)
            part, self.block = np.split(self.block, [num_samples - self.done], 1)
            if part.shape[1]:
                frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(part), format="fltp", layout=self.sound.layout)
                frame.sample_rate, frame.pts = self.sound.rate, self.done
                frame.time_base = Fraction(1, self.sound.rate)
                self.container.mux(self.stream.encode(frame))
                self.done += part.shape[1]

    def close(self) -> None:
        self.container.mux(self.stream.encode(None))


def broken(path: str | Path, detail: str = "") -> ValueError:
    """The error for a stream that starts well and cannot be decoded to its end."""
    return ValueError(
        f"{path}: the video is broken{detail}; replace the file, or remove it and run `make prepare` again"
    )
