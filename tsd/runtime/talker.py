"""The interface for applications: a face and speech in, frames out. Imports no training code, and no PyTorch."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from tsd.diffusion import Schedule
from tsd.media.audio import SAMPLES_PER_FRAME, as_samples, load_audio, log_mel
from tsd.media.faces import crop_face
from tsd.media.light import Light
from tsd.media.marking.embed import Mark
from tsd.media.marking.pattern import UNITS
from tsd.media.provenance import Origin, consent_of, file_digest
from tsd.media.signals import HEARS, MOTION, to_levels, to_planes, windows_of
from tsd.nets.interface import Appearance, Condition
from tsd.runtime import loading
from tsd.runtime.arrays import array, given, no_gradients
from tsd.runtime.canvas import FRAMES, LARGEST_FACE, Canvas, canvas_of
from tsd.runtime.composing import Composer
from tsd.runtime.driving import DrivingVideo
from tsd.runtime.dubbing import LENGTHS, Dubbing, common_length, speech_of
from tsd.runtime.hearing import Hearing, hear, heard, look_ahead_ms, saying
from tsd.runtime.marking import Marking, payload_of
from tsd.runtime.photograph import Photograph
from tsd.runtime.speaking import Speaker, Speaking
from tsd.runtime.wavefront import Wavefront

if TYPE_CHECKING:
    from torch import Tensor

REFERENCE_START = 5.0
"""Noise strength that is added to the reference's latent when a video starts from it. Our choice."""


