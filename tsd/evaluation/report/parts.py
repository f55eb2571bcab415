"""Partial results on disk, so that a long evaluation can be stopped at any time."""

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np

from tsd.media.atomic import write_arrays, write_file


class Parts:
    """What is finished, one file per clip below ``<out stem>.parts/<key>/``: an interrupted evaluation goes on there.

    ``key`` stands for everything the numbers depend on, so parts of other weights or settings are never used.
    """

    def __init__(self, out: Path, depends_on: dict):
        key = hashlib.sha256(json.dumps(depends_on, sort_keys=True).encode()).hexdigest()[:16]
        self.root = out.with_suffix(".parts")
        self.folder = self.root / key

    def read(self, name: str) -> dict | None:
        """A finished part; None where it is missing or unreadable."""
        try:
            return json.loads((self.folder / f"{name}.json").read_text())
        except (OSError, ValueError):
            return None

    def write(self, name: str, part: dict) -> None:
        write_file(self.folder / f"{name}.json", json.dumps(part).encode())

    def once(self, name: str, make: Callable[[], dict]) -> dict:
        """A finished part, or what ``make`` gives, kept. Arrays that belong to it must be written by then."""
        part = self.read(name)
        if part is None:
            part = make()
            self.write(name, part)
        return part

    def write_arrays(self, name: str, **arrays: np.ndarray) -> None:
        write_arrays(self.folder / f"{name}.npz", arrays)

    def read_arrays(self, name: str) -> dict[str, np.ndarray]:
        with np.load(self.folder / f"{name}.npz", allow_pickle=False) as file:
            return dict(file)

    def remove(self) -> None:
        shutil.rmtree(self.root, ignore_errors=True)
