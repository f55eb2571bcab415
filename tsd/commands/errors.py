"""What every command line shares: a mistake of the user is one line on stderr and exit code 2, no traceback."""

import errno
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterable, Mapping
from functools import wraps
from typing import Any

from hydra.errors import HydraException, InstantiationException
from omegaconf.errors import OmegaConfBaseException

from tsd.weights.files import read_header

REMEDIES = {
    errno.ENOSPC: "the disk is full; free some space",
    errno.EDQUOT: "the quota of the disk is used up; free some space",
    errno.EACCES: "no permission; write elsewhere with out=<folder>, or change the permission",
    errno.EPERM: "no permission; write elsewhere with out=<folder>, or change the permission",
    errno.ENOTDIR: "a part of this path is a file, not a folder; write elsewhere with out=<folder>",
    errno.EROFS: "the file system is read-only; write elsewhere with out=<folder>",
    errno.EMFILE: "too many files are open; raise the limit (`ulimit -n 4096`), or use fewer workers",
    errno.ENFILE: "too many files are open on this machine; close some programs",
    errno.ENAMETOOLONG: "the name is too long for this file system; give a shorter one with name=",
    errno.EIO: "the disk or the network share cannot be read or written; check it",
}
"""What the system refuses, and the cheapest remedy."""


def refusal(error: OSError) -> str:
    """An error of the system in one sentence: the file where one is known, what is wrong, what helps."""
    name = f"{error.filename}: " if error.filename else ""
    return name + REMEDIES.get(error.errno, (error.strerror or str(error)).lower())


class Terminated(BaseException):
    """SIGTERM has come: files that are half written go, as with Ctrl-C."""


def _heed_sigterm() -> None:
    """Let SIGTERM raise Terminated in this process; in those that it forks SIGTERM ends them as ever."""
    owner = os.getpid()

    def on_sigterm(number: int, _) -> None:
        if os.getpid() == owner:
            raise Terminated
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)

    signal.signal(signal.SIGTERM, on_sigterm)


def refuse(faults: Iterable[str]) -> None:
    """ValueError that names all faults, where there are any."""
    if text := "; ".join(faults):
        raise ValueError(text)


def below_one(cfg: Mapping[str, Any], *keys: str) -> list[str]:
    """Faults of counts that are below 1."""
    return [f"{key}={cfg[key]}: must be 1 or more" for key in keys if cfg[key] < 1]


def unreadable(files: Iterable[tuple[str, Any]]) -> list[str]:
    """Faults of weights files, as (stage, path) pairs; a path that is null or empty is none."""
    found = []
    for stage, path in files:
        try:
            if path:
                read_header(path, stage)
        except (ValueError, FileNotFoundError) as error:
            found.append(str(error))
    return found


def user_errors(run: Callable) -> Callable:
    """Decorator of the function below ``@hydra.main``: ValueError and errors of the system become one line.

    What is wrong with overrides (unknown keys and choices, bad syntax) is said by ``compose.one_line_each`` and
    ``compose.judge``, before this. Other exceptions are bugs and keep their traceback, and so do all where
    HYDRA_FULL_ERROR is set.
    """

    @wraps(run)
    def wrapped(*args, **kwargs):
        if threading.current_thread() is threading.main_thread():
            _heed_sigterm()
        try:
            return run(*args, **kwargs)
        except KeyboardInterrupt:
            print("\nstopped; the same command continues", file=sys.stderr)
            raise SystemExit(130) from None
        except Terminated:
            print("stopped by SIGTERM; the same command continues", file=sys.stderr)
            raise SystemExit(143) from None
        except (ValueError, FileNotFoundError, HydraException, OmegaConfBaseException) as error:
            if os.environ.get("HYDRA_FULL_ERROR"):
                raise
            if isinstance(error, InstantiationException) and isinstance(
                error.__cause__, (ValueError, FileNotFoundError)
            ):
                error = error.__cause__
            # OmegaConf says what is wrong in its first line, then describes its own objects
            message = str(error).splitlines()[0] if isinstance(error, OmegaConfBaseException) else error
            if isinstance(error, FileNotFoundError) and error.errno:  # the system's, no sentence of this project
                message = refusal(error)
            print(f"error: {message}", file=sys.stderr)
            raise SystemExit(2) from None
        except OSError as error:
            if os.environ.get("HYDRA_FULL_ERROR"):
                raise
            print(f"error: {refusal(error)}", file=sys.stderr)
            raise SystemExit(2) from None

    return wrapped
