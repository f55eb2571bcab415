"""What is said in a clip, from an LRS3 text file."""

from dataclasses import dataclass, replace
from pathlib import Path

from tsd.prepare.recording import Recording, Words

LARGEST = 2**20
"""Bytes of a transcript; a larger file is something else."""


@dataclass(frozen=True)
class Transcript:
    """What a clip's text file says."""

    text: str = ""
    words: Words = ()
    """(word, start s, end s); empty without a word table."""


def read_text(path: Path) -> str:
    """A small text file, whatever its encoding. ValueError for one larger than a transcript can be."""
    if path.stat().st_size > LARGEST:
        raise ValueError(f"{path}: {path.stat().st_size} bytes are too many for a transcript")
    return path.read_text(encoding="utf-8", errors="replace")


def read_transcript(path: str | Path) -> Transcript:
    """An LRS3 text file: ``Text:``, perhaps ``WORD START END ASDSCORE`` and its rows; other tables are skipped.

    Raises ValueError where there is no ``Text:`` line or a word's times are not numbers in order.
    """
    lines = read_text(Path(path)).splitlines()
    texts = [line.partition(":")[2].strip() for line in lines if line.startswith("Text:")]
    if not texts:
        raise ValueError(f"{path}: has no line that begins with `Text:`")
    words, in_table = [], False
    for number, line in enumerate(lines, 1):
        row = line.split()
        if row[:3] == ["WORD", "START", "END"]:
            in_table = True
        elif not row:
            in_table = in_table and not words
        elif in_table:
            try:
                word, start, end = row[0], float(row[1]), float(row[2])
            except (ValueError, IndexError) as error:
                raise ValueError(f"{path}, line {number}: not `WORD START END`: {line.strip()[:80]!r}") from error
            if not 0 <= start <= end < float("inf"):
                raise ValueError(f"{path}, line {number}: the word's times are not in order: {line.strip()[:80]!r}")
            words.append((word, start, end))
    return Transcript(texts[0], tuple(words))


def with_transcript(recording: Recording, plain: bool = False) -> Recording:
    """The recording with what the ``.txt`` beside its video says, and with files of its name that carry more.

    plain: a file without ``Text:`` is the text itself. Links are not followed: they may lead out of the corpus.
    """
    path = recording.video.with_suffix(".txt")
    files = [recording.video.with_suffix(suffix) for suffix in (".txt", ".npy", ".truth.npz")]
    beside = tuple(file for file in files if file.is_file() and not file.is_symlink())
    recording = replace(recording, beside=beside)
    if path not in beside:
        return replace(recording, note="without transcript")
    try:
        transcript = read_transcript(path)
    except ValueError:
        if not plain:
            return replace(recording, note="with unreadable transcript")
        text = " ".join(read_text(path).split()) if path.stat().st_size <= LARGEST else ""
        readable = text and "\ufffd" not in text and text.isprintable()
        return replace(recording, text=text) if readable else replace(recording, note="with unreadable transcript")
    return replace(recording, text=transcript.text, words=transcript.words)
