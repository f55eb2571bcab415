"""Speech with text and without pictures, in any mix of the usual layouts; each folder is taken for what lies in it.

Kaldi: ``text`` and ``utt2spk``, sound by ``wav.scp`` or files named after the utterances. LibriSpeech:
``<reader>-<chapter>.trans.txt`` beside ``<reader>-<chapter>-<n>.flac``. VCTK: ``txt/<speaker>/<utterance>.txt`` and
``wav*/<speaker>/<utterance>[_mic1].flac``. Common Voice: ``validated.tsv`` and ``clips/``. Else: any sound with a
``.txt`` of its name beside it; the folder is the speaker. The text may hold words with times (LRS3's form).
"""

import csv
from collections.abc import Iterator, Sequence
from dataclasses import replace
from fnmatch import fnmatchcase
from pathlib import Path

from tsd.prepare.recording import SOUND_SUFFIXES, Recording, identity_name, videos_below
from tsd.prepare.transcript import read_text, with_transcript

Patterns = Sequence[str] | str | Path
"""Patterns of ``fnmatch``, or the name of a file that holds them."""

LARGEST_TABLE = 2**30
"""Bytes of a table of texts."""

OTHER_MICROPHONE = "_mic2"
"""VCTK's second recording of the same words."""


def find(videos: str | Path, identity: str = "folder", only: Patterns = (), without: Patterns = ()) -> list[Recording]:
    """Every utterance below a folder, with what is said in it and by whom; those that cannot be used carry a ``fault``.

    Args:
        identity: of files that belong to no layout ("folder" or "file", as in ``source=folder``).
        only, without: patterns of paths inside ``videos`` ("kathleen_en/*"): what is taken (empty: everything)
            and what of that is left out, such as the speakers a study holds out. Or a text file with one a line.

    Raises FileNotFoundError without the folder and ValueError where it holds no sound or the patterns leave none.
    """
    if identity not in ("folder", "file"):
        raise ValueError(f"source.identity must be folder or file, got {identity!r}")
    root = Path(videos)
    sounds = videos_below(root, SOUND_SUFFIXES, "sound")
    taken: dict[Path, Recording] = {}
    lost: list[Recording] = []
    for layout in (kaldi, librispeech, common_voice, vctk):
        for recording in layout(root, [path for path in sounds if path not in taken]):
            if recording.fault and not recording.video.is_file():
                lost.append(recording)
            else:
                taken.setdefault(recording.video, recording)
    for path in sounds:
        if path not in taken and not path.stem.endswith(OTHER_MICROPHONE):
            taken[path] = beside(root, path, identity)
    wanted, unwanted = _patterns(only), _patterns(without)
    chosen = [r for r in (*taken.values(), *lost) if _chosen(r.name, wanted, unwanted)]
    if not chosen:
        raise ValueError(f"{root}: source.only={only} and source.without={without} leave no sound")
    return [_checked(recording, root) for recording in chosen]


def _patterns(given: Patterns) -> Sequence[str]:
    """A list as it is, or the lines of a file; those that begin with # are remarks."""
    if not isinstance(given, str | Path):
        return given
    if not Path(given).is_file():
        raise FileNotFoundError(f"{given}: no such file of patterns; give a list or another file")
    return [line.strip() for line in read_text(Path(given)).splitlines() if line.strip() and line[0] != "#"]


def _chosen(name: str, only: Sequence[str], without: Sequence[str]) -> bool:
    return (not only or any(fnmatchcase(name, p) for p in only)) and not any(fnmatchcase(name, p) for p in without)


def kaldi(root: Path, sounds: list[Path]) -> Iterator[Recording]:
    """Folders with ``text`` and ``utt2spk``. Commands in ``wav.scp`` are never run."""
    for table in _tables(root, "text"):
        folder = table.parent
        if not (folder / "utt2spk").is_file():
            continue
        speakers, places = _pairs(folder / "utt2spk"), _pairs(folder / "wav.scp")
        named = {path.stem: path for path in sounds if path.is_relative_to(folder)}
        cut = (folder / "segments").is_file()
        for name, text in _pairs(table).items():
            place = places.get(name, "")
            path = next((p for p in (folder / place, root / place) if place and p.is_file()), None) or named.get(name)
            fault = ""
            if cut:
                fault = "is cut by a file `segments`, which is not read; cut the sound into utterances"
            elif place.endswith("|"):
                fault = "comes out of a command in wav.scp, which is not run; write it to a file"
            elif path is None:
                fault = "has a text but no file of sound"
            elif name not in speakers:
                fault = "has no speaker in utt2spk"
            lost = folder / place if place and not place.endswith("|") else folder / name.replace("/", "_")
            yield _utterance(root, path or lost, speakers.get(name, ""), text, (table,), fault)


