"""Windows of sound with their visemes and no pictures: what the recogniser learns from."""

from pathlib import Path

import numpy as np

from tsd.clip import MELS_PER_FRAME, MOTION, PHONEMES, SAMPLE_RATE, VISEME_WINDOW, VISEMES
from tsd.data.dataset import ClipDataset
from tsd.data.features import log_mel
from tsd.data.manifest import Manifest
from tsd.data.memory import Memory
from tsd.data.tracks import load_phonemes, load_tracks
from tsd.media.audio import SAMPLES_PER_FRAME, load_audio
from tsd.media.distortion import at_speed, distorted, rms

SPEED = 0.08, 1.22
"""Std of the logarithm of how much faster a voice is played, and the most. Our choice."""
LONGEST_GAP = 0.5
"""Seconds of silence between two clips in one window."""
TALKERS = 6
"""Most people in a babble."""


class SoundDataset(ClipDataset):
    """One split of any corpus as windows of sound; of videos, only the sound is read.

    Training fills a window with clip after clip, drawn by their length, and distorts it (``tsd.media.distortion``): all
    from a generator seeded by (seed, epoch, item), as in ``ClipDataset``. Else item j is the middle of clip j as it
    is; a shorter clip is followed by silence whose visemes are unknown. Pictures are one grey pixel.

    Args:
        shares: of a joined corpus (``tsd.prepare.join``), {name: share of the windows' time}; corpora not named
            share what is left by their length. None: all by their length.
        distort: distort what training hears.
        entries, window, windows_per_clip, train, memory, seed: as in ``ClipDataset``.
    """

    def __init__(
        self,
        entries: Manifest,
        window: int = 100,
        windows_per_clip: int = 1,
        train: bool = False,
        shares: dict[str, float] | None = None,
        distort: bool = True,
        memory: Memory | None = None,
        seed: int = 0,
    ):
        self.entries, self.window, self.windows_per_clip, self.train = entries, window, windows_per_clip, train
        self.seed, self.distort = seed, distort
        self.memory = memory if memory is not None else Memory(500 * 2**20)
        self.people, self.person = entries.people, entries.person
        self.num_bytes = int(entries.frames.sum(dtype=np.int64)) * 2 * SAMPLES_PER_FRAME
        self.upto = np.cumsum(time_shares(entries, shares))

    def __getitem__(self, item: int | tuple[int, int]) -> dict:
        """One window as a dict of arrays, for ``collate``."""
        epoch, number = item if isinstance(item, tuple) else (0, item)
        if not 0 <= number < len(self):
            raise IndexError(f"item {number} of {len(self)}")
        if not self.train:
            return self._middle(number % len(self.entries))
        rng = np.random.default_rng([self.seed, epoch, number])
        first = self.drawn(rng)
        wave, labels = self._filled(first, rng)
        if self.distort:
            wave = distorted(wave, rng, self.babble)
        return self._window(first, 0, wave, labels)

    def remember(self, clip: int) -> None:
        self.wave(clip)
        self.labels(clip)

    def drawn(self, rng: np.random.Generator) -> int:
        """A clip's number, by the clips' shares of time."""
        return min(int(np.searchsorted(self.upto, rng.random(), side="right")), len(self.entries) - 1)

    def wave(self, clip: int) -> np.ndarray:
        """int16 [frames * 640] of clip number ``clip``. ValueError where it has no sound."""
        return self.memory.get(("wave", self.entries[clip].video), lambda: self._load(clip))

    def _load(self, clip: int) -> np.ndarray:
        entry = self.entries[clip]
        try:
            wave = load_audio(entry.video, silent_ok=True)
        except ValueError as error:
            raise ValueError(f"{entry.where}: {error}; or remove the line") from error
        length = entry.frames * SAMPLES_PER_FRAME
        wave = np.pad(wave, (0, max(0, length - len(wave))))[:length]
        return np.round(np.clip(wave, -1, 1) * 32767).astype(np.int16)

    def labels(self, clip: int) -> np.ndarray:
        """float32 [frames, V + P]: visemes and phonemes; zeros when unknown."""
        entry = self.entries[clip]
        return self.memory.get(
            ("labels", entry.video), lambda: np.concatenate([load_tracks(entry).labels, load_phonemes(entry)], 1)
        )

    def babble(self, rng: np.random.Generator, length: int) -> np.ndarray:
        """One to TALKERS other clips at once."""
        talk = np.zeros(length, np.float32)
        for _ in range(rng.integers(1, TALKERS + 1)):
            wave = self.wave(int(rng.integers(len(self.entries)))).astype(np.float32)
            talk += np.roll(np.resize(wave / (rms(wave) + 1e-6), length), rng.integers(length))
        return talk

    def _filled(self, clip: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Samples and labels of a whole window: of clip number ``clip``, then of others, at speeds of their own."""
        waves, labels, missing = [], [], self.window
        while missing > 0:
            wave, known = self._faster(clip, rng)
            spare = len(known) - missing
            # of a long clip any part; of the first of several, half of the time its later part only
            begin = int(rng.integers(spare + 1)) if spare > 0 else 0
            if spare <= 0 and not waves and rng.random() < 0.5:
                begin = int(rng.integers(max(1, len(known) // 2)))
            part = slice(begin, begin + missing)
            waves.append(wave[part.start * SAMPLES_PER_FRAME : part.stop * SAMPLES_PER_FRAME])
            labels.append(known[part])
            missing -= len(labels[-1])
            gap = min(missing, int(rng.integers(round(LONGEST_GAP * SAMPLE_RATE / SAMPLES_PER_FRAME) + 1)))
            if gap > 0:
                waves.append(np.zeros(gap * SAMPLES_PER_FRAME, np.float32))
                labels.append(silence(gap))
                missing -= gap
            clip = self.drawn(rng)
        return np.concatenate(waves), np.concatenate(labels)

    def _faster(self, clip: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Clip number ``clip`` with a peak of 1, at a speed of its own; whole frames."""
        wave, known = self.wave(clip).astype(np.float32), self.labels(clip)
        wave /= max(1.0, np.abs(wave).max(initial=0))
        factor = float(np.clip(np.exp(SPEED[0] * rng.standard_normal()), 1 / SPEED[1], SPEED[1]))
        if not self.distort or int(len(known) / factor) < 1:
            return wave, known
        frames = int(len(known) / factor)
        return at_speed(wave, factor)[: frames * SAMPLES_PER_FRAME], stretched(known, factor)[:frames]

    def _middle(self, clip: int) -> dict:
        wave, known = self.wave(clip).astype(np.float32) / 32767, self.labels(clip)
        start = max(0, len(known) - self.window) // 2
        wave = wave[start * SAMPLES_PER_FRAME : (start + self.window) * SAMPLES_PER_FRAME]
        known = known[start : start + self.window]
        short = self.window - len(known)
        return self._window(
            clip, start, np.pad(wave, (0, short * SAMPLES_PER_FRAME)), np.pad(known, ((0, short), (0, 0)))
        )

    def _window(self, clip: int, start: int, wave: np.ndarray, labels: np.ndarray) -> dict:
        entry, grey = self.entries[clip], np.full((self.window, 1, 1, 3), 128, np.uint8)
        wave = np.pad(wave, (0, max(0, self.window * SAMPLES_PER_FRAME - len(wave))))
        return {
            "frames": grey,
            "reference": grey[0],
            "visemes": np.zeros((self.window, VISEME_WINDOW, len(VISEMES)), np.float32),
            "viseme_labels": np.ascontiguousarray(labels[:, : len(VISEMES)], np.float32),
            "phoneme_labels": np.ascontiguousarray(labels[:, len(VISEMES) :], np.float32),
            "motion": np.zeros((self.window, len(MOTION)), np.float32),
            "reference_motion": np.zeros(len(MOTION), np.float32),
            "motion_known": False,
            "mismatch": False,
            "identity": self.person[clip],
            "key": entry.key,
            "start": start,
            "mel": log_mel(wave)[: self.window * MELS_PER_FRAME],
        }


def silence(frames: int) -> np.ndarray:
    """Labels [frames, V + P] of nobody speaking."""
    nobody = np.zeros((frames, len(VISEMES) + len(PHONEMES)), np.float32)
    nobody[:, [VISEMES.index("sil"), len(VISEMES) + PHONEMES.index("sil")]] = 1
    return nobody


def stretched(labels: np.ndarray, factor: float) -> np.ndarray:
    """Labels [T, C] of sound played ``factor`` times as fast -> [floor(T / factor), C]: means over what each new frame
    covers of the old ones."""
    sums = np.concatenate([np.zeros((1, labels.shape[1])), np.cumsum(labels, 0, dtype=np.float64)])
    edges = np.minimum(np.arange(int(len(labels) / factor) + 1) * factor, len(labels))
    whole = np.minimum(edges.astype(int), len(labels) - 1)
    upto = sums[whole] + (edges - whole)[:, None] * labels[whole]
    return (np.diff(upto, axis=0) / factor).astype(np.float32)


def time_shares(entries: Manifest, shares: dict[str, float] | None) -> np.ndarray:
    """How probable each clip is at each draw, float64 [N] that sum to 1. ValueError for a share that cannot be."""
    weight = entries.frames.astype(np.float64)
    if not shares:
        return weight / weight.sum()
    corpora = np.array([Path(entry.key).parts[0] for entry in entries])
    if unknown := set(shares) - set(corpora):
        known = ", ".join(sorted(set(corpora)))
        raise ValueError(f"data.shares names {', '.join(sorted(unknown))}, but the corpora are {known}")
    rest = 1 - sum(shares.values())
    others = ~np.isin(corpora, list(shares))
    if min(shares.values()) < 0 or rest < -1e-6 or (others.any() and rest <= 0) or (not others.any() and rest > 1e-6):
        raise ValueError(f"data.shares must be 0 or more and leave something for corpora not named, got {shares}")
    for name, share in shares.items():
        here = corpora == name
        weight[here] *= share / weight[here].sum()
    if others.any():
        weight[others] *= rest / weight[others].sum()
    return weight / weight.sum()
