"""How a head moves: mouth from timed phonemes with coarticulation, head, gaze, brows and blinks from a seed."""

from dataclasses import dataclass

import numpy as np

from tsd.media.signals import FPS, VISEMES
from tsd.prepare.visemes import SILENCE, viseme_events

MOUTH = ("open", "width", "round", "teeth", "lower_teeth", "tongue", "tuck")
"""open 0 closed..1 widest; width -1 narrow..1 spread; round 0..1 protruded; teeth, lower_teeth, tongue 0..1 seen;
tuck 0..1 lower lip under the upper teeth."""

TARGETS = {
    "sil": (0.00, 0.00, 0.00, 0.0, 0.0, 0.0, 0.0),
    "PP": (0.00, -0.10, 0.15, 0.0, 0.0, 0.0, 0.0),
    "FF": (0.10, 0.05, 0.00, 1.0, 0.0, 0.0, 1.0),
    "TH": (0.26, 0.10, 0.00, 0.9, 0.2, 1.0, 0.0),
    "DD": (0.24, 0.15, 0.00, 0.9, 0.3, 0.6, 0.0),
    "kk": (0.34, 0.10, 0.00, 0.5, 0.2, 0.1, 0.0),
    "CH": (0.26, -0.50, 0.75, 1.0, 0.7, 0.0, 0.0),
    "SS": (0.17, 0.35, 0.00, 1.0, 0.8, 0.0, 0.0),
    "nn": (0.28, 0.15, 0.00, 0.7, 0.2, 0.8, 0.0),
    "RR": (0.30, -0.35, 0.45, 0.5, 0.2, 0.2, 0.0),
    "aa": (1.00, 0.05, 0.00, 0.8, 0.1, 0.1, 0.0),
    "E": (0.70, 0.40, 0.00, 0.7, 0.2, 0.2, 0.0),
    "ih": (0.42, 0.75, 0.00, 0.8, 0.3, 0.2, 0.0),
    "oh": (0.76, -0.50, 0.65, 0.4, 0.0, 0.1, 0.0),
    "ou": (0.32, -1.00, 1.00, 0.1, 0.0, 0.0, 0.0),
}
"""Our choice, read off slow-motion descriptions of speech; columns as in MOUTH."""

DOMINANCE = {"PP": 9.0, "FF": 6.0, "CH": 2.0, "sil": 0.5, "kk": 0.5, "nn": 0.6, "DD": 0.7, "RR": 0.8}
"""How strongly a sound holds its shape against its neighbours (others 1.0)."""

ANTICIPATION, CARRY_OVER = 0.080, 0.110
"""Seconds before and after a sound in which it still pulls at the mouth: as the paper's window, 2 frames ahead."""

WIDER, USUAL = 0.54, 0.73
"""How much wider people open their mouths when they are louder: the share of the usual opening per unit of loudness
(``media.loudness``), and the loudness at which the opening is usual. Measured on GRID's training people, within the
five vowels: the mean slope of the lip gap over loudness, and the mean loudness."""

_FINE = 500


