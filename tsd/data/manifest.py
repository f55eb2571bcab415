"""Manifests: one JSON object per line and clip, with paths that never leave the corpus."""

import hashlib
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np

REQUIRED = {"video": str, "identity": str, "frames": int}
OPTIONAL = {"text": str, "visemes": str, "viseme_source": str, "motion": str, "boxes": str, "flow": str, "truth": str}
OPTIONAL |= {"pictures": bool}
FILES = ("video", "visemes", "motion", "boxes", "flow", "truth")

CHECKED_WHOLE = 20_000
"""Clips up to which every line and every file is checked when a manifest is opened."""

MOST_FRAMES = 2**31
CHUNK = 2**22
USUAL = re.compile(rb'\n\{"video": "[^"\\\n]+", "identity": "([^"\\\n]+)", "frames": ([1-9][0-9]{0,8})[,}]')
"""How ``tsd.prepare`` writes a line."""


@dataclass(frozen=True)
class Entry:
    """One clip of a manifest; the files exist and lie inside the root."""

    key: str
    """The video's path inside the root, with forward slashes."""
    video: Path
    identity: str
    frames: int
    text: str = ""
    visemes: Path | None = None
    """``.npy``: [T] class numbers or [T, V] probabilities; ``.npz``: the truth of a drawn clip."""
    viseme_source: str = "none"
    motion: Path | None = None
    boxes: Path | None = None
    """``.npz`` with ``mouth_box`` and ``face_box`` of a tracked clip."""
    flow: Path | None = None
    """``.npz`` of ``tsd.data.flows``."""
    truth: Path | None = None
    pictures: bool = True
    """Whether ``video`` shows anything; False: a file of sound, for the recogniser alone."""
    where: str = ""
    """"file, line n", for error messages."""


def manifest_path(root: str | Path, split: str, folder: str = "manifests") -> Path:
    """Where the manifest of a split (train, val or test) lies."""
    return Path(root) / folder / f"lrs3_{split}.jsonl"


