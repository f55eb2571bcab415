"""Jobs in processes of their own: a decoder that dies or hangs costs one file and not the night."""

import contextlib
import ctypes
import multiprocessing
import os
import queue
import signal
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures import TimeoutError as TookTooLong
from concurrent.futures.process import BrokenProcessPool
from typing import Any

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
    todo, done, stop = iter(jobs), queue.SimpleQueue(), threading.Event()
    lock, crew = threading.Lock(), [_Worker() for _ in range(workers)]

    def work(worker: "_Worker") -> None:
        try:
            while not stop.is_set():
                with lock:
                    job = next(todo, worker)
                if job is worker:
                    break
                done.put((job, worker.run(function, job, limit)))
        except BaseException as error:  # noqa: BLE001 - raised again where the results are read
            done.put(error)
        finally:
            done.put(None)

    threads = [threading.Thread(target=work, args=(worker,), daemon=True) for worker in crew]
    for thread in threads:
        thread.start()
    try:
        running = len(threads)
        while running:
            result = done.get()
            if result is None:
                running -= 1
            elif isinstance(result, BaseException):
                raise result
            else:
                yield result
    finally:
        stop.set()
        for worker in crew:
            worker.end()


class _Worker:
    """One process at a time, replaced when it is lost."""

    def __init__(self):
        self.pool = None

    def run(self, function: Callable, job: Any, limit: float) -> Any:
        for attempt in range(ATTEMPTS):
            if self.pool is None:
                # spawn, not fork: the parent may already hold the threads of torch and OpenCV
                context = multiprocessing.get_context("spawn")
                self.pool = ProcessPoolExecutor(1, mp_context=context, initializer=_die_with, initargs=(os.getpid(),))
            try:
                self.pool.submit(_load, function).result()  # its imports do not count against the job
                return self.pool.submit(function, job).result(timeout=limit)
            except TookTooLong:
                self.end()
                return Lost(f"took longer than {limit:g} s")
            except BrokenProcessPool:
                self.end()
                if attempt == ATTEMPTS - 1:
                    return Lost("its process died twice")

    def end(self) -> None:
        pool, self.pool = self.pool, None
        if pool is not None:
            for process in list((pool._processes or {}).values()):
                process.kill()
            pool.shutdown(wait=True, cancel_futures=True)


def _load(function: Callable) -> None:
    """Unpickling ``function`` has imported what it needs."""


def _die_with(parent: int) -> None:
    """Ask Linux to end this process with its parent; elsewhere it ends at the next job."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if sys.platform == "linux":
        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL(None).prctl(1, signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(1)