def mouth_track(
    phonemes: list[tuple[float, float, str]], num_frames: int, loudness: np.ndarray | None = None
) -> np.ndarray:
    """Timed phonemes (start s, end s, IPA) -> float32 [T, 7], columns as in MOUTH.

    Dominance functions in the manner of Cohen and Massaro (1993): each moment is the mean of the targets of
    all sounds near it, weighted by dominance; here with a finite reach. Every p, b, m shuts the lips wholly
    in the frame it fills most, and every f, v tucks the lip. ``loudness`` [T] of every frame (None: as usual): the
    mouth opens wider where it is louder, and hardly where somebody mumbles.
    """
    duration = num_frames / FPS
    events, clock = [], 0.0
    for start, end, shape in viseme_events(phonemes):
        if start > clock + 1e-3:
            events.append((clock, start, SILENCE))
        events.append((start, end, shape))
        clock = max(clock, end)
    events.append((clock, max(duration, clock) + 1, SILENCE))
    times = (np.arange(num_frames * _FINE // FPS) + 0.5) / _FINE
    total, weights = np.zeros((len(times), len(MOUTH))), np.full((len(times), 1), 1e-9)
    for start, end, shape in events:
        name = VISEMES[shape]
        dominance = DOMINANCE.get(name, 1.0)
        power = 2 + np.log2(max(dominance, 1.0))
        before = np.clip(1 - (start - times) / ANTICIPATION, 0, 1) ** power
        after = np.clip(1 - (times - end) / CARRY_OVER, 0, 1) ** power
        weight = (dominance * np.minimum(before, after))[:, None]
        total += weight * np.array(TARGETS[name])
        weights += weight
    track = (total / weights).reshape(num_frames, -1, len(MOUTH)).mean(1)
    if loudness is not None:
        track[:, MOUTH.index("open")] *= np.clip(1 + WIDER * (loudness - USUAL), 0, None)
    # lips shut last: where both fall into one frame, a closure shows more than a tucked lip
    tucked, shut = _held(events, "FF", num_frames), _held(events, "PP", num_frames)
    track[tucked, MOUTH.index("open")], track[tucked, MOUTH.index("tuck")] = TARGETS["FF"][0], 1.0
    track[shut, MOUTH.index("open")] = 0.0
    return track.astype(np.float32)


def _held(events, name: str, num_frames: int) -> np.ndarray:
    """Frames [T] bool that show the viseme fully: the one each event fills most, and all it fills by 70 %."""
    filled, held = np.zeros(num_frames), np.zeros(num_frames, bool)
    for start, end, shape in events:
        frames = np.arange(max(int(start * FPS), 0), min(int(np.ceil(end * FPS)), num_frames))
        if VISEMES[shape] == name and len(frames):
            overlap = np.minimum(end * FPS, frames + 1) - np.maximum(start * FPS, frames)
            filled[frames] += overlap
            held[frames[overlap.argmax()]] = True
    return held | (filled >= 0.7)


@dataclass
class Acting:
    """Per-frame state of one clip, everything that ``Head.draw`` needs. Angles in radians, shifts in picture sides."""

    mouth: np.ndarray
    """[T, 7], see MOUTH."""
    pose: np.ndarray
    """[T, 6] yaw (right of the picture positive), pitch (down positive), roll (clockwise), x, y, scale."""
    eyes_open: np.ndarray
    """[T] 0 shut..1 open."""
    gaze: np.ndarray
    """[T, 2] of the irises, -1..1 right and down."""
    brows: np.ndarray
    """[T] -1 lowered..1 raised."""


def _wander(rng, num_frames: int, spread: float, pause: tuple[float, float], speed: float) -> np.ndarray:
    """Smooth path [T] between random targets held for ``pause`` seconds: a critically damped spring (rate 1/s)."""
    position, velocity = rng.normal() * spread * 0.6, 0.0
    target, left, path = position, 0.0, []
    for _ in range(num_frames):
        if left <= 0:
            target, left = np.clip(rng.normal(), -1.9, 1.9) * spread, rng.uniform(*pause)
        left -= 1 / FPS
        for _ in range(4):
            velocity += (speed**2 * (target - position) - 2 * speed * velocity) / (4 * FPS)
            position += velocity / (4 * FPS)
        path.append(position)
    return np.array(path, np.float32)


def _blinks(rng, num_frames: int) -> np.ndarray:
    """Eye opening [T]: shut for 150-250 ms every 2-6 s."""
    eyes = np.full(num_frames, rng.uniform(0.9, 1.0), np.float32)
    times = (np.arange(num_frames) + 0.5) / FPS
    at = rng.uniform(0.2, 3.5)
    while at < num_frames / FPS:
        length = rng.uniform(0.15, 0.25)
        phase = np.clip((times - at) / length, 0, 1)
        eyes *= 1 - np.clip(1.35 * np.sin(np.pi * np.minimum(phase**0.75, 1)), 0, 1)
        at += length + rng.uniform(2.0, 6.0)
    return eyes


def act(
    rng: np.random.Generator,
    phonemes: list[tuple[float, float, str]],
    num_frames: int,
    loudness: np.ndarray | None = None,
) -> Acting:
    """One clip of acting: the mouth from the phonemes and their ``loudness`` [T], the rest from ``rng``."""
    degrees = np.pi / 180
    lively = rng.uniform(0.5, 1.15)
    yaw = _wander(rng, num_frames, 6.5 * degrees * lively, (0.4, 1.6), 5)
    pitch = _wander(rng, num_frames, 4.0 * degrees * lively, (0.4, 1.4), 6)
    roll = _wander(rng, num_frames, 3.0 * degrees * lively, (0.5, 1.8), 4)
    x = _wander(rng, num_frames, 0.010, (0.6, 2.0), 4) + 0.06 * yaw
    y = _wander(rng, num_frames, 0.008, (0.6, 2.0), 4)
    scale = 1 + _wander(rng, num_frames, 0.012, (0.8, 2.0), 3)
    limits = np.array([15, 10, 8]) * degrees
    angles = np.clip(np.stack([yaw, pitch, roll], 1), -limits, limits)
    gaze = np.stack([_wander(rng, num_frames, 0.40, (0.3, 1.8), 30), _wander(rng, num_frames, 0.22, (0.3, 1.8), 30)], 1)
    gaze[:, 0] -= 2.0 * yaw
    mouth = mouth_track(phonemes, num_frames, loudness)
    return Acting(
        mouth=mouth,
        pose=np.concatenate([angles, np.stack([x, y, scale], 1)], 1).astype(np.float32),
        eyes_open=_blinks(rng, num_frames),
        gaze=np.clip(gaze, -1, 1).astype(np.float32),
        brows=np.clip(_wander(rng, num_frames, 0.35, (0.3, 1.5), 9) + 0.25 * mouth[:, 0], -1, 1),
    )
