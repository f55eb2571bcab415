"""A whole corpus: every recording of a source prepared once, whatever was interrupted, on one machine or many."""

from collections import Counter
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from tqdm import tqdm

from tsd.prepare.journal import Journal, alone, sweep
from tsd.prepare.manifests import check_ratios, write_jsonl, write_manifests
from tsd.prepare.recording import Recording
from tsd.prepare.settings import Settings
from tsd.prepare.work import prepare_recording
from tsd.prepare.workers import Lost, run_all


@dataclass(frozen=True)
class Corpus:
    """What came of a source."""

    records: list[dict]
    """Manifest lines."""
    rejected: list[dict]
    """{"video", "reason", perhaps "seconds"}: which input, or which part of one, is not used and why."""
    notes: Counter
    """Peculiarities of what is used, for people to read."""
    waiting: int = 0
    """Recordings that other shards have not done yet; manifests are written when there are none."""


@dataclass(frozen=True)
class Splits:
    """How the people are split; see ``split_records``."""

    val_ratio: float = 0.1
    test_ratio: float = 0.1
    seed: int = 0


def parse_shard(text: str) -> tuple[int, int]:
    """ "2/8" -> (2, 8), counted from 0. ValueError for anything else."""
    index, _, count = str(text).partition("/")
    if not (index.isdigit() and count.isdigit() and int(index) < int(count)):
        raise ValueError(f"shard must be i/n with i in 0..n-1, got {text!r}")
    return int(index), int(count)


def collect(
    recordings: list[Recording],
    settings: Settings,
    folder: str = "manifests",
    workers: int = 1,
    shard: str = "0/1",
    limit: float = 1800.0,
    splits: Splits | None = None,
) -> Corpus:
    """Prepare what is not done yet, then write manifests and ``rejected.jsonl`` into ``<root>/<folder>``.

    Args:
        workers: processes; 0 works in this one.
        shard: "i/n": every n-th recording from the i-th on; the shard that finishes last writes the manifests.
        limit: seconds after which a recording is given up.
        splits: None writes no manifests (the lists only).

    Raises ValueError for a corpus that is read-only, is prepared by another process, or has no usable clip.
    """
    root, (index, count) = settings.root, parse_shard(shard)
    if splits is not None:  # said now, not after a night of decoding
        check_ratios(splits.val_ratio, splits.test_ratio)
    _require_writable({root, *(r.video.parent for r in recordings if r.framing == "kept")})
    place, fingerprint = root / folder, settings.fingerprint()
    journal = Journal(place, index, count)
    try:
        if journal.interrupted and count == 1:
            sweep(root)
        wanted = {r.name: r.stamp() + fingerprint for r in recordings}
        rows = {name: row for name, row in journal.rows().items() if row.get("made_from") == wanted.get(name)}
        jobs = [r for r in recordings[index::count] if r.name not in rows]
        with tqdm(total=len(recordings[index::count]), initial=len(recordings[index::count]) - len(jobs),
                  desc="recordings", unit="recording", delay=2) as progress:  # fmt: skip
            for job, result in run_all(partial(prepare_recording, settings=settings), jobs, workers, limit):
                if isinstance(result, Lost):
                    result = {"clips": [], "rejected": [{"video": job.name, "reason": str(result)}], "notes": []}
                rows[job.name] = {"name": job.name, "made_from": wanted[job.name], **result}
                journal.add(rows[job.name])
                progress.update()
        with alone(place):
            rows = {name: row for name, row in journal.rows().items() if row.get("made_from") == wanted.get(name)}
            ordered = [rows[name] for name in sorted(rows)]
            corpus = _summary(ordered, len(wanted) - len(rows))
            if not corpus.waiting:
                write_jsonl(place / "rejected.jsonl", corpus.rejected)
                if splits is not None:
                    write_manifests(root, corpus.records, splits.val_ratio, splits.test_ratio, splits.seed, folder)
                if count > 1:
                    sweep(root)
                journal.finish(ordered)
    finally:
        journal.close()
    return corpus


def _summary(rows: list[dict], waiting: int) -> Corpus:
    records = [line for row in rows for line in row["clips"]]
    notes = Counter(note for row in rows if row["clips"] for note in row["notes"])
    notes.update(f"visemes from {line['viseme_source']}" for line in records)
    notes["with head motion"] = sum(line["motion"] is not None for line in records)
    return Corpus(records, [item for row in rows for item in row["rejected"]], notes, waiting)


def _require_writable(folders: set[Path]) -> None:
    """A folder marked read-only is left alone, by root too."""
    for folder in sorted(folders):
        folder.mkdir(parents=True, exist_ok=True)
        if not folder.stat().st_mode & 0o222:
            raise ValueError(
                f"{folder}: is read-only but tracks and manifests go there; copy the corpus and prepare that"
            )
