"""Where the time of an evaluation goes: processor seconds by name, for every thread on its own."""

import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager


class Clock(threading.local):
    """``with clock("ssim"): ...`` adds the thread's processor time to ``seconds["ssim"]``. Uses are not nested."""

    def __init__(self):
        self.seconds: Counter[str] = Counter()

    @contextmanager
    def __call__(self, name: str) -> Iterator[None]:
        begun = time.thread_time()
        try:
            yield
        finally:
            self.seconds[name] += time.thread_time() - begun

    def take(self) -> dict[str, float]:
        """What has been added up in this thread since the last call."""
        taken, self.seconds = dict(self.seconds), Counter()
        return taken


clock = Clock()
"""The one that all protocols share."""