def librispeech(root: Path, sounds: list[Path]) -> Iterator[Recording]:
    """``<reader>-<chapter>.trans.txt``: a line for each file beside it; the reader is the speaker."""
    known = set(sounds)
    for table in _tables(root, "*.trans.txt"):
        for name, text in _pairs(table).items():
            path = next((p for s in SOUND_SUFFIXES if (p := table.parent / f"{name}{s}") in known), None)
            fault = "" if path else "has a text but no file of sound"
            yield _utterance(root, path or table.parent / name, name.partition("-")[0], text, (table,), fault)


def common_voice(root: Path, sounds: list[Path]) -> Iterator[Recording]:
    """``clips/`` and tables with the columns client_id, path and sentence; only what people found valid."""
    for table in _tables(root, "validated.tsv"):
        with table.open(encoding="utf-8", errors="replace", newline="") as file:
            for row in csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE):
                name, speaker = row.get("path") or "", row.get("client_id") or ""
                path = table.parent / "clips" / Path(name).name
                fault = "" if path.is_file() else "has a text but no file of sound"
                yield _utterance(root, path, speaker[:16], row.get("sentence") or "", (table,), fault)


def vctk(root: Path, sounds: list[Path]) -> Iterator[Recording]:
    """``txt/<speaker>/<utterance>.txt`` for ``wav*/<speaker>/<utterance>.wav`` or ``..._mic1.flac``."""
    for path in sounds:
        corpus, name = path.parents[2] if len(path.relative_to(root).parts) > 2 else root, path.stem
        text = corpus / "txt" / path.parent.name / f"{name.removesuffix('_mic1')}.txt"
        if path.parents[1].name.startswith("wav") and text.is_file() and not name.endswith(OTHER_MICROPHONE):
            yield _utterance(root, path, path.parent.name, read_text(text), (text,))


def beside(root: Path, path: Path, identity: str) -> Recording:
    """A file of sound with its text beside it, or with none."""
    name = path.relative_to(root)
    alone = identity == "file" or len(name.parts) == 1
    person = identity_name("-".join(name.with_suffix("").parts if alone else name.parts[:-1]))
    return with_transcript(Recording(path, name.as_posix(), person, framing="sound"), plain=True)


def _utterance(root: Path, path: Path, speaker: str, text: str, beside: tuple[Path, ...], fault: str = "") -> Recording:
    try:
        name = path.relative_to(root).as_posix()
    except ValueError:
        name = path.as_posix()
    person = identity_name(speaker)
    return Recording(path, name, person, " ".join(text.split()), framing="sound", beside=beside, fault=fault)


def _checked(recording: Recording, root: Path) -> Recording:
    """Refuse what leads out of the folder: links, and paths that tables name."""
    if recording.fault:
        return recording
    if recording.video.is_symlink():
        return replace(recording, fault="is a link; put the file itself there")
    if not recording.video.resolve().is_relative_to(root.resolve()):
        return replace(recording, fault="lies outside the folder that is read")
    return recording


def _tables(root: Path, pattern: str) -> list[Path]:
    """Tables below a folder, links and hidden folders left alone."""
    found = [p for p in sorted(root.rglob(pattern)) if p.is_file() and not p.is_symlink()]
    return [p for p in found if not any(part.startswith(".") for part in p.relative_to(root).parts)]


def _pairs(table: Path) -> dict[str, str]:
    """``name value…`` a line; nothing where there is no such file."""
    if not table.is_file() or table.is_symlink():
        return {}
    if table.stat().st_size > LARGEST_TABLE:
        raise ValueError(f"{table}: more than {LARGEST_TABLE} bytes are too many for a table of texts")
    with table.open(encoding="utf-8", errors="replace") as file:
        rows = [line.split(maxsplit=1) for line in file]
    return {row[0]: row[1].strip() if len(row) > 1 else "" for row in rows if row}
