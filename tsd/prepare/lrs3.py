"""A corpus in LRS3's own layout: which clips are usable, what each transcript says, and the tracks beside each clip."""

import json
import os
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from tqdm import tqdm

from tsd.clip import FPS
from tsd.media.audio import load_audio
from tsd.media.video import check_video
from tsd.prepare.manifests import write_array, write_jsonl
from tsd.prepare.motion import motion_file, write_motion
from tsd.prepare.visemes import visemes_from_words

LRS3_SPLITS = ("pretrain", "trainval", "test")
LAYOUT = "<root>/{pretrain,trainval,test}/<talk_id>/<nnnnn>.mp4 (the split folder may be missing)"


@dataclass
class Transcript:
    """What a clip's text file says."""

    text: str = ""
    words: list[tuple[str, float, float]] = field(default_factory=list)
    """(word, start s, end s); empty without a word table."""


def read_transcript(path: str | Path) -> Transcript:
    """An LRS3 text file: ``Text:``, perhaps ``WORD START END ASDSCORE`` and its rows; other tables are skipped.

    Raises ValueError where there is no ``Text:`` line or a word's times are not numbers in order.
    """
    lines = Path(path).read_text(encoding="utf-8", errors="replace").splitlines()
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
                raise ValueError(f"{path}, line {number}: not `WORD START END`: {line.strip()!r}") from error
            if not 0 <= start <= end:
                raise ValueError(f"{path}, line {number}: the word's times are not in order: {line.strip()!r}")
            words.append((word, start, end))
    return Transcript(texts[0], words)


def find_clips(root: str | Path) -> list[Path]:
    """The clips of a corpus in LRS3's layout, sorted. ValueError names the layout where there are none."""
    root = Path(root)
    if not root.is_dir():
        raise FileNotFoundError(f"{root}: no such folder; put the corpus there or give another root=")
    videos = sorted(v for v in root.rglob("*.mp4") if _in_place(v.relative_to(root).parts))
    if not videos:
        raise ValueError(f"{root}: holds no clips; they are expected as {LAYOUT}")
    return videos


def _in_place(parts: tuple[str, ...]) -> bool:
    if any(part.startswith(".") for part in parts):
        return False
    return len(parts) == 2 or (len(parts) == 3 and parts[0] in LRS3_SPLITS)


def collect(
    root: str | Path,
    folder: str = "manifests",
    min_frames: int = 16,
    language: str = "en",
    motion: bool = True,
    motion_every: int = 3,
    workers: int = 1,
) -> tuple[list[dict], Counter]:
    """Check every clip of a corpus, write the tracks that are missing, and describe what can be used.

    Clips that cannot be used go to ``<root>/<folder>/rejected.jsonl`` with the reason. A second call checks
    only what changed since (``checked.jsonl`` remembers), so an interrupted call continues.

    Args:
        min_frames: shorter clips are rejected.
        language: espeak-ng's name of the language of the transcripts.
        motion: track the head of clips without truth, on every ``motion_every``-th frame.
        workers: clips decoded at a time.

    Returns records (the keys of a manifest line) and counts for people to read. Raises ValueError for a corpus
    without clips or one that is read-only.
    """
    root = Path(root)
    videos = find_clips(root)
    _require_writable({root, *(video.parent for video in videos)})
    records, rejected, counts = [], [], Counter()
    speak = _can_speak()
    checked = _check_all(root, videos, root / folder / "checked.jsonl", workers)
    pairs = zip(videos, checked, strict=True)
    for video, result in tqdm(pairs, total=len(videos), desc="clips", unit="clip", delay=2):
        name = video.relative_to(root).as_posix()
        reason = result["reason"]
        if not reason and result["frames"] < min_frames:
            reason = f"only {result['frames']} frames, fewer than min_frames={min_frames}"
        if reason:
            rejected.append({"video": name, "reason": reason})
            continue
        counts["clips"] += 1
        counts["without sound"] += not result["sound"]
        records.append(_describe(root, video, result["frames"], speak and language, motion and motion_every, counts))
    write_jsonl(root / folder / "rejected.jsonl", rejected)
    counts["rejected"] = len(rejected)
    return records, counts


