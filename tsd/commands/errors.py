"""What every command line shares: a mistake of the user is one line on stderr and exit code 2, no traceback."""

import os
import sys
from collections.abc import Callable
from functools import wraps

from hydra.errors import HydraException, InstantiationException
from omegaconf.errors import OmegaConfBaseException


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