class Talker:
    """Viseme recogniser, student and VAE of one chain, on any backend.

    >>> talker = Talker.load("outputs/export")                                           # doctest: +SKIP
    >>> talker.set_reference("face.png")                                                 # doctest: +SKIP
    >>> for frames in talker.stream(microphone):                                         # doctest: +SKIP
    ...     show(frames)

    Or part by part, as evaluation needs it:

    >>> speaker, visemes = talker.speaker(crop, crop_motion), talker.visemes(wave)       # doctest: +SKIP
    >>> track = talker.motion(speaker, len(visemes))                                     # doctest: +SKIP
    >>> for z in talker.latents(speaker, visemes, track, talker.schedule("k2")):         # doctest: +SKIP
    ...     frames = talker.decode(z, speaker.along(track[:len(z)]))                     # doctest: +SKIP
    """

    def __init__(self, vae, student, visemes=None, motion=None, schedules: dict[str, Schedule] | None = None):
        self.vae, self.student, self.recogniser, self.motion_bank = vae, student, visemes, motion
        self.schedules = schedules or {}
        self.weights = ""
        """SHA-256 of the cards of the weights."""
        self.marked = True
        """Whether ``stream``, ``video`` and ``dub`` mark their frames invisibly (docs/responsible-use.md)."""
        self.payload: int | None = None
        """Of the last run's mark."""
        self.consent: str | None = None
        """What the person on the reference agreed to, in one sentence."""
        self.backends: dict[str, str] = {}
        """{stage: its backend}"""
        self.workers: Executor | None = None
        """Threads for nets that may be called in parallel."""
        self.reference: Speaker | None = None
        self.met: set[tuple[int, str]] = set()
        """(chunk, mode) pairs that the nets have been run with, so that their graphs are compiled."""

    @classmethod
    def load(
        cls,
        source: str | Path | Mapping[str, str | Path | None],
        backend: str | Mapping[str, str] = "auto",
        threads: int | None = None,
        memory: str = "usual",
    ) -> Talker:
        """Load trained nets.

        source: what `make export` wrote (its folder or card.json), a folder of weights, or weights files by
        stage: {"vae": …, "student" or "teacher": …, "visemes": …, "motion": …}; the last two are needed only to
        speak. backend: ``auto`` (per stage the fastest that is installed), one of ``runtime.backends.available()``, or
        {stage: backend}. Released weights come with graphs for all backends; others are run by PyTorch with ``auto``,
        and where another backend is asked for, their graphs are made, once (``runtime.graph_files``). threads: of ONNX
        Runtime and OpenVINO; PyTorch's are set by ``torch.set_num_threads``, and are the default. memory: ``usual``, or
        ``least``, with which ONNX Runtime takes less and more time.
        """
        nets = loading.load(source, backend, threads, memory)
        talker = cls(nets.vae, nets.student, nets.visemes, nets.motion, nets.schedules)
        talker.backends, talker.workers, talker.weights = nets.backends, nets.workers, nets.digest
        return talker

    def set_reference(
        self,
        image: str | Path | np.ndarray | Photograph,
        size: int | str = "native",
        frame: str = "picture",
        consent: str | None = None,
    ) -> Speaker:
        """The face that ``stream`` and ``video`` let speak: a picture of one person: a file, uint8 [H, W, 3], or
        what was read of one before.

        size: pixels across the face's square, or ``native``: as many as the picture has (``canvas.LARGEST_FACE`` at
        most). frame: ``picture``, the whole picture with the speaking face in its place; ``face``, the square.
        consent: what that person agreed to, in one sentence, for ``origin``. A picture that lies on its side or on its
        head is turned, with a warning.
        Raises ValueError or FileNotFoundError where there is no such picture, no face, or several.
        """
        self.consent, self.reference = consent_of(consent), self.face(image, size, frame)
        return self.reference

    def face(
        self, image: str | Path | np.ndarray | Photograph, size: int | str = "native", frame: str = "picture"
    ) -> Speaker:
        """As ``set_reference``, which keeps it."""
        check_size(size, frame)
        seen = image if isinstance(image, Photograph) else Photograph.read(image)
        crop, motion = crop_face(seen.picture, seen.face, self.vae.resolution)
        light = Light.of(crop)
        speaker = self.speaker(light.usual(crop), motion)
        canvas = canvas_of(seen.picture, seen.face.points, size, frame, self.vae.resolution)
        return replace(speaker, canvas=canvas, light=light)

    @property
    def look_ahead_ms(self) -> float:
        """Sound after a frame's own 40 ms that has to be there before the frame can be made."""
        return look_ahead_ms(self.recogniser)

    def stream(
        self,
        audio: Iterable[np.ndarray],
        steps: str = "k2",
        chunk: int = 1,
        seed: int = 0,
        mode: str = "e1",
        motion: str = "natural",
        start: str = "noise",
        wait: int | None = None,
    ) -> Iterator[np.ndarray]:
        """Frames uint8 [<= chunk, H, W, 3] as soon as their sound is available; mode ``e2``: latents float32
        [<= chunk, C, h, w], to be decoded later.

        audio: pieces of any size, float32 [N] in [-1, 1] or int16 [N] at 16 kHz (``as_samples``). The frames do not
        depend on the sizes of pieces or on ``chunk``; larger chunks cost less per frame and are ready later. Memory
        does not grow with time. Backends compile graphs when they first see a shape, which takes longer than a frame
        lasts. So, unless all sound is available (a list), the first stream of each chunk and mode runs on some silence
        before it asks for sound.
        motion: ``natural``, or ``still``: the head does not move, and no pixel outside the lower face changes. start:
        ``noise``, or ``reference``. wait: frames of sound after a frame that are awaited, all that the nets look ahead
        (None) or fewer, with which a frame is ready 40 ms earlier each (``hearing.Hearing``).
        """
        speaker, schedule = self.reference, self.schedule(steps)
        if speaker is None:
            raise ValueError("no face yet: call set_reference with a picture first")
        self.require_stream()
        if not isinstance(audio, Sequence) and (chunk, mode) not in self.met:
            silence = [np.zeros(chunk * SAMPLES_PER_FRAME, np.float32)]
            deque(self.stream(silence, steps, chunk, seed, mode, motion, start, wait), maxlen=0)
        self.met.add((chunk, mode))
        begin, schedule = self.start(speaker, schedule) if start == "reference" else (None, schedule)
        hearing = Hearing(self.recogniser, chunk, self.hears, wait)
        speaking = Speaking(self.student, speaker, schedule, seed)
        cycle, done = array(self.motion_cycle(speaker, seed, motion)), 0
        maps = speaker.maps(cycle)
        decode = None if mode == "e2" else self.decoder_of(speaker, motion)
        wavefront = Wavefront(speaking, decode, self.workers)
        payload = self.run_payload(speaker.appearance, steps, seed)
        marking = Marking(None) if mode == "e2" else self.marking(payload, speaker.canvas)
        for windows, more in heard(hearing, audio, chunk):
            for part in (windows[i : i + chunk] for i in range(0, len(windows), chunk)):
                at = (done + np.arange(len(part))) % len(cycle)
                done += len(part)
                made = wavefront.push(part, cycle[at], maps[at], begin, more)
                if made is not None:
                    yield marking(made)
            if not more:
                yield from map(marking, wavefront.drain())

    def video(self, audio: str | Path | np.ndarray, steps: str = "k2", chunk: int = 8, **options) -> np.ndarray:
        """All frames uint8 [T, H, W, 3] (mode ``e2``: latents) of a file or float32 [N] at 16 kHz; see ``stream``."""
        return np.concatenate(list(self.stream([waveform(audio)], steps, chunk, **options)))

    def dub(
        self,
        video: str | Path | DrivingVideo,
        audio: str | Path | np.ndarray,
        steps: str = "k2",
        chunk: int = 8,
        seed: int = 0,
        length: str = "speech",
        reference: str | Path | np.ndarray | None = None,
        face: str | None = None,
    ) -> Dubbing:
        """Dub a video of one face with other speech: iterate for its frames uint8 [<= chunk, H, W, 3] at 25 frames a
        second. Only the mouth is generated; head, eyes and background stay the video's.

        video: a file, or what was read of one. audio: a file or float32 [N] at 16 kHz. length: see
        ``dubbing.LENGTHS``. reference: a picture of the face, instead of the frames of the video that show it best.
        face: which of several faces, one of ``driving.CHOICES``. Frames that do not show it stay as they are.
        Raises ValueError or FileNotFoundError for what cannot be dubbed.
        """
        self.require_stream()
        self.schedule(steps)
        if length not in LENGTHS:
            raise ValueError(f"length={length}: must be one of {', '.join(LENGTHS)}")
        wave = waveform(audio)
        speech = -(-len(wave) // SAMPLES_PER_FRAME)
        if not isinstance(video, DrivingVideo):
            video = DrivingVideo.read(video, None if length == "video" else speech, face)
        num_frames = common_length(length, speech, len(video))
        speaker = None if reference is None else self.face(reference)
        return Dubbing(self, speaker, video, speech_of(wave, num_frames), num_frames, steps, chunk, seed)

    def run_payload(self, appearance: Appearance, steps: str, seed: int = 0) -> int:
        """32 bits that say which weights and which run of them made the frames of this appearance."""
        return payload_of(self.weights, to_levels(array(appearance.picture)[0]), steps, seed)

    def marking(self, payload: int, canvas: Canvas | None = None, unit: float | None = None) -> Marking:
        """Lays the mark of a run over its frames, or leaves them as they are if ``marked`` is false. On a canvas only
        pixels that are not its picture's change. unit: see ``Mark``; a canvas has its own."""
        self.payload = payload if self.marked else None
        if self.payload is None:
            return Marking(None)
        if canvas is None:
            return Marking(Mark(self.payload, unit))
        left, top, right, bottom = canvas.shown
        return Marking(Mark(self.payload, canvas.side / UNITS), canvas.picture[None, top:bottom, left:right])

    def origin(self, **inputs: str | Path | None) -> Origin:
        """What the manifest of the last run's file says (``tsd.media.provenance.sign``). inputs: files by what they
        were, such as reference and sound; their hashes are stored."""
        files = {name: file_digest(path) for name, path in inputs.items() if path is not None}
        return Origin(self.weights, files, self.consent, None if self.payload is None else f"{self.payload:08x}")

    def require_stream(self) -> None:
        """ValueError where this talker cannot generate frames one after the other."""
        if self.recogniser is None or not self.student.causal:
            raise ValueError("this talker cannot stream: it takes a recogniser and a causal student")

    def schedule(self, steps: str) -> Schedule:
        """The schedule the student was trained with under this name (``k1``, ``k2``, …)."""
        if steps not in self.schedules:
            known = ", ".join(self.schedules) or "none"
            raise ValueError(f"steps={steps}: the student's weights hold no such schedule; they hold {known}")
        return self.schedules[steps]

    def speaker(self, crop: np.ndarray, motion: np.ndarray | None) -> Speaker:
        """A face crop uint8 [R, R, 3] at the VAE's resolution and its motion [M] (None: unknown)."""
        known = motion is not None
        motion = np.asarray(motion, np.float32) if known else np.zeros(len(MOTION), np.float32)
        nothing = np.zeros((1, HEARS[self.hears]), np.float32)
        with no_gradients():
            appearance = self.vae.appearance(given(to_planes(crop)[None]))
            condition = self.condition(appearance.latent, motion, known, nothing[None], motion[None, None])
            reference = self.student.read_reference(condition)
        return Speaker(appearance, given(motion), known, reference)

    @staticmethod
    def condition(latent, motion, known: bool, visemes, track) -> Condition:
        """A batch of one: visemes [1, T, V], track [1, T, M]."""
        windows = windows_of(array(visemes)[0])[None]
        parts = (given(array(x)) for x in (windows, track, np.array([known]), latent, array(motion)[None]))
        return Condition(*parts)

    @property
    def hears(self) -> str:
        """What the student hears of speech: one of ``clip.HEARS``."""
        return getattr(self.student, "hears", "visemes")

    def visemes(self, wave: np.ndarray) -> Tensor | np.ndarray:
        """Speech float32 [N] at 16 kHz -> what the student hears of it, T = ceil(N / 640): viseme probabilities [T, V],
        and behind them what else it hears (``clip.HEARS``)."""
        return self.listen(log_mel(wave))

    def listen(self, mel: np.ndarray) -> Tensor | np.ndarray:
        """As ``visemes``, of log-mel [T * 4, 80]."""
        return given(hear(self.recogniser, mel, self.hears))

    def saying(self, visemes: Tensor | np.ndarray, mel: np.ndarray) -> Tensor | np.ndarray:
        """Known visemes [T, V] said as the log-mel [T * 4, 80] sounds, where the student hears that."""
        return given(saying(self.recogniser, array(visemes), mel, self.hears))

    def motion(self, speaker: Speaker, num_frames: int, seed: int = 0) -> Tensor | np.ndarray:
        """Natural motion [T, M] that starts at the speaker's own pose; constant without a motion bank or landmarks."""
        if self.motion_bank is None or not speaker.known:
            return given(np.tile(array(speaker.motion), (num_frames, 1)))
        return given(array(self.motion_bank.replay(speaker.motion, num_frames, seed)))

    def motion_cycle(self, speaker: Speaker, seed: int = 0, motion: str = "natural") -> Tensor | np.ndarray:
        """The motion [P, M] that a stream repeats without end."""
        if motion == "still":
            return speaker.motion[None]
        length = 1 if self.motion_bank is None else self.motion_bank.tracks.shape[1]
        return self.motion(speaker, max(1, 2 * length - 2), seed)

    def start(self, speaker: Speaker, schedule: Schedule) -> tuple[Tensor | np.ndarray, Schedule]:
        """Begin from the reference instead of from noise: its latent, and the schedule from REFERENCE_START on."""
        return speaker.latent, schedule.starting_at(min(REFERENCE_START, schedule.strengths[0]))

    def latents(
        self,
        speaker: Speaker,
        visemes: Tensor | np.ndarray,
        motion: Tensor | np.ndarray,
        schedule: Schedule,
        seed: int = 0,
        start: Tensor | np.ndarray | None = None,
        chunk: int = 8,
    ) -> Iterator[Tensor | np.ndarray]:
        """Latents [<= chunk, C, h, w] in order, for visemes [T, V] (as ``visemes`` gives them) and motion [T, M].

        Every frame starts from the same noise, seeded. ``start`` [T or 1, C, h, w]: begin from these latents with
        noise of the schedule's first strength added, instead of from noise alone. A causal net carries its
        memory from chunk to chunk, so the result does not depend on ``chunk``; any other net sees the whole.
        """
        windows = windows_of(array(visemes))
        chunk = chunk if self.student.causal else len(visemes)
        speaking = Speaking(self.student, speaker, schedule, seed)
        for begin in range(0, len(visemes), chunk):
            here = slice(begin, begin + chunk)
            first = start if start is None or len(start) == 1 else start[here]
            yield speaking(windows[here], motion[here], first)

    def decode(self, z: Tensor | np.ndarray, appearance: Appearance) -> np.ndarray:
        """Latents [T, C, h, w] of a speaker of this appearance -> frames uint8 [T, H, W, 3]."""
        with no_gradients():
            return to_levels(array(self.vae.decode(given(z), appearance)))

    def decoder_of(self, speaker: Speaker, motion: str = "natural") -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
        """Latents [T, C, h, w] and maps [T, 2, 3] -> the frames uint8 [T, H, W, 3] of a stream of this speaker."""
        if speaker.canvas is None:
            return lambda z, maps: self.decode(z, speaker.appearance.along(given(maps)))
        composer = Composer(speaker.canvas, self.vae.resolution, speaker.light, motion == "still", self.vae.painted)
        return lambda z, maps: self.compose(z, speaker.appearance.along(given(maps)), composer)

    def compose(self, z: Tensor | np.ndarray, appearance: Appearance, composer: Composer) -> np.ndarray:
        """Latents [T, C, h, w] of a speaker of this appearance -> frames uint8 [T, H, W, 3] of the canvas."""
        return composer(*self.changes(z, appearance))

    def changes(self, z: Tensor | np.ndarray, appearance: Appearance) -> tuple[np.ndarray, np.ndarray]:
        """Latents [T, C, h, w] of one picture, or of as many -> change and offsets, as a ``Composer`` takes them."""
        with no_gradients():
            change, offsets = map(array, self.vae.changes(given(z), appearance))
        return np.moveaxis(change, 1, -1), offsets


def check_size(size: int | str, frame: str) -> None:
    """Raises ValueError for a size or frame that there is not."""
    if size != "native" and not (isinstance(size, int) and 64 <= size <= LARGEST_FACE):
        raise ValueError(f"size={size}: must be native, or 64 to {LARGEST_FACE} pixels across the face")
    if frame not in FRAMES:
        raise ValueError(f"frame={frame}: must be one of {', '.join(FRAMES)}")


def waveform(audio: str | Path | np.ndarray) -> np.ndarray:
    """A sound file or samples (``as_samples``) -> float32 [N] at 16 kHz, N > 0; ValueError where nothing is there."""
    wave = as_samples(audio) if isinstance(audio, np.ndarray) else load_audio(audio)
    if not len(wave):
        raise ValueError("the sound is empty (0 samples); give a recording of speech")
    return wave
