"""Parts of a video behind each other: one is decoded, the next takes its last step, the one after it its first."""

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from tsd.runtime.speaking import Part, Speaking

BLOCK = 4
"""Frames that are decoded together (a graph fills up fewer, so that it meets no more shapes than two): of a part of
eight two blocks side by side. Our choice."""


@dataclass
class Moving:
    """A part under way, where its heads are [T, 2, 3], and the steps it has taken."""

    part: Part
    maps: Tensor
    steps: int = 0


class Wavefront:
    """Rounds in which every part under way does what is next for it: a step of the schedule, or being decoded.

    Nothing in a round needs anything of the same round, so ``workers`` do all of it at once; without any it is done
    one after the other. What comes out is the same, and does not depend on how many parts are under way.

    decode: latents [n, C, h, w] and maps [n, 2, 3] -> frames uint8 [n, R, R, 3]; None: latents come out, float32.
    """

    def __init__(self, speaking: Speaking, decode: Callable | None, workers: Executor | None = None):
        self.speaking, self.decode, self.workers = speaking, decode, workers
        self.moving: deque[Moving] = deque()
        self.round: list[list[Future]] = []
        """What every part under way has been given to do."""

    def push(
        self, windows: Tensor, motion: Tensor, maps: Tensor, start: Tensor | None = None, more: bool = True
    ) -> np.ndarray | None:
        """Begin the next part, and a round, when the round before is over: what that finished, if anything.

        ``more``: something else is to be done while the round is under way.
        """
        made = self._gather()
        self.moving.append(Moving(self.speaking.begin(windows, motion, start), maps))
        self._scatter(more)
        return made

    def drain(self) -> Iterator[np.ndarray]:
        """Rounds until nothing is under way."""
        while self.moving:
            made = self._gather()
            if made is not None:
                yield made
            self._scatter(more=False)

    def _scatter(self, more: bool) -> None:
        """A task that everything waits for is done here: waking another thread takes as long as a small graph."""
        tasks = [self._tasks(moving) for moving in self.moving]
        workers = self.workers if more or sum(map(len, tasks)) > 1 else None
        self.round = [[self._begin(task, workers) for task in of_part] for of_part in tasks]

    def _tasks(self, moving: Moving) -> list[Callable]:
        """What is next for a part."""
        k, z = moving.steps, moving.part.z[0]
        if k < self.speaking.schedule.num_steps:
            return [lambda: self.speaking.step(moving.part, k)]
        size = BLOCK if self.workers is not None else len(z)
        pieces = zip(z.split(size), moving.maps.split(size), strict=True)
        return [lambda z=z, maps=maps: self.decode(z, maps) for z, maps in pieces]

    @staticmethod
    def _begin(task: Callable, workers: Executor | None) -> Future:
        if workers is not None:
            return workers.submit(task)
        done: Future = Future()
        done.set_result(task())
        return done

    def _gather(self) -> np.ndarray | None:
        """The end of a round: frames or latents of the first part, where that was its last."""
        results = [[future.result() for future in futures] for futures in self.round]
        self.round, first, num_steps = [], None, self.speaking.schedule.num_steps
        for moving, result in zip(list(self.moving), results, strict=True):
            moving.steps += 1
            if moving.steps > num_steps:
                first = np.concatenate(result)
            elif moving.steps == num_steps and self.decode is None:
                first = moving.part.z[0].numpy()
        if first is not None:
            self.moving.popleft()
        return first
