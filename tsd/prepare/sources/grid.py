"""GRID: ``s<n>/**/<sentence>.mpg`` of 34 speakers, word times in ``align/**/<sentence>.align`` (1/25000 s)."""

from dataclasses import replace
from pathlib import Path

from tsd.prepare.recording import Recording, Words, videos_below
from tsd.prepare.transcript import read_text

TICKS = 25_000
"""A second in the times of ``.align`` files."""

SILENT = ("sil", "sp")


def find(videos: str | Path) -> list[Recording]:
    """The sentences of every speaker. A speaker is the first folder ``s<n>`` of a video's path."""
    root = Path(videos)
    aligned = {_key(path.relative_to(root)): path for path in sorted(root.rglob("*.align")) if not path.is_symlink()}
    found = []
    for video in videos_below(root, (".mpg", ".mp4", ".avi")):
        name = video.relative_to(root)
        recording = Recording(video, name.as_posix(), _key(name)[0])
        if (align := aligned.get(_key(name))) is None:
            found.append(replace(recording, note="without transcript"))
            continue
        recording = replace(recording, beside=(align,))
        try:
            words = read_align(align)
            found.append(replace(recording, words=words, text=" ".join(word for word, _, _ in words)))
        except ValueError:
            found.append(replace(recording, note="with unreadable transcript"))
    return found


def _key(name: Path) -> tuple[str, str]:
    """(speaker, sentence) of a file."""
    speakers = [part for part in name.parts[:-1] if part[:1] == "s" and part[1:].isdigit()]
    return (speakers or [name.parent.name or "unnamed"])[0], name.stem


def read_align(path: Path) -> Words:
    """``start end word`` per line -> words in seconds, silences left out. ValueError names the line that is not so."""
    words = []
    for number, line in enumerate(read_text(path).splitlines(), 1):
        row = line.split()
        if not row:
            continue
        if len(row) != 3 or not (row[0].isdigit() and row[1].isdigit()) or int(row[0]) > int(row[1]):
            raise ValueError(f"{path}, line {number}: not `start end word`: {line.strip()[:80]!r}")
        if row[2] not in SILENT:
            words.append((row[2], int(row[0]) / TICKS, int(row[1]) / TICKS))
    return tuple(words)
