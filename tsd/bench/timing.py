"""Milliseconds of every setting, all settings in turn, each beside a matrix product of the same moment."""

import time
from collections.abc import Callable, Hashable, Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np
from tqdm import tqdm

from tsd.bench.counting import made_up_speaker, made_up_speech
from tsd.bench.machine import Product
from tsd.runtime.hearing import LIVE_WAIT, look_ahead_ms, waited
from tsd.runtime.talker import Talker


def in_turns(jobs: Mapping[Hashable, Callable[[], object]], rounds: int) -> dict[Hashable, float]:
    """Median milliseconds of each job over ``rounds``, one call of every job in each."""
    spent: dict[Hashable, list[float]] = {name: [] for name in jobs}
    for number in tqdm(range(rounds + 1), desc="timing", unit="round", delay=2):
        for name, job in jobs.items():
            begun = time.perf_counter()
            job()
            if number:  # the first round warms up
                spent[name].append(1000 * (time.perf_counter() - begun))
    return {name: float(np.median(times)) for name, times in spent.items()}


@dataclass(frozen=True)
class Setting:
    """One row: who computes, E1 (frames out) or E2 (latents out), a schedule, how many frames are made at a time."""

    backend: str
    mode: str
    steps: str
    chunk: int


@dataclass
class Times:
    """What was measured of one setting."""

    chunks: list[float] = field(default_factory=list)
    """Milliseconds per frame of every chunk."""
    rounds: list[float] = field(default_factory=list)
    """The mean of each round."""
    equivalents: list[float] = field(default_factory=list)
    """GFLOP of a matrix product that would have taken as long per frame, in each round."""
    first: list[float] = field(default_factory=list)
    """Milliseconds from the last sample that the first frames need until they are there."""

    def add(self, spent: list[float], counts: list[int], first: float, gflops: float) -> None:
        """Seconds and frames of every chunk of a round, seconds of the first; ``gflops``: of the product beside it."""
        mean = sum(spent) / sum(counts)
        self.chunks += [1000 * s / n for s, n in zip(spent, counts, strict=True)]
        self.rounds.append(1000 * mean)
        self.equivalents.append(mean * gflops)
        self.first.append(1000 * first)

    def row(self) -> dict[str, float]:
        """ms: median over rounds of the mean per frame. p50, p95, p99 over chunks, per frame."""
        p50, p95, p99 = np.percentile(self.chunks, [50, 95, 99])
        figures = {"ms": np.median(self.rounds), "p50_ms": p50, "p95_ms": p95, "p99_ms": p99}
        figures |= {"fps": 1000 / figures["ms"], "gemm_equivalent_gflop": np.median(self.equivalents)}
        return {name: float(value) for name, value in figures.items()} | {"rounds": len(self.rounds)}


def run_once(talker: Talker, setting: Setting, frames: int) -> tuple[list[float], list[int], float]:
    """Seconds and numbers of frames of every chunk of a stream of ``frames`` frames, from sound to picture, and seconds
    from the piece of sound that the first chunk waited for until it was there.

    One frame at a time, the sound comes as from a microphone, 40 ms after 40 ms, so that a frame is all there is to
    work on; more of them, as from a file, where the next chunk is begun before this one is decoded.
    """
    speech = made_up_speech(frames)
    sound = [speech] if setting.chunk > 1 else np.split(speech, frames)
    spent, counts, given, first = [], [], 0.0, 0.0

    def microphone() -> Iterator[np.ndarray]:
        nonlocal given
        for piece in sound:
            given = time.perf_counter()
            yield piece

    wait = waits(talker, setting.chunk)
    pieces = talker.stream(microphone(), setting.steps, setting.chunk, mode=setting.mode, wait=wait)
    while True:
        begun = time.perf_counter()
        made = next(pieces, None)
        if made is None:
            return spent, counts, first
        ended = time.perf_counter()
        first = first or ended - given
        spent.append(ended - begun)
        counts.append(len(made))


def waits(talker: Talker, chunk: int) -> int | None:
    """Frame by frame, speech is live: no more of it is awaited than then (``Hearing``)."""
    return min(LIVE_WAIT, waited(talker.recogniser, None)) if chunk == 1 else None


def first_sound_ms(talker: Talker, chunk: int) -> float:
    """Milliseconds of sound that the first ``chunk`` frames need: their own and the look-ahead."""
    return 40 * chunk + look_ahead_ms(talker.recogniser, waits(talker, chunk))


def measure(
    talkers: dict[str, Talker], settings: list[Setting], frames: int, rounds: int, warmup: int
) -> tuple[dict[Setting, dict], float]:
    """A row for every setting over ``frames`` chunks, a part of them in each round; the product's median GFLOP/s.

    As many chunks of eight as single frames: where the next chunk is begun before this one is decoded, a stream's first
    and last take longer, and a second of speech is mostly these.
    """
    product, rates = Product(), []
    for talker in talkers.values():
        talker.reference = made_up_speaker(talker)
    times = {setting: Times() for setting in settings}
    for setting in tqdm(settings, desc="warming up", unit="setting", delay=2):
        run_once(talkers[setting.backend], setting, max(warmup, setting.chunk))
        product.gflops()
    for _ in tqdm(range(rounds), desc="timing", unit="round"):
        for setting, kept in times.items():
            before = product.gflops()
            spent, counts, first = run_once(talkers[setting.backend], setting, setting.chunk * -(-frames // rounds))
            rates.append((before + product.gflops()) / 2)
            kept.add(spent, counts, first, rates[-1])
    rows = {}
    for setting, kept in times.items():
        needed = first_sound_ms(talkers[setting.backend], setting.chunk)
        rows[setting] = kept.row() | {"first_frame_ms": needed + float(np.median(kept.first))}
    return rows, float(np.median(rates))