class Manifest(Sequence):
    """The clips of a split in their order, read from the file as they are asked for.

    What sampling needs of all clips at once is in arrays: ``frames`` int32 [N], ``person`` int32 [N], an index into
    ``people`` (sorted). A slice or an array of places gives a Manifest of those clips.
    """

    def __init__(self, path: Path, root: Path, offsets: np.ndarray, lines: np.ndarray, frames, person, people):
        self.path, self.root, self.people = path, root, people
        self.offsets, self.lines, self.frames, self.person = offsets, lines, frames, person
        self._kept: dict[int, Entry] = {}

    def __len__(self) -> int:
        return len(self.frames)

    def __getitem__(self, place):
        """The Entry at a place, or the Manifest of some places. Raises as ``read_manifest``."""
        if isinstance(place, (slice, np.ndarray)):
            person, people = self.person[place], self.people
            used, person = np.unique(person, return_inverse=True)
            arrays = (self.offsets[place], self.lines[place], self.frames[place], person.astype(np.int32))
            return Manifest(self.path, self.root, *arrays, [people[i] for i in used])
        place = range(len(self))[place]
        if place not in self._kept:
            if len(self._kept) >= CHECKED_WHOLE:
                self._kept.clear()
            with self.path.open("rb") as file:
                file.seek(self.offsets[place])
                line = file.readline()
            self._kept[place] = _entry(line, self.root, f"{self.path}, line {self.lines[place]}")
        return self._kept[place]

    def look(self) -> Iterator[Entry]:
        """The clips from which to tell what the corpus has: all, or of a large one a thousand, spread evenly."""
        places = range(len(self))
        return map(self.__getitem__, places if len(self) <= CHECKED_WHOLE else places[:: len(self) // 1000])

    def __getstate__(self) -> dict:
        return {**self.__dict__, "_kept": {}}


def read_manifest(path: str | Path, root: str | Path) -> Manifest:
    """The clips of a manifest, in its order.

    Raises FileNotFoundError without a manifest, ValueError (file, line, remedy) for a line that is not
    JSON, lacks a key, names a missing file or a file outside ``root``, and for a manifest of no clips. Of more
    than CHECKED_WHOLE clips a line is checked when it is first used: a million open in a second.
    """
    path, root = Path(path), Path(root)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such manifest; write it with `python -m tsd.commands.prepare root={root}`")
    manifest = _scan(path, root)
    if not len(manifest):
        raise ValueError(f"{path}: holds no clips; prepare again with a val_ratio and test_ratio above 0")
    if len(manifest) <= CHECKED_WHOLE:
        for _ in manifest:
            pass
    return manifest


def _scan(path: Path, root: Path) -> Manifest:
    """Where each line begins, its frames and its person, chunk by chunk."""
    offsets, lines, frames, person, numbers = [], [], [], [], {}
    begin, line, rest = 0, 1, b""
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            cut = chunk.rfind(b"\n") + 1
            text, rest = rest + chunk[:cut], (rest + chunk if not cut else chunk[cut:])
            if not cut:
                continue
            _scan_chunk(text, path, begin, line, (offsets, lines, frames, person), numbers)
            begin, line = begin + len(text), line + text.count(b"\n")
    if rest:
        _scan_chunk(rest + b"\n", path, begin, line, (offsets, lines, frames, person), numbers)
    arrays = [np.concatenate(parts) if parts else np.zeros(0, np.int64) for parts in (offsets, lines, frames, person)]
    order = sorted(numbers)
    rank = np.empty(len(order), np.int32)
    rank[[numbers[name] for name in order]] = np.arange(len(order))
    ranked = rank[arrays[3]] if len(order) else arrays[3]
    people = [name.decode("utf-8", "replace") for name in order]
    return Manifest(path, root, arrays[0], arrays[1].astype(np.int32), arrays[2].astype(np.int32), ranked, people)


def _scan_chunk(text: bytes, path: Path, begin: int, line: int, columns: tuple, numbers: dict[bytes, int]) -> None:
    """Whole lines of a manifest: the usual form by one pattern (quick), any other as JSON."""
    ends = np.flatnonzero(np.frombuffer(text, np.uint8) == ord("\n"))
    starts = np.concatenate([[0], ends[:-1] + 1])
    found = USUAL.findall(b"\n" + text)
    if len(found) == len(starts):
        names, counts = zip(*found, strict=True)
        counts = np.array(counts, "S9").astype(np.int64)
        used = np.arange(len(starts))
    else:
        names, counts, used = [], [], []
        for i, (a, b) in enumerate(zip(starts, ends, strict=True)):
            if text[a:b].strip():
                values = _values(text[a:b], f"{path}, line {line + i}")
                names.append(values["identity"].encode("utf-8", "surrogatepass"))
                counts.append(values["frames"])
                used.append(i)
        used = np.array(used, int)
    offsets, lines, frames, person = columns
    offsets.append(begin + starts[used].astype(np.int64))
    lines.append(line + used)
    frames.append(np.array(counts, np.int64))
    person.append(np.array([numbers.setdefault(name, len(numbers)) for name in names], np.int64))


def _values(line: bytes, where: str) -> dict:
    """A line as checked values; the files it names are not looked at."""
    try:
        values = json.loads(line.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise ValueError(f"{where}: not a text file; write it again with `python -m tsd.commands.prepare`") from error
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{where}: not JSON; correct or remove the line") from error
    known = values if isinstance(values, dict) else {}
    if missing := [key for key in REQUIRED if known.get(key) is None]:
        raise ValueError(f"{where}: lacks {', '.join(missing)}; write the manifest again with `make prepare`")
    values = {key: value for key, value in values.items() if value is not None}
    for key, kind in {**REQUIRED, **OPTIONAL}.items():
        if key in values and (not isinstance(values[key], kind) or isinstance(values[key], bool) != (kind is bool)):
            raise ValueError(f"{where}: {key} must be {kind.__name__}, got {values[key]!r}")
    if not 1 <= values["frames"] < MOST_FRAMES:
        raise ValueError(f"{where}: frames must be 1 or more (and below {MOST_FRAMES}), got {values['frames']}")
    return values


def _entry(line: bytes, root: Path, where: str) -> Entry:
    values = _values(line, where)
    files = {key: inside(root, values[key], f"{where}: {key}") for key in FILES if key in values}
    others = {key: values[key] for key in ("identity", "frames", "text", "viseme_source", "pictures") if key in values}
    return Entry(key=str(PurePosixPath(values["video"])), **files, **others, where=where)


def inside(root: Path, name: str, where: str) -> Path:
    """``root / name`` when it exists and, links followed, lies inside ``root``; else ValueError."""
    path = root / name
    try:
        outside = Path(name).is_absolute() or not path.resolve().is_relative_to(root.resolve())
        exists = path.is_file()
    except (OSError, ValueError, RuntimeError) as error:  # too long, a zero byte, links in a circle
        raise ValueError(f"{where} {name[:80]!r} cannot be a path; correct or remove the line") from error
    if outside:
        raise ValueError(f"{where} {name!r} points outside {root}; use paths relative to the root")
    if not exists:
        raise ValueError(f"{where} {name!r} does not exist in {root}; remove the line or run `make prepare`")
    return path


def fingerprint(entries: Sequence[Entry]) -> str:
    """A hash of which clips, in which order, with how many frames: what a latent cache depends on."""
    digest = hashlib.sha256()
    for entry in entries:
        digest.update(f"{entry.key}\n{entry.frames}\n".encode())
    return digest.hexdigest()[:16]
