"""Recordings as other rooms, microphones, telephones and levels would have given them, on float32 [N] at 16 kHz.

Every function draws what it does from ``rng``. Written here: packages that do the same want librosa or torchaudio, and
the whole is a few filters in the frequency domain.
"""

from collections.abc import Callable

import numpy as np

from tsd.media.signals import SAMPLE_RATE

Noise = Callable[[np.random.Generator, int], np.ndarray]
"""(rng, samples) -> that many samples at any level."""

TELEPHONE = (300.0, 3400.0)
"""Hz of what a telephone lets pass."""

LEVELS = (-50.0, 0.0)
"""dB of a recording's peak below full scale."""


def distorted(wave: np.ndarray, rng: np.random.Generator, babble: Noise) -> np.ndarray:
    """The recording in a room (4 of 10), with noise of 0 to 32 dB (6.5 of 10), through a microphone or telephone (6 of
    10), at any of LEVELS. Shares and ranges are our choice."""
    if rng.random() < 0.4:
        wave = in_a_room(wave, rng)
    if rng.random() < 0.65:
        wave = with_noise(wave, noise(rng, len(wave), babble), rng.uniform(0, 32))
    if rng.random() < 0.6:
        wave = recorded(wave, rng)
    return at_a_level(wave, rng)


def at_speed(wave: np.ndarray, factor: float) -> np.ndarray:
    """Played ``factor`` times as fast, voice and all."""
    places = np.arange(int(len(wave) / factor)) * factor
    return np.interp(places, np.arange(len(wave)), wave).astype(np.float32)


def in_a_room(wave: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """With an echo that dies away by 60 dB in 0.08 to 0.7 s and is 0 to 15 dB below the voice."""
    decay = rng.uniform(0.08, 0.7)
    length = int(SAMPLE_RATE * min(decay, 0.5))
    echo = rng.standard_normal(length) * 10 ** (-3 * np.arange(length) / SAMPLE_RATE / decay)
    echo[: int(SAMPLE_RATE * rng.uniform(0.001, 0.008))] = 0
    echo *= 10 ** (-rng.uniform(0, 15) / 20) / (np.linalg.norm(echo) + 1e-9)
    echo[0] = 1
    size = 1 << (len(wave) + length - 1).bit_length()
    return np.fft.irfft(np.fft.rfft(wave, size) * np.fft.rfft(echo, size), size)[: len(wave)].astype(np.float32)


def with_noise(wave: np.ndarray, added: np.ndarray, decibels: float) -> np.ndarray:
    """``added``, so many dB below the recording's mean power, which silence between words is part of."""
    gain = (rms(wave) + 1e-6) / (rms(added) + 1e-9) * 10 ** (-decibels / 20)
    return (wave + gain * added).astype(np.float32)


def noise(rng: np.random.Generator, length: int, babble: Noise) -> np.ndarray:
    """Hiss or hum (white to brown, 5.5 of 10), people who talk (3 of 10), or plucked chords."""
    kind = rng.random()
    if kind < 0.55:
        return coloured(rng, length, rng.uniform(0, 2))
    return babble(rng, length) if kind < 0.85 else chords(rng, length)


def coloured(rng: np.random.Generator, length: int, slope: float) -> np.ndarray:
    """Noise whose power falls as 1 / f ** slope: 0 white, 1 pink, 2 brown."""
    hertz = np.fft.rfftfreq(length, 1 / SAMPLE_RATE)
    hertz[0] = hertz[1] if length > 1 else 1
    spectrum = np.fft.rfft(rng.standard_normal(length)) * (hertz / 1000) ** (-slope / 2)
    return np.fft.irfft(spectrum, length).astype(np.float32)


def chords(rng: np.random.Generator, length: int) -> np.ndarray:
    """Plucked tones with overtones, one to three every 0.15 to 0.6 s."""
    wave, step, root = np.zeros(length), int(SAMPLE_RATE * rng.uniform(0.15, 0.6)), rng.uniform(80, 400)
    for begin in range(0, length, step):
        seconds = np.arange(min(2 * step, length - begin)) / SAMPLE_RATE
        for _ in range(rng.integers(1, 4)):
            tone, fall = root * 2 ** (rng.integers(-12, 13) / 12), np.exp(-seconds * rng.uniform(1, 8))
            for overtone in range(1, rng.integers(3, 9)):
                if tone * overtone < SAMPLE_RATE / 2:
                    sound = np.sin(2 * np.pi * tone * overtone * seconds + rng.uniform(0, 6)) / overtone
                    wave[begin : begin + len(seconds)] += fall * sound
    return wave.astype(np.float32)


def recorded(wave: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Another microphone: a curve of a few dB over the bands, a tilt, and of ten, two over a telephone (half of these
    in its 8 bits), one and a half without treble, one without bass."""
    hertz = np.fft.rfftfreq(len(wave), 1 / SAMPLE_RATE)
    decibels = rng.normal(0, 4, 7) + rng.normal(0, 5) * np.linspace(-1, 1, 7)
    gain = 10 ** (np.interp(hertz, np.linspace(0, SAMPLE_RATE / 2, 7), decibels) / 20)
    kind = rng.random()
    if kind < 0.2:
        gain *= band(hertz, rng.uniform(200, 400), rng.uniform(3000, 4000))
    elif kind < 0.35:
        gain *= band(hertz, 0, rng.uniform(3000, 7500))
    elif kind < 0.45:
        gain *= band(hertz, rng.uniform(60, 300), np.inf)
    wave = np.fft.irfft(np.fft.rfft(wave) * gain, len(wave)).astype(np.float32)
    return mu_law(wave) if kind < 0.1 else wave


def telephone(wave: np.ndarray) -> np.ndarray:
    """What is left between the bounds of TELEPHONE."""
    hertz = np.fft.rfftfreq(len(wave), 1 / SAMPLE_RATE)
    return np.fft.irfft(np.fft.rfft(wave) * band(hertz, *TELEPHONE), len(wave)).astype(np.float32)


def band(hertz: np.ndarray, low: float, high: float) -> np.ndarray:
    """Gain in [0, 1] of a filter with soft edges at ``low`` and ``high`` Hz."""
    return 1 / (1 + (low / np.maximum(hertz, 1)) ** 8) / (1 + (hertz / high) ** 16)


def mu_law(wave: np.ndarray) -> np.ndarray:
    """8 bits a sample, as telephones send it (ITU-T G.711, mu = 255)."""
    peak = np.abs(wave).max(initial=0) + 1e-9
    squeezed = np.round(np.sign(wave) * np.log1p(255 * np.abs(wave) / peak) / np.log(256) * 127) / 127
    return (np.sign(squeezed) * np.expm1(np.abs(squeezed) * np.log(256)) / 255 * peak).astype(np.float32)


def at_a_level(wave: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Its peak at any of LEVELS, one of twenty clipped, seven of ten in 16 bits."""
    wave = wave * (10 ** (rng.uniform(*LEVELS) / 20) / (np.abs(wave).max(initial=0) + 1e-9))
    if rng.random() < 0.05:
        wave = np.clip(wave * 10 ** (rng.uniform(0, 12) / 20), -1, 1)
    if rng.random() < 0.7:
        wave = np.round(wave * 32767) / 32767
    return wave.astype(np.float32)


def rms(wave: np.ndarray) -> float:
    """Root of the mean power."""
    return float(np.sqrt(np.square(wave, dtype=np.float64).mean())) if len(wave) else 0.0
