"""Videos as the world has them, written with PyAV: codecs, rates, rotation, and everything that is wrong with some."""

from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
from av.video.reformatter import VideoReformatter

from tsd.clip import SAMPLE_RATE
from tsd.media.audio import load_audio
from tsd.media.coding import Colours
from tsd.media.video import read_frames
from tsd.prepare.drawn.synthetic import make_corpus

NTSC, UNTAGGED = Fraction(30000, 1001), Colours()


INTERLACED = {"flags": "+ildct+ilme"}
"""Options of mpeg2video."""


def encode(
    path,
    frames,
    wave=None,
    fps=25,
    codec="libx264",
    sound="aac",
    rotation=0,
    stamps=None,
    options=None,
    pixels="yuv420p",
    colours=UNTAGGED,
) -> Path:
    """Any container and codec; ``stamps``: the second at which each frame is shown, for variable rates; ``pixels``: the
    pixel format; option ``aspect``: width over height of a pixel."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        options = dict(options or {})
        aspect = options.pop("aspect", None)
        video = container.add_stream(codec, rate=fps, options={"threads": "1", **options})
        video.height, video.width, video.pix_fmt = frames[0].shape[0], frames[0].shape[1], pixels
        colours.tag(video.codec_context)
        if aspect:
            video.codec_context.sample_aspect_ratio = Fraction(*map(int, aspect.split(":")))
        if stamps is not None:
            video.codec_context.time_base = Fraction(1, 1000)
        if rotation:
            video.set_display_rotation(rotation)
        audio = None if wave is None else container.add_stream(sound, rate=48000, layout="mono")
        converter = VideoReformatter()
        for number, picture in enumerate(frames):
            frame = colours.coded(picture, converter)
            if stamps is not None:
                frame.pts, frame.time_base = round(stamps[number] * 1000), Fraction(1, 1000)
            container.mux(video.encode(frame))
        container.mux(video.encode(None))
        if audio is not None:
            _encode_sound(container, audio, wave)
    return path


def _encode_sound(container, stream, wave) -> None:
    resampler = av.AudioResampler(format=stream.codec_context.format, layout="mono", rate=48000)
    frame = av.AudioFrame.from_ndarray(wave[None].astype(np.float32), format="fltp", layout="mono")
    frame.sample_rate, frame.pts, frame.time_base = SAMPLE_RATE, 0, Fraction(1, SAMPLE_RATE)
    fifo = av.AudioFifo()
    for piece in [*resampler.resample(frame), *resampler.resample(None)]:
        fifo.write(piece)
    size = stream.codec_context.frame_size or 1152
    for piece in [*fifo.read_many(size), *([fifo.read(0, partial=True)] if fifo.samples else [])]:
        container.mux(stream.encode(piece))
    container.mux(stream.encode(None))


class People:
    """Two drawn people who speak, as material for videos."""

    def __init__(self, folder: Path, seconds: float = 1.6):
        make_corpus(folder, num_identities=2, clips_per_identity=1, seconds=seconds, size=160, seed=0, workers=1)
        self.clips = [(read_frames(path), load_audio(path)) for path in sorted(folder.rglob("*.mp4"))]

    def scene(self, fps=25, height=240, width=320, who=(0,), size=160, times=None) -> list[np.ndarray]:
        """Frames at another rate: people beside each other in front of a wall."""
        source = self.clips[who[0]][0]
        if times is None:
            times = np.arange(int(len(source) / 25 * fps)) / float(fps)
        wall = cv2.GaussianBlur(np.random.default_rng(5).integers(90, 150, (height, width, 3), np.uint8), (0, 0), 9)
        frames = []
        for time in times:
            frame = wall.copy()
            for place, person in enumerate(who):
                clip = self.clips[person][0]
                face = cv2.resize(clip[min(int(time * 25), len(clip) - 1)], (size, size), interpolation=cv2.INTER_AREA)
                left = (2 * place + 1) * width // (2 * len(who)) - size // 2
                top = (height - size) // 2
                frame[top : top + size, left : left + size] = face
            frames.append(frame)
        return frames

    def sound(self, person: int = 0) -> np.ndarray:
        return self.clips[person][1]


def mixed_folder(root: Path, people: People) -> dict[str, str]:
    """Write the folder; returns {name: what must become of it, "used" or a part of the reason}."""
    scene, sound = people.scene, people.sound()
    encode(root / "anna/h264_24.mp4", scene(24), sound, 24)
    encode(root / "anna/mpeg4_2997.avi", scene(NTSC), sound, NTSC, "mpeg4", "mp2", options={"q": "3"})
    encode(
        root / "anna/hevc_60.mkv", scene(60), sound, 60, "libx265", options={"x265-params": "log-level=none:pools=1"}
    )
    encode(root / "anna/vp8_12.webm", scene(12), sound, 12, "libvpx", "libopus", options={"deadline": "realtime"})
    encode(
        root / "ben/mpeg2_50.mpg",
        scene(50, who=(1,)),
        people.sound(1),
        50,
        "mpeg2video",
        "mp2",
        options=INTERLACED | {"qmax": "4"},
    )
    gaps = np.random.default_rng(1).choice([1 / 60, 1 / 30, 1 / 15], 100)
    stamps = np.cumsum(gaps) - gaps[0]
    stamps = stamps[stamps < 1.5]
    encode(root / "ben/variable.mp4", scene(who=(1,), times=stamps), people.sound(1), 30, stamps=stamps)
    lying = [np.rot90(frame, -1) for frame in scene(height=320, width=240, who=(1,))]
    encode(root / "ben/portrait.mov", lying, people.sound(1), rotation=90)
    cut = scene() + scene(who=(1,))
    encode(root / "two shots.mp4", cut, np.concatenate([sound, people.sound(1)]))
    encode(root / "no sound.mp4", scene())
    encode(root / "silent.mp4", scene(), np.zeros(len(sound), np.float32))
    encode(root / "two people.mp4", scene(who=(0, 1), width=400), sound)
    encode(root / "no face.mp4", [frame[:64, :64] for frame in scene()], sound)
    encode(root / "far away.mp4", scene(size=32), sound)
    encode(root / "short.mp4", scene()[:8], sound[: 8 * 640])
    (root / "truncated.mp4").write_bytes((root / "anna/h264_24.mp4").read_bytes()[:9000])
    (root / "truncated.avi").write_bytes((root / "anna/mpeg4_2997.avi").read_bytes()[:9000])
    (root / "empty.mp4").touch()
    (root / "text.mp4").write_text("this is not a video\n")
    (root / "playlist.mp4").write_text("ffconcat version 1.0\nfile anna/h264_24.mp4\n")
    (root / "anna/h264_24.txt").write_text("maybe five people\n")
    used = [path for path in ("anna", "ben") for path in (root / path).iterdir() if path.suffix != ".txt"]
    reasons = {
        "two shots.mp4": "used",
        "no sound.mp4": "has no sound",
        "silent.mp4": "no speech is heard",
        "two people.mp4": "two faces are seen at once",
        "no face.mp4": "no face is seen",
        "far away.mp4": "face",
        "short.mp4": "only 8 frames",
        "truncated.mp4": "not a readable media file",
        "truncated.avi": "",
        "empty.mp4": "the file is empty",
        "text.mp4": "not a readable media file",
        "playlist.mp4": "not a readable media file",
    }
    return {path.relative_to(root).as_posix(): "used" for path in used} | reasons
