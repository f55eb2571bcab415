"""What has been done of a corpus, line by line as it is done: the next run goes on from there."""

import fcntl
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tsd.media.atomic import UNFINISHED
from tsd.prepare.manifests import write_jsonl

DONE = "done.jsonl"
"""Everything, sorted by recording; written when all recordings are done. Until then every shard has its own journal."""


class Journal:
    """The results of one shard, appended to as they come, and those that others and earlier runs have written.

    A line that a kill cut off is ignored and its recording done again. Only one process may work on a shard.
    """

    def __init__(self, folder: Path, index: int, count: int):
        self.folder, self.path = folder, folder / f"journal-{index}-of-{count}.jsonl"
        folder.mkdir(parents=True, exist_ok=True)
        self.interrupted = self.path.is_file()
        self.file = self.path.open("ab+")
        try:
            fcntl.flock(self.file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            self.file.close()
            raise ValueError(f"{self.path}: another process prepares this shard; wait for it or stop it") from error
        if self.file.seek(0, 2):
            self.file.seek(-1, 2)
            if self.file.read(1) != b"\n":
                self.file.write(b"\n")

    def rows(self) -> dict[str, dict]:
        """recording's name -> its latest row, of all shards."""
        found = {}
        for path in [self.folder / DONE, *sorted(self.folder.glob("journal-*-of-*.jsonl"))]:
            for row in _read(path):
                found[row["name"]] = row
        return found

    def add(self, row: dict) -> None:
        self.file.write((json.dumps(row, ensure_ascii=False) + "\n").encode("utf-8", "surrogatepass"))
        self.file.flush()

    def finish(self, rows: list[dict]) -> None:
        """All is done: ``rows`` become the one journal, and those of the shards go."""
        write_jsonl(self.folder / DONE, rows)
        for path in self.folder.glob("journal-*-of-*.jsonl"):
            path.unlink(missing_ok=True)

    def close(self) -> None:
        """An untouched journal leaves no file."""
        if self.path.is_file() and not self.path.stat().st_size:
            self.path.unlink(missing_ok=True)
        self.file.close()


def _read(path: Path) -> Iterator[dict]:
    try:
        with path.open("rb") as file:
            for line in file:
                try:
                    row = json.loads(line)
                except (ValueError, RecursionError):
                    continue
                if isinstance(row, dict) and isinstance(row.get("name"), str):
                    yield row
    except FileNotFoundError:
        return


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Only one process at a time: for the last step, which any shard may come to."""
    with (folder / ".lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def sweep(root: Path) -> None:
    """Remove the half files that killed processes left behind."""
    for path in root.rglob(UNFINISHED):
        path.unlink(missing_ok=True)
