"""Files and folders that appear under their name when they are complete, and not before.

Until then they are called ``.<name>.part`` and locked. The next write to the same name takes over what a killed process
left there.
"""

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path

import numpy as np

UNFINISHED = ".*.part"
"""Pattern of the names of unfinished files and folders."""


@contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """A temporary path in the same folder. It gets the name ``path`` if the block ends well and is removed if not."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.part")
    handle = os.open(temporary, os.O_RDWR | os.O_CREAT, 0o644)
    if not _lock(handle, temporary):  # another process or thread writes the same file at this moment
        os.close(handle)
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".part", dir=path.parent)
        temporary = Path(name)
    try:
        yield temporary
        temporary.chmod(0o644)
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    finally:
        os.close(handle)


def write_file(path: str | Path, content: bytes) -> None:
    with replacing(path) as temporary:
        temporary.write_bytes(content)


def write_array(path: str | Path, array: np.ndarray) -> None:
    """A ``.npy`` file."""
    buffer = BytesIO()
    np.save(buffer, array, allow_pickle=False)
    write_file(path, buffer.getvalue())


def write_arrays(path: str | Path, arrays: dict[str, np.ndarray]) -> None:
    """A ``.npz`` file."""
    buffer = BytesIO()
    np.savez(buffer, **arrays)
    write_file(path, buffer.getvalue())


def replaceable(folder: Path, marker: str) -> bool:
    """Whether ``filling`` may replace the folder: it is missing, empty, or holds a file called ``marker``."""
    return not folder.exists() or (folder / marker).is_file() or (folder.is_dir() and not any(folder.iterdir()))


@contextmanager
def filling(folder: str | Path, marker: str) -> Iterator[Path]:
    """An empty folder to write into. It takes the place of ``folder`` if the block ends well and is removed if not,
    with the folders around it that were made for it.

    marker: a file that every folder of this kind holds. ValueError for a ``folder`` that holds other things, and where
    another process fills it at this moment.
    """
    folder = Path(folder)
    if not replaceable(folder, marker):
        raise ValueError(f"{folder}: holds something else (it has no {marker}); give another folder")
    work, old = (folder.with_name(f".{folder.name}.{kind}") for kind in ("part", "old.part"))
    missing = [parent for parent in work.parents if not parent.exists()]
    work.mkdir(parents=True, exist_ok=True)
    handle = os.open(work, os.O_RDONLY)
    if not _lock(handle, work):
        os.close(handle)
        raise ValueError(f"{folder}: another process writes it; wait until that ends, or give another folder")
    try:
        _settle(folder, old)
        _clear(work)
        yield work
        if folder.exists():
            folder.rename(old)
        work.rename(folder)
    finally:
        _settle(folder, old)
        shutil.rmtree(work, ignore_errors=True)
        os.close(handle)
        _remove_empty(missing)


def _remove_empty(folders: list[Path]) -> None:
    """Remove folders, innermost first, up to the first that holds something."""
    for folder in folders:
        try:
            folder.rmdir()
        except OSError:
            return


def _lock(handle: int, path: Path) -> bool:
    """Lock an open file or folder, which is still called ``path``; False where another has locked or moved it."""
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return path.stat().st_ino == os.fstat(handle).st_ino
    except (BlockingIOError, FileNotFoundError):
        return False
    except OSError:  # the file system has no locks
        return True


def _settle(folder: Path, old: Path) -> None:
    """Put ``old`` back where the folder is missing: a process ended between the two renames. Else remove it."""
    if folder.exists():
        shutil.rmtree(old, ignore_errors=True)
    elif old.exists():
        old.rename(folder)


def _clear(folder: Path) -> None:
    for path in folder.iterdir():
        shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
