"""What every source yields: one file of video or sound, who is seen or heard in it, and what is said."""

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path

VIDEO_SUFFIXES = (
    ".3gp", ".avi", ".dv", ".flv", ".m2ts", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".mts", ".mxf", ".ogv",
    ".ts", ".vob", ".webm", ".wmv",
)  # fmt: skip
SOUND_SUFFIXES = (
    ".aac", ".aif", ".aiff", ".amr", ".flac", ".m4a", ".mp3", ".oga", ".ogg", ".opus", ".wav", ".wma", ".wv",
)  # fmt: skip

Words = tuple[tuple[str, float, float], ...]
"""(word, start s, end s), in order."""


@dataclass(frozen=True)
class Recording:
    """One input of a corpus. Everything about it is found by the source; nothing is decoded yet."""

    video: Path
    name: str
    """Path inside the input folder with forward slashes: names it in lists, and its clips are named after it."""
    identity: str
    text: str = ""
    words: Words = ()
    """Empty without word times."""
    framing: str = "faces"
    """``kept``: a clip of the corpus, used as it is; ``middle``: shows one face already, its middle square is taken;
    ``faces``: faces are looked for, followed and cut out; ``sound``: there are no pictures."""
    beside: tuple[Path, ...] = ()
    """Other files that were read for it: when one of them changes, the recording is prepared again."""
    note: str = ""
    """What is odd about it, for the counts: "without transcript", ..."""
    fault: str = ""
    """Why the source knows already that it cannot be used; it is listed with this reason."""

    def stamp(self) -> str:
        """Changes when the video or a file beside it does (size, time of change), or what the source says of it."""
        facts = [self.name, self.identity, self.text, self.words, self.framing] + [self.fault] * bool(self.fault)
        files = [path for path in (self.video, *self.beside) if not self.fault or path.exists()]
        facts += [(path.name, s.st_size, s.st_mtime_ns) for path in files for s in [path.lstat()]]
        return hashlib.sha256(repr(facts).encode()).hexdigest()[:16]

    @property
    def stem(self) -> str:
        """A file name for its clips: safe on every system, and no other recording's."""
        plain = re.sub(r"[^A-Za-z0-9._-]+", "_", self.name).replace(".", "_").strip("_")
        if plain == self.name and len(plain) <= 80:
            return plain
        return f"{plain[-72:].lstrip('_')}-{hashlib.sha256(self.name.encode()).hexdigest()[:6]}"


def videos_below(folder: str | Path, suffixes: tuple[str, ...] = VIDEO_SUFFIXES, kind: str = "videos") -> list[Path]:
    """Every file of a folder named like a video (or another ``kind``), sorted; hidden files and folders are left
    alone.

    Raises FileNotFoundError without the folder, ValueError where it holds none.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder}: no such folder; put the {kind} there or give another one")
    found = [
        path
        for path in folder.rglob("*")
        if path.suffix.lower() in suffixes and not any(p.startswith(".") for p in path.relative_to(folder).parts)
    ]
    videos = sorted(path for path in found if path.is_file() or path.is_symlink())
    if not videos:
        raise ValueError(f"{folder}: holds no {kind} ({', '.join(suffixes)})")
    return videos


def identity_name(text: str) -> str:
    """A person's name as a folder name."""
    return re.sub(r"[^A-Za-z0-9._-]+", "_", text).strip("._") or "unnamed"
