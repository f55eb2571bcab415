"""Any video at 25 frames a second, by its time stamps: other rates, 29.97 and variable ones, without drift."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np

from tsd.media.container import LONGEST, decode_pictures, open_media, picture_stream, pixel_aspect, upright
from tsd.media.signals import FPS

BLOCK = 12
"""Frames held at a time while a video is read backwards."""

BEFORE = 0.5
"""Seconds ahead of a wanted frame at which reading begins: the first pictures after a jump may lack others that they
refer to."""

LONGEST_STILL = 60.0
"""Seconds between two time stamps above which they are taken to be broken: recordings of a screen stand still while
nothing moves, but nobody talks through a minute of one picture (our choice)."""

MOST_TIED = 0.2
"""Share of the frames whose stamp may not be above the one before it: recorders of webcams stamp some twice."""


@dataclass(frozen=True)
class Timeline:
    """When the frames of a video are shown, and their size as it is seen: turned upright, pixels square."""

    times: np.ndarray
    """float64 [n] seconds since the first frame, rising."""
    end: float
    """Seconds after which the last frame is over."""
    height: int
    width: int
    stamped: bool = True
    """Whether the file's own stamps rise, so that a moment can be jumped to."""

    @property
    def fps(self) -> float:
        """Frames a second, on average."""
        return len(self.times) / self.end

    @property
    def num_frames(self) -> int:
        """How many frames the video has at 25 frames a second."""
        return max(1, round(self.end * FPS))

    def numbers(self) -> np.ndarray:
        """int [num_frames]: of each frame at 25 frames a second, the number of the source's frame nearest in time.

        Frames are repeated or left out, never mixed: a mixture of two pictures is a blur that nobody made. The
        distance in time is at most half the source's frame at every moment, so nothing drifts.
        """
        middles = (self.times[1:] + self.times[:-1]) / 2
        return np.searchsorted(middles, np.arange(self.num_frames) / FPS)


def read_timeline(path: str | Path) -> Timeline:
    """The time stamps of a video, every frame of which is decoded once.

    Raises FileNotFoundError, or ValueError for what is no video, breaks off, changes its size or has time
    stamps that cannot be.
    """
    times, durations, coded = [], [], None
    with open_media(path) as container:
        stream = picture_stream(container, path)
        usual = 1 / float(stream.average_rate or stream.guessed_rate or FPS)
        for frame in decode_pictures(container, path):
            time = frame.time
            if time is None:  # containers without time stamps: frames follow each other at the stated rate
                time = times[-1] + usual if times else 0.0
            if times and time - times[-1] > LONGEST_STILL:
                raise ValueError(
                    f"{path}: time stamps go from {times[-1]:.3f} s to {time:.3f} s at frame {len(times)}; "
                    "re-encode the video"
                )
            coded = coded or (frame.height, frame.width)
            if (frame.height, frame.width) != coded:
                raise ValueError(f"{path}: the picture changes its size at frame {len(times)}; re-encode the video")
            if not times:
                shape = upright(frame, pixel_aspect(stream)).shape[:2]
            elif time - times[0] > LONGEST:
                raise ValueError(f"{path}: the video is longer than {LONGEST:g} s; cut it into parts")
            times.append(time)
            durations.append(float((frame.duration or 0) * (frame.time_base or 0)))
    last = durations[-1] if 0 < durations[-1] <= LONGEST_STILL else usual
    stamps = rising(np.array(times), usual)
    return Timeline(stamps, float(stamps[-1] + last), *shape, stamped=bool((np.diff(times) > 0).all()))


def rising(times: np.ndarray, usual: float) -> np.ndarray:
    """Time stamps in seconds -> the same from 0 on, each above the one before it; ``usual`` seconds apart where more
    than MOST_TIED of them are not, for they say nothing then."""
    tied = np.diff(times) <= 0
    if tied.mean() > MOST_TIED if len(tied) else False:
        return np.arange(len(times)) * usual
    apart = np.arange(len(times)) * 1e-6  # a frame that is stamped twice is shown for no time, and keeps its number
    return np.maximum.accumulate(times - times[0]) + apart * bool(tied.any())


def resampled_frames(path: str | Path, timeline: Timeline) -> Iterator[np.ndarray]:
    """The frames uint8 [H, W, 3] RGB of a video at 25 frames a second, one after the other.

    ``timeline``: the video's own. One frame is in memory at a time.
    """
    counts = np.bincount(timeline.numbers(), minlength=len(timeline.times))
    with open_media(path) as container:
        aspect = pixel_aspect(picture_stream(container, path))
        for count, frame in zip(counts, decode_pictures(container, path), strict=False):
            if count:
                picture = upright(frame, aspect)
                yield from (picture for _ in range(count))


def there_and_back(path: str | Path, timeline: Timeline, num_frames: int) -> Iterator[np.ndarray]:
    """The first ``num_frames`` frames of ``resampled_frames``, then backwards, then forwards, for ever; the frames'
    numbers are those of ``there_and_back_order``. No more than BLOCK frames are in memory."""
    while True:
        yield from islice(resampled_frames(path, timeline), num_frames)
        for end in range(num_frames - 1, 1, -BLOCK):
            yield from reversed(frames_between(path, timeline, max(end - BLOCK, 1), end))


def there_and_back_order(num_frames: int, count: int) -> np.ndarray:
    """int [count]: 0, 1, .., num_frames - 1, num_frames - 2, .., 1, 0, 1, ..: neither end is shown twice in a row."""
    cycle = np.concatenate([np.arange(num_frames), np.arange(num_frames - 2, 0, -1)])
    return cycle[np.arange(count) % len(cycle)]


def frames_between(path: str | Path, timeline: Timeline, first: int, end: int) -> list[np.ndarray]:
    """The frames ``first`` to ``end`` - 1 of ``resampled_frames``, read from the nearest keyframe before them where
    the file's index keeps its word, else from the start."""
    numbers = timeline.numbers()[first:end]
    found = _read_from(path, timeline, numbers, timeline.stamped)
    if set(numbers) - found.keys():
        found = _read_from(path, timeline, numbers, False)
    if set(numbers) - found.keys():
        raise ValueError(f"{path}: the video changed while it was read; run again")
    return [found[number] for number in numbers]


def _read_from(path, timeline: Timeline, numbers: np.ndarray, seek: bool) -> dict[int, np.ndarray]:
    """{number in the file: picture} of those of ``numbers`` (rising) that come by, after a jump or from the start."""
    wanted, found = set(numbers.tolist()), {}
    with open_media(path) as container:
        stream = picture_stream(container, path)
        aspect, frames = pixel_aspect(stream), enumerate(decode_pictures(container, path))
        if seek:
            begin = next(frames)[1].time
            if begin is None:
                return {}
            container.seek(
                int((begin + max(0.0, timeline.times[numbers[0]] - BEFORE)) / stream.time_base), stream=stream
            )
            stamped = ((frame.time - begin, frame) for frame in decode_pictures(container, path))
            frames = ((int(np.abs(timeline.times - time).argmin()), frame) for time, frame in stamped)
        for number, frame in frames:
            if number in wanted:
                found[number] = upright(frame, aspect)
            if number >= numbers[-1]:
                break
    return found
