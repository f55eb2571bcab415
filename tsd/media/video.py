"""Video files: frames out (decord, else PyAV), frames and sound in (PyAV; ffmpeg comes inside its wheel)."""

import os
import tempfile
from collections.abc import Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np

from tsd.clip import FPS, SAMPLE_RATE

try:
    import decord
except (ImportError, OSError):  # wheels exist for x86_64 Linux only; PyAV decodes the same frames elsewhere
    decord = None


@dataclass(frozen=True)
class VideoInfo:
    """What a file's header says."""

    num_frames: int
    fps: float
    height: int
    width: int
    has_audio: bool


@contextmanager
def open_media(path: str | Path):
    """An open PyAV container; a missing or unreadable file is one clear error naming the file."""
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file")
    try:
        container = av.open(str(path))
    except (av.error.FFmpegError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: not a readable media file; convert it to mp4 or wav, or remove it") from error
    with container:
        yield container


def video_info(path: str | Path) -> VideoInfo:
    """Size, rate and length of the first picture stream.

    Raises FileNotFoundError, or ValueError for a file that is not a video.
    """
    with open_media(path) as container:
        if not container.streams.video:
            raise ValueError(f"{path}: holds no video; give a video file such as an mp4")
        stream = container.streams.video[0]
        num_frames = stream.frames
        if not num_frames:  # containers such as mkv do not say: count packets, which needs no decoding
            try:
                num_frames = sum(packet.size > 0 for packet in container.demux(stream))
            except av.error.FFmpegError as error:
                raise broken(path) from error
        return VideoInfo(
            num_frames=num_frames,
            fps=float(stream.average_rate or 0),
            height=stream.height,
            width=stream.width,
            has_audio=bool(container.streams.audio),
        )


def check_video(path: str | Path) -> VideoInfo:
    """``video_info`` after decoding every frame: ValueError where one is broken or missing."""
    info = video_info(path)
    with open_media(path) as container:
        try:
            num_frames = sum(1 for _ in container.decode(video=0))
        except av.error.FFmpegError as error:
            raise broken(path) from error
    if num_frames < info.num_frames:
        raise broken(path, f" after frame {num_frames} of {info.num_frames}")
    return info


def read_frames(path: str | Path, indices: Sequence[int] | None = None, size: int | None = None) -> np.ndarray:
    """Frames as uint8 [T, H, W, 3] RGB: all of them, or those of ``indices`` in that order.

    ``size``: side of a square; the middle square is cut out of a frame that is not square, then area
    resampled. Raises FileNotFoundError, or ValueError for no video, a frame that does not exist or a
    stream that cannot be decoded.
    """
    if decord is None:
        frames = _read_pyav(path, indices)
    else:
        frames = _read_decord(path, indices)
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
    path: str | Path, frames: np.ndarray, audio: np.ndarray | None = None, fps: int | Fraction = FPS
) -> None:
    """Write an mp4: H.264 (yuv420p, crf 18) and, with ``audio``, AAC 16 kHz mono.

    Args:
        frames: uint8 [T, H, W, 3] RGB, even H and W.
        audio: float32 [N] in [-1, 1] at 16 kHz; cut or padded with silence to exactly T / fps seconds.

    The file appears under its name only when it is complete.
    """
    frames = np.asarray(frames)
    if frames.dtype != np.uint8 or frames.ndim != 4 or frames.shape[-1] != 3 or not len(frames):
        raise ValueError(f"{path}: frames must be uint8 [T, H, W, 3], got {frames.dtype} {list(frames.shape)}")
    if frames.shape[1] % 2 or frames.shape[2] % 2:
        raise ValueError(f"{path}: H.264 needs an even height and width, got {frames.shape[1]} x {frames.shape[2]}")
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(suffix=".mp4", prefix=f".{path.stem}.", dir=path.parent)
    os.close(handle)
    try:
        _encode(temporary, frames, audio, Fraction(fps))
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def _encode(path: str, frames: np.ndarray, audio: np.ndarray | None, fps: Fraction) -> None:
    with av.open(path, "w") as container:
        video = container.add_stream("libx264", rate=fps, options={"crf": "18", "preset": "veryfast", "threads": "1"})
        video.height, video.width, video.pix_fmt = frames.shape[1], frames.shape[2], "yuv420p"
        if audio is not None:
            sound = container.add_stream("aac", rate=SAMPLE_RATE, layout="mono", options={"b": "96k"})
        for picture in frames:
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")
            container.mux(video.encode(frame))
        container.mux(video.encode(None))
        if audio is not None:
            num_samples = round(len(frames) / fps * SAMPLE_RATE)
            wave = np.zeros(num_samples, np.float32)
            audio = np.asarray(audio, np.float32).reshape(-1)[:num_samples]
            wave[: len(audio)] = np.clip(audio, -1, 1)
            frame = av.AudioFrame.from_ndarray(wave[None], format="fltp", layout="mono")
            frame.sample_rate, frame.pts, frame.time_base = SAMPLE_RATE, 0, Fraction(1, SAMPLE_RATE)
            container.mux(sound.encode(frame))
            container.mux(sound.encode(None))


def broken(path: str | Path, detail: str = "") -> ValueError:
    """The error for a stream that starts well and cannot be decoded to its end."""
    return ValueError(
        f"{path}: the video is broken{detail}; replace the file, or remove it and run `python -m tsd.prepare` again"
    )


def _check_indices(path, indices, num_frames: int) -> list[int]:
    if indices is None:
        return list(range(num_frames))
    indices = [int(i) for i in indices]
    if wrong := [i for i in indices if not 0 <= i < num_frames]:
        raise ValueError(f"{path}: has {num_frames} frames, so frame {wrong[0]} does not exist")
    return indices


def _read_decord(path, indices) -> np.ndarray:
    info = video_info(path)
    try:
        reader = decord.VideoReader(str(path), ctx=decord.cpu(0), num_threads=1)
        indices = _check_indices(path, indices, min(len(reader), info.num_frames))
        return reader.get_batch(indices).asnumpy()
    except (decord.DECORDError, RuntimeError) as error:
        raise broken(path) from error


def _read_pyav(path, indices) -> np.ndarray:
    info = video_info(path)
    wanted = _check_indices(path, indices, info.num_frames)
    last, needed, found = max(wanted, default=-1), set(wanted), {}
    with open_media(path) as container:
        try:
            for i, frame in enumerate(container.decode(video=0)):
                if i in needed:
                    found[i] = frame.to_ndarray(format="rgb24")
                if i >= last:
                    break
        except av.error.FFmpegError as error:
            raise broken(path, f" at frame {len(found)}") from error
    if missing := sorted(needed - found.keys()):
        raise broken(path, f" at frame {missing[0]} of {info.num_frames}")
    return np.stack([found[i] for i in wanted])
