"""Jobs in processes of their own: a decoder that crashes or hangs costs one file and not the whole run."""

import contextlib
import ctypes
import multiprocessing
import os
import signal
import sys
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, wait
from concurrent.futures import TimeoutError as TookTooLong
from itertools import islice
from typing import Any

from pebble import ProcessExpired, ProcessPool

ATTEMPTS = 2
"""Times a job is tried whose process dies: the first death may have been another's doing."""


class Lost(Exception):
    """What became of a job that has no result: its process died, or took too long."""


def run_all(function: Callable, jobs: Iterable, workers: int, limit: float) -> Iterator[tuple[Any, Any]]:
    """(job, ``function(job)`` or a ``Lost``) as they are done, ``workers`` processes side by side.

    limit: seconds for one job. workers 0: in this process, without protection. Exceptions of ``function`` end
    everything; when this process is killed, the workers die with it.
    """
    if workers < 1:
        yield from ((job, function(job)) for job in jobs)
        return
    # spawn, not fork: the parent may already hold the threads of torch and OpenCV
    context = multiprocessing.get_context("spawn")
    pool = ProcessPool(workers, context=context, initializer=_die_with, initargs=[os.getpid()])
    todo, running = iter(jobs), {}

    def start(job: Any, attempt: int = 1) -> None:
        running[pool.schedule(function, args=[job], timeout=limit)] = (job, attempt)

    try:
        for job in islice(todo, workers):
            start(job)
        while running:
            for done in wait(running, return_when=FIRST_COMPLETED).done:
                job, attempt = running.pop(done)
                if isinstance(done.exception(), ProcessExpired) and attempt < ATTEMPTS:
                    start(job, attempt + 1)
                    continue
                for following in islice(todo, 1):
                    start(following)
                yield job, _result(done, limit)
    finally:
        pool.stop()
        pool.join()


def _result(done: Future, limit: float) -> Any:
    try:
        return done.result()
    except ProcessExpired:
        return Lost("its process died twice")
    except TookTooLong:
        return Lost(f"took longer than {limit:g} s")


def _die_with(parent: int) -> None:
    """Ask Linux to end this process with its parent; elsewhere it ends at the next job."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if sys.platform == "linux":
        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL(None).prctl(1, signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(1)
