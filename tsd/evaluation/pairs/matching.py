"""Which generated video belongs to which real one: the same path below its folder, without the suffix."""

import os
from dataclasses import dataclass
from pathlib import Path

SUFFIXES = (".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".mpg", ".mpeg", ".flv")
"""Files of other kinds are not looked at: a corpus has texts and tracks beside its videos."""


@dataclass(frozen=True)
class Pair:
    """A generated video and the real one of the same name."""

    name: str
    generated: Path
    real: Path


@dataclass(frozen=True)
class LeftOut:
    """A file that was not scored."""

    folder: str
    """``pairs`` or ``real``: the key of the folder it lies in."""
    file: str
    """Its path below that folder."""
    kind: str
    """``unmatched``, ``duplicate`` or ``refused``."""
    reason: str


def list_videos(folder: Path, key: str) -> dict[str, list[Path]]:
    """Name -> the videos of that name below ``folder``, which the argument ``key`` named: sorted, none hidden."""
    if not folder.is_dir():
        raise FileNotFoundError(f"{key}={folder}: no such folder; give the folder that holds the videos")
    found: dict[str, list[Path]] = {}
    for place, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for file in sorted(files):
            path = Path(place, file)
            if path.suffix.lower() in SUFFIXES and not file.startswith("."):
                found.setdefault(path.relative_to(folder).with_suffix("").as_posix(), []).append(path)
    if not found:
        raise ValueError(f"{key}={folder}: holds no video ({', '.join(SUFFIXES)})")
    return found


def match(generated: Path, real: Path) -> tuple[list[Pair], list[LeftOut]]:
    """The pairs of two folders in the order of their names, and what has no partner or more than one.

    Raises FileNotFoundError or ValueError where a folder is missing or empty, or nothing matches.
    """
    folders = {"pairs": generated, "real": real}
    found = {key: list_videos(folder, key) for key, folder in folders.items()}
    missing = {"pairs": "no real video of this name", "real": "no generated video of this name"}
    left_out, unusable = [], set()
    for key, other in (("pairs", "real"), ("real", "pairs")):
        for name, paths in found[key].items():
            files = [path.relative_to(folders[key]).as_posix() for path in paths]
            if len(paths) > 1:
                unusable.add(name)
                left_out += [LeftOut(key, file, "duplicate", f"one of {', '.join(files)}: keep one") for file in files]
            elif name not in found[other]:
                left_out.append(LeftOut(key, files[0], "unmatched", missing[key]))
            elif len(found[other][name]) > 1:
                left_out.append(LeftOut(key, files[0], "unmatched", f"{other}= holds more than one video of this name"))
    names = sorted((found["pairs"].keys() & found["real"].keys()) - unusable)
    if not names:
        examples = [next(iter(found[key])) for key in folders]
        raise ValueError(
            f"pairs={generated}: none of its {len(found['pairs'])} videos has a real one of the same name in "
            f"real={real} (such as {examples[0]} here, {examples[1]} there); name them alike"
        )
    return [Pair(name, found["pairs"][name][0], found["real"][name][0]) for name in names], left_out
