"""What every command line shares: a mistake of the user is one line on stderr and exit code 2, no traceback."""

import os
import sys
from collections.abc import Callable, Iterable, Mapping
from functools import wraps
from typing import Any

from hydra.errors import HydraException, InstantiationException
from omegaconf.errors import OmegaConfBaseException

from tsd.weights import checkpoint


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
                checkpoint.read_header(path, stage)
        except (ValueError, FileNotFoundError) as error:
            found.append(str(error))
    return found


def user_errors(run: Callable) -> Callable:
    """Decorator of the function below ``@hydra.main``: ValueError and FileNotFoundError become one line.

    Hydra prints what is wrong with overrides itself (unknown keys and groups, bad syntax), on one line
    and with exit code 1, unless HYDRA_FULL_ERROR is set. Other exceptions are bugs and keep their traceback.
    """

    @wraps(run)
    def wrapped(*args, **kwargs):
        try:
            return run(*args, **kwargs)
        except KeyboardInterrupt:
            print("\nstopped; the same command continues", file=sys.stderr)
            raise SystemExit(130) from None
        except (ValueError, FileNotFoundError, HydraException, OmegaConfBaseException) as error:
            if os.environ.get("HYDRA_FULL_ERROR"):
                raise
            if isinstance(error, InstantiationException) and isinstance(
                error.__cause__, (ValueError, FileNotFoundError)
            ):
                error = error.__cause__
            # OmegaConf says what is wrong in its first line, then describes its own objects
            message = str(error).splitlines()[0] if isinstance(error, OmegaConfBaseException) else error
            print(f"error: {message}", file=sys.stderr)
            raise SystemExit(2) from None

    return wrapped
