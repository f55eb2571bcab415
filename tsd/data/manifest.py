"""Manifests: one JSON object per line and clip, with paths that never leave the corpus."""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

REQUIRED = {"video": str, "identity": str, "frames": int}
OPTIONAL = {"text": str, "visemes": str, "viseme_source": str, "motion": str, "truth": str}
FILES = ("video", "visemes", "motion", "truth")


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
    truth: Path | None = None
    where: str = ""
    """"file, line n", for error messages."""


def manifest_path(root: str | Path, split: str, folder: str = "manifests") -> Path:
    """Where the manifest of a split (train, val or test) lies."""
    return Path(root) / folder / f"lrs3_{split}.jsonl"


def read_manifest(path: str | Path, root: str | Path) -> list[Entry]:
    """The clips of a manifest, in its order.

    Raises FileNotFoundError without a manifest, ValueError (file, line, remedy) for a line that is not
    JSON, lacks a key, names a missing file or a file outside ``root``, and for a manifest of no clips.
    """
    path, root = Path(path), Path(root)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such manifest; write it with `python -m tsd.prepare root={root}`")
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: not a text file; write it again with `python -m tsd.prepare`") from error
    entries = [_entry(line, root, f"{path}, line {n}") for n, line in enumerate(lines, 1) if line.strip()]
    if not entries:
        raise ValueError(f"{path}: holds no clips; lower val_ratio and test_ratio or prepare more identities")
    return entries


def _entry(line: str, root: Path, where: str) -> Entry:
    try:
        values = json.loads(line)
    except ValueError as error:
        raise ValueError(f"{where}: not JSON; correct or remove the line") from error
    known = values if isinstance(values, dict) else {}
    if missing := [key for key in REQUIRED if known.get(key) is None]:
        raise ValueError(f"{where}: lacks {', '.join(missing)}; write the manifest again with `python -m tsd.prepare`")
    values = {key: value for key, value in values.items() if value is not None}
    for key, kind in {**REQUIRED, **OPTIONAL}.items():
        if key in values and (not isinstance(values[key], kind) or isinstance(values[key], bool)):
            raise ValueError(f"{where}: {key} must be {kind.__name__}, got {values[key]!r}")
    if values["frames"] < 1:
        raise ValueError(f"{where}: frames must be 1 or more, got {values['frames']}; remove the line")
    files = {key: inside(root, values[key], f"{where}: {key}") for key in FILES if key in values}
    others = {key: values[key] for key in ("identity", "frames", "text", "viseme_source") if key in values}
    return Entry(key=str(PurePosixPath(values["video"])), **files, **others, where=where)


def inside(root: Path, name: str, where: str) -> Path:
    """``root / name`` when it exists and, links followed, lies inside ``root``; else ValueError."""
    path = root / name
    if Path(name).is_absolute() or not path.resolve().is_relative_to(root.resolve()):
        raise ValueError(f"{where} {name!r} points outside {root}; use paths relative to the root")
    if not path.is_file():
        raise ValueError(f"{where} {name!r} does not exist in {root}; remove the line or run `python -m tsd.prepare`")
    return path


def fingerprint(entries: list[Entry]) -> str:
    """A hash of which clips, in which order, with how many frames: what a latent cache depends on."""
    return hashlib.sha256(json.dumps([[e.key, e.frames] for e in entries]).encode()).hexdigest()[:16]