def _require_writable(folders: set[Path]) -> None:
    """Tracks and manifests are written into the corpus; a folder marked read-only is left alone, by root too."""
    for folder in sorted(folders):
        if not (os.access(folder, os.W_OK) and folder.stat().st_mode & 0o222):
            raise ValueError(
                f"{folder}: is read-only but tracks and manifests go there; copy the corpus and prepare that"
            )


def _can_speak() -> bool:
    """Whether words can be turned into phonemes: the optional extra with espeak-ng is installed."""
    try:
        visemes_from_words([("a", 0.0, 0.1)], 5)
    except (ValueError, ImportError):
        return False
    return True


def _check_all(root: Path, videos: list[Path], memory: Path, workers: int) -> Iterator[dict]:
    """``_check`` of every clip in order; results are kept in ``memory`` line by line as they come."""
    known = {}
    if memory.is_file():
        for line in memory.read_text(encoding="utf-8").splitlines():
            try:
                row = json.loads(line)
                known[row["video"], row["bytes"], row["changed"]] = row
            except (ValueError, KeyError, TypeError):
                continue  # a line cut off by an interruption
    memory.parent.mkdir(parents=True, exist_ok=True)
    pool = ThreadPoolExecutor(max(1, workers))
    try:
        with memory.open("a", encoding="utf-8") as file:

            def result(video: Path) -> dict:
                stat, name = video.stat(), video.relative_to(root).as_posix()
                key = (name, stat.st_size, stat.st_mtime_ns)
                if key not in known:
                    known[key] = {"video": name, "bytes": key[1], "changed": key[2], **_check(root, video)}
                    file.write(json.dumps(known[key]) + "\n")
                    file.flush()
                return known[key]

            yield from pool.map(result, videos)
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _check(root: Path, video: Path) -> dict:
    """Decode a clip once from end to end: frames, sound, or the reason why it cannot be used."""
    outcome = {"frames": 0, "sound": False, "reason": ""}
    if not video.resolve().is_relative_to(root.resolve()):
        return {**outcome, "reason": "is a link to a file outside the root"}
    try:
        info = check_video(video)
        if abs(info.fps - FPS) > 0.01:
            return {**outcome, "reason": f"has {info.fps:.2f} frames a second instead of {FPS}"}
        if info.has_audio:
            load_audio(video, silent_ok=True)
    except (ValueError, OSError) as error:
        reason = str(error).removeprefix(f"{video}: ").partition(";")[0]
        return {**outcome, "reason": reason}
    return {"frames": info.num_frames, "sound": info.has_audio, "reason": ""}


def _describe(root: Path, video: Path, frames: int, language: str, motion_every: int, counts: Counter) -> dict:
    """A manifest line; writes visemes (where ``language``) and head motion (where ``motion_every``) if missing."""
    text_file, truth = video.with_suffix(".txt"), video.with_suffix(".truth.npz")
    given, spoken, tracked = video.with_suffix(".npy"), video.with_suffix(".visemes.npy"), motion_file(video)
    transcript = Transcript()
    try:
        transcript = read_transcript(text_file)
        counts["with word times"] += bool(transcript.words)
    except FileNotFoundError:
        counts["without transcript"] += 1
    except ValueError:
        counts["with unreadable transcript"] += 1
    if not truth.is_file():
        if transcript.words and language and not (given.is_file() or spoken.is_file()):
            write_array(spoken, visemes_from_words(transcript.words, frames, language).astype("float16"))
        if motion_every and not tracked.is_file():
            try:
                write_motion(video, motion_every)
            except ValueError:
                counts["without a visible face"] += 1
    sources = {"truth": truth, "npy": given, "transcript": spoken, "none": None}
    source = next(name for name, path in sources.items() if path is None or path.is_file())
    counts[f"visemes from {source}"] += 1
    files = {
        "visemes": sources[source],
        "motion": truth if truth.is_file() else tracked if tracked.is_file() else None,
        "truth": truth if truth.is_file() else None,
    }
    counts["with head motion"] += files["motion"] is not None
    return {
        "video": video.relative_to(root).as_posix(),
        "identity": video.parent.name,
        "frames": frames,
        "text": transcript.text,
        "viseme_source": source,
        **{key: path and os.path.relpath(path, root).replace(os.sep, "/") for key, path in files.items()},
    }
