"""Streaming as a pipeline: one part of a video is decoded while the next parts take their denoising steps."""

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future
from dataclasses import dataclass

import numpy as np

from tsd.runtime.arrays import array
from tsd.runtime.speaking import Part, Speaking

BLOCK = 4
"""Frames that are decoded together. A part of eight frames is decoded as two blocks in parallel. Exported decoders pad
smaller blocks to this size, so that they meet two shapes only. Our choice."""


@dataclass
class Moving:
    """A part in the pipeline: its frames, their maps to the reference [T, 2, 3], and the number of steps taken."""

    part: Part
    maps: np.ndarray
    steps: int = 0


class Wavefront:
    """Works in rounds. In a round every part in the pipeline takes its next step of the schedule, or is decoded.

    The tasks of a round do not depend on each other, so ``workers`` run them in parallel; without workers they run one
    after the other. The result is the same and does not depend on the number of parts in the pipeline.

    decode: latents [n, C, h, w] and maps [n, 2, 3] -> frames uint8 [n, R, R, 3]; None: latents come out, float32.
    """

    def __init__(self, speaking: Speaking, decode: Callable | None, workers: Executor | None = None):
        self.speaking, self.decode, self.workers = speaking, decode, workers
        self.moving: deque[Moving] = deque()
        self.round: list[list[Future]] = []
        """The running tasks of every part in the pipeline."""

    def push(
        self,
        windows: np.ndarray,
        motion: np.ndarray,
        maps: np.ndarray,
        start: np.ndarray | None = None,
        more: bool = True,
    ) -> np.ndarray | None:
        """Wait for the current round, add the next part and start a new round. Returns the frames or latents that the
        finished round completed, or None.

        ``more``: the caller has other work to do while the new round runs.
        """
        made = self._gather()
        self.moving.append(Moving(self.speaking.begin(windows, motion, start), maps))
        self._scatter(more)
        return made

    def drain(self) -> Iterator[np.ndarray]:
        """Run rounds until the pipeline is empty."""
        while self.moving:
            made = self._gather()
            if made is not None:
                yield made
            self._scatter(more=False)

    def _scatter(self, more: bool) -> None:
        """Start a round. A single task that the caller waits for runs in this thread: waking another one would take as
        long as a small graph."""
        tasks = [self._tasks(moving) for moving in self.moving]
        workers = self.workers if more or sum(map(len, tasks)) > 1 else None
        self.round = [[self._begin(task, workers) for task in of_part] for of_part in tasks]

    def _tasks(self, moving: Moving) -> list[Callable]:
        """The next tasks of a part."""
        k, z = moving.steps, moving.part.z[0]
        if k < self.speaking.schedule.num_steps:
            return [lambda: self.speaking.step(moving.part, k)]
        size = BLOCK if self.workers is not None else len(z)
        pieces = [slice(begin, begin + size) for begin in range(0, len(z), size)]
        return [lambda here=here: self.decode(z[here], moving.maps[here]) for here in pieces]

    @staticmethod
    def _begin(task: Callable, workers: Executor | None) -> Future:
        if workers is not None:
            return workers.submit(task)
        done: Future = Future()
        done.set_result(task())
        return done

    def _gather(self) -> np.ndarray | None:
        """Wait for the round; returns frames or latents of the first part if it is finished."""
        results = [[future.result() for future in futures] for futures in self.round]
        self.round, first, num_steps = [], None, self.speaking.schedule.num_steps
        for moving, result in zip(list(self.moving), results, strict=True):
            moving.steps += 1
            if moving.steps > num_steps:
                first = np.concatenate(result)
            elif moving.steps == num_steps and self.decode is None:
                first = array(moving.part.z[0])
        if first is not None:
            self.moving.popleft()
        return first
