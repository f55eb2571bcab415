"""The embedded corpus: drawn people who speak, in the layout and format of LRS3, with the truth beside each clip."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np
from tqdm import tqdm

from tsd.media.atomic import write_arrays, write_file
from tsd.media.audio import log_mel
from tsd.media.loudness import band_levels, relative_loudness
from tsd.media.signals import FPS, SAMPLE_RATE
from tsd.media.video import write_video
from tsd.prepare.drawn.acting import act
from tsd.prepare.drawn.drawing import Head
from tsd.prepare.drawn.people import draw_person
from tsd.prepare.drawn.sentences import draw_words
from tsd.prepare.speech import FEMALE, LANGUAGES, MALE, Speech, Voice, say
from tsd.prepare.visemes import visemes_from_events
from tsd.prepare.workers import Lost, run_all

SPLIT = "trainval"
LONGEST_DRAWING = 1800.0
"""Seconds that one clip may take: a minute of the largest pictures on a busy machine takes less."""
_LOOKS, _VOICE, _SPEECH, _ACTING = range(4)
"""What a random stream is for: people keep their looks when the number of clips changes."""


@dataclass(frozen=True)
class Plan:
    """One clip to make: who says what, and when they begin (seconds)."""

    person: int
    clip: int
    voice: Voice
    text: str
    delay: float

    @property
    def identity(self) -> str:
        return f"p{self.person + 1:04d}"

    @property
    def stem(self) -> str:
        """Path inside the root, without suffix."""
        return f"{SPLIT}/{self.identity}/{self.clip + 1:05d}"


@dataclass(frozen=True)
class Settings:
    """What every file of a corpus depends on."""

    seconds: float
    size: int
    seed: int

    @property
    def num_frames(self) -> int:
        return round(self.seconds * FPS)


def make_corpus(
    root: str | Path,
    num_identities: int = 20,
    clips_per_identity: int = 5,
    seconds: float = 3.0,
    size: int = 128,
    seed: int = 0,
    workers: int = 2,
) -> None:
    """Write the corpus below ``root``.

    ``seconds`` of each clip, ``size`` side of the picture in pixels (even, 32 or more), ``workers`` processes.
    The same seed gives the same pixels, sounds and truth whatever ``workers``. Finished clips are kept, so a
    stopped run goes on and a larger one adds to a smaller. ValueError for settings out of range or another
    corpus under ``root``.
    """
    _check(num_identities, clips_per_identity, seconds, size)
    root, settings = Path(root), Settings(float(seconds), size, seed)
    _claim(root, settings)
    plans = list(plan_clips(num_identities, clips_per_identity, settings))
    missing = [(root, plan, settings) for plan in plans if not (root / f"{plan.stem}.mp4").is_file()]
    progress = tqdm(total=len(plans), initial=len(plans) - len(missing), desc="drawing clips", unit="clip")
    with progress:
        side_by_side = min(workers, len(missing)) if workers > 1 and len(missing) > 1 else 0
        for (_, plan, _), made in run_all(make_clip, missing, side_by_side, LONGEST_DRAWING):
            if isinstance(made, Lost):
                raise OSError(f"{root / plan.stem}.mp4 was not drawn: {made}; start again, or with workers=1")
            progress.update()


def _check(num_identities: int, clips_per_identity: int, seconds: float, size: int):
    counts = {"num_identities": num_identities, "clips_per_identity": clips_per_identity}
    wrong = [f"{name} must be 1 or more, got {count}" for name, count in counts.items() if count < 1]
    if not 1 <= seconds <= 60:
        wrong.append(f"seconds must lie in 1..60, got {seconds}")
    if size < 32 or size % 2:
        wrong.append(f"size must be even and 32 or more, got {size}")
    if wrong:
        raise ValueError("; ".join(wrong))


def _claim(root: Path, settings: Settings):
    """Note the settings under the root, or refuse a root that holds a corpus of other settings."""
    note, content = root / "corpus.json", {"generator": 2, **settings.__dict__}
    if note.is_file():
        found = json.loads(note.read_text())
        if found != content:
            raise ValueError(
                f"{note}: this corpus was made with {found}, not {content}; remove it or choose another root"
            )
    else:
        write_file(note, json.dumps(content).encode())


def plan_clips(num_identities: int, clips_per_identity: int, settings: Settings) -> Iterator[Plan]:
    """Who says what: every person has a voice of their own, every sentence is said once in the whole corpus."""
    voices, texts = set(), set()
    for person in range(num_identities):
        voice = _draw_voice(np.random.default_rng([settings.seed, person, _VOICE]), person, voices)
        for clip in range(clips_per_identity):
            rng = np.random.default_rng([settings.seed, person, _SPEECH, clip])
            delay = float(rng.uniform(0.05, 0.30))
            text = _fit_text(rng, voice, settings.num_frames / FPS - delay, texts)
            texts.add(text.upper())
            yield Plan(person, clip, voice, text, delay)


def _is_woman(person: int) -> bool:
    return person % 2 == 0


def _draw_voice(rng, person: int, taken: set[Voice]) -> Voice:
    """A voice that nobody has yet. Four in ten speak English, the others German, French, Spanish, Italian."""
    variants = FEMALE if _is_woman(person) else MALE
    while True:
        languages = LANGUAGES[:3] if rng.uniform() < 0.4 else LANGUAGES[3:]
        low, high = (42, 75) if _is_woman(person) else (20, 58)
        voice = Voice(
            languages[int(rng.integers(len(languages)))],
            variants[int(rng.integers(len(variants)))],
            int(rng.integers(low, high)),
            int(rng.integers(35, 70)),
            int(rng.integers(135, 186)),
        )
        if voice not in taken:
            taken.add(voice)
            return voice


def _fit_text(rng, voice: Voice, available: float, taken: set[str]) -> str:
    """The longest beginning of a drawn sentence that fits into ``available`` seconds and that nobody says yet."""
    while True:
        words = draw_words(rng, voice.language, 4 + int(available * 5))
        ends = [end for _, end, _ in say(" ".join(words), voice).words]
        count = max(sum(end < available for end in ends), 1)
        # said alone, the last word is drawn out: drop words until it fits
        while count > 1 and say(" ".join(words[:count]), voice).words[-1][1] > available - 0.02:
            count -= 1
        text = " ".join(words[:count])
        if text.upper() not in taken:
            return text


@lru_cache(maxsize=1)
def _head(seed: int, person: int, size: int) -> Head:
    rng = np.random.default_rng([seed, person, _LOOKS])
    return Head(draw_person(rng, _is_woman(person)), size)


def make_clip(job: tuple[Path, Plan, Settings]):
    """Speak, act, draw and write one clip; the video comes last, so a clip with a video is complete."""
    root, plan, settings = job
    cv2.setNumThreads(1)  # one process per core already
    rng = np.random.default_rng([settings.seed, plan.person, _ACTING, plan.clip])
    num_frames = settings.num_frames
    speech = say(plan.text, plan.voice)
    phonemes = [(a + plan.delay, b + plan.delay, p) for a, b, p in speech.phonemes]
    spoken = _placed(speech, plan.delay, num_frames)
    loudness = relative_loudness(band_levels(log_mel(spoken)))[:, 0]
    head, acting = _head(settings.seed, plan.person, settings.size), act(rng, phonemes, num_frames, loudness)
    drawn = [
        head.draw(acting.mouth[t], acting.pose[t], acting.eyes_open[t], acting.gaze[t], acting.brows[t])
        for t in range(num_frames)
    ]
    truth = {name: np.array([t[name] for _, t in drawn], np.float32) for name in drawn[0][1]}
    truth |= {"visemes": visemes_from_events(phonemes, num_frames).astype(np.float16), "pose": acting.pose}
    truth |= {"identity": np.array(plan.identity), "voice": np.array(str(plan.voice))}
    stem = root / plan.stem
    write_arrays(stem.with_suffix(".truth.npz"), truth)
    write_file(stem.with_suffix(".txt"), transcript(plan, speech).encode())
    write_video(stem.with_suffix(".mp4"), np.stack([f for f, _ in drawn]), _sound(rng, spoken))


def _placed(speech: Speech, delay: float, num_frames: int) -> np.ndarray:
    """The speech at its place in the clip."""
    wave = np.zeros(num_frames * SAMPLE_RATE // FPS, np.float32)
    first = round(delay * SAMPLE_RATE)
    spoken = speech.wave[: len(wave) - first]
    wave[first : first + len(spoken)] = spoken
    return wave


def _sound(rng, wave: np.ndarray) -> np.ndarray:
    """The speech at a distance of its own from the microphone, with a quiet room."""
    room = 10 ** rng.uniform(-4.0, -2.6) * rng.standard_normal(len(wave)).astype(np.float32)
    return wave * np.float32(rng.uniform(0.55, 1.2)) + room


def transcript(plan: Plan, speech: Speech) -> str:
    """The text file of a clip, as LRS3 has it."""
    rows = [f"{w.upper()} {a + plan.delay:.2f} {b + plan.delay:.2f} 5.0\n" for a, b, w in speech.words]
    return f"Text:  {plan.text.upper()}\nConf:  5\n\nWORD START END ASDSCORE\n" + "".join(rows)
