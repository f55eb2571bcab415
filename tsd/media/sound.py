"""The sound of a result: as it was given, at its own rate and with its own channels. Nets hear ``load_audio``."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tsd.media.audio import SILENCE, sound_blocks, sound_decoder, sound_tracks
from tsd.media.container import open_media
from tsd.media.lateness import lateness
from tsd.media.signals import SAMPLE_RATE

RATES = (48_000, 44_100, 32_000, 24_000, 22_050, 16_000)
"""Samples a second that every player of AAC takes."""


@dataclass(frozen=True)
class Sound:
    """One track of a file, from the same sample 0 as ``load_audio`` has."""

    path: Path
    track: int
    rate: int
    """Of RATES: its own, or the next one above (48 kHz at most)."""
    layout: str
    """Its own up to stereo; stereo of more channels."""
    late: float
    """Seconds from sample 0 to the first decoded one."""

    @classmethod
    def of(cls, path: str | Path) -> "Sound":
        """The track of a sound or video file that ``load_audio`` hears."""
        path, tracks = Path(path), sound_tracks(Path(path))
        track = next((number for number in tracks if cls._read(path, number).is_heard()), tracks[0])
        return cls._read(path, track)

    @classmethod
    def _read(cls, path: Path, track: int) -> "Sound":
        with open_media(path) as container:
            context = sound_decoder(path, container.streams.audio[track])
            rate = min((rate for rate in RATES if rate >= context.sample_rate), default=RATES[0])
            layout = "mono" if context.layout.nb_channels == 1 else "stereo"
        return cls(path, track, rate, layout, lateness(path, track))

    def is_heard(self) -> bool:
        """Whether it is not silent."""
        return any(np.abs(block).max(initial=0) >= SILENCE for block in self.blocks())

    def blocks(self) -> Iterator[np.ndarray]:
        """float32 [channels, n] in [-1, 1] from sample 0 on; one is held at a time."""
        lead = round(self.late * self.rate)
        if lead > 0:
            yield np.zeros((self.channels, lead), np.float32)
        skip = max(-lead, 0)
        with open_media(self.path) as container:
            stream = container.streams.audio[self.track]
            for block in sound_blocks(self.path, container, stream, self.layout, self.rate):
                yield np.clip(block[:, skip:], -1, 1)
                skip = max(skip - block.shape[1], 0)

    @property
    def channels(self) -> int:
        return 2 if self.layout == "stereo" else 1


@dataclass(frozen=True)
class Samples:
    """Samples float32 [N] at 16 kHz as the sound of a result."""

    wave: np.ndarray
    rate: int = SAMPLE_RATE
    layout: str = "mono"
    channels: int = 1

    def blocks(self) -> Iterator[np.ndarray]:
        yield np.clip(np.asarray(self.wave, np.float32).reshape(1, -1), -1, 1)
