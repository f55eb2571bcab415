"""Jobs for processes of their own. Nothing heavy is imported here: each such process first imports this file."""

import os
import signal
import time
from pathlib import Path


def square(number: int) -> int:
    """Of most numbers; 2 kills its process, 3 hangs, 9 has a bug."""
    if number == 2:
        os.kill(os.getpid(), signal.SIGSEGV)
    if number == 3:
        time.sleep(60)
    if number == 9:
        raise KeyError("a bug")
    return number * number


def tell(place: Path) -> None:
    """Write the number of its process to ``place/pid``, and hang."""
    (place / "pid.new").write_text(str(os.getpid()))
    (place / "pid.new").rename(place / "pid")
    time.sleep(60)
