"""Which person goes into which split, and the manifests that say so."""

import json
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from tsd.data.manifest import manifest_path
from tsd.media.atomic import write_file

SPLITS = ("train", "val", "test")


def check_ratios(val_ratio: float, test_ratio: float) -> None:
    """ValueError for shares of people that cannot be."""
    for name, ratio in (("val_ratio", val_ratio), ("test_ratio", test_ratio)):
        if not 0 <= ratio < 1:
            raise ValueError(f"{name} must lie in [0, 1), got {ratio}")
    if val_ratio + test_ratio >= 1:
        raise ValueError(f"val_ratio={val_ratio} and test_ratio={test_ratio} leave nobody to train on; lower them")


def split_names(names: Iterable[str], val_ratio: float, test_ratio: float, seed: int) -> dict[str, str] | None:
    """name -> split; None where none would be left to train on.

    A ratio above 0 gets at least one name. Deterministic by seed, whatever the order of ``names``.
    """
    check_ratios(val_ratio, test_ratio)
    known = sorted(set(names))
    num_val, num_test = (max(1, round(ratio * len(known))) if ratio else 0 for ratio in (val_ratio, test_ratio))
    if num_val + num_test >= len(known):
        return None
    order = np.random.default_rng(seed).permutation(known)
    splits = ["val"] * num_val + ["test"] * num_test + ["train"] * (len(known) - num_val - num_test)
    return {str(name): split for name, split in zip(order, splits, strict=True)}


def split_records(records: list[dict], val_ratio: float, test_ratio: float, seed: int) -> list[tuple[str, dict]]:
    """(split, manifest line) of every clip: each person in one split only.

    Of too few people, such as somebody's own videos, the clips are split instead, and each line says so with
    ``"split_by": "clips"``: what is measured on them is then of people who were trained on. ValueError where the clips
    are too few for that, too.
    """
    by_person = split_names((r["identity"] for r in records), val_ratio, test_ratio, seed)
    if by_person is not None:
        return [(by_person[r["identity"]], r) for r in records]
    by_clip = split_names((r["video"] for r in records), val_ratio, test_ratio, seed)
    if by_clip is None:
        raise ValueError(
            f"{len(records)} clips of {len({r['identity'] for r in records})} people are too few for three splits; "
            "add recordings, or cut them into shorter clips with clips.max_seconds"
        )
    return [(by_clip[r["video"]], r | {"split_by": "clips"}) for r in records]


def write_manifests(
    root: str | Path,
    records: list[dict],
    val_ratio: float = 0.1,
    test_ratio: float = 0.1,
    seed: int = 0,
    folder: str = "manifests",
) -> dict[str, int]:
    """Write ``lrs3_{train,val,test}.jsonl`` from records (the keys of a manifest line); clips per split."""
    if not records:
        raise ValueError(f"{root}: no usable clips found; see {Path(root) / folder / 'rejected.jsonl'}")
    lines = split_records(sorted(records, key=lambda r: r["video"]), val_ratio, test_ratio, seed)
    for split in SPLITS:
        write_jsonl(manifest_path(root, split, folder), [line for where, line in lines if where == split])
    counts = Counter(where for where, _ in lines)
    return {split: counts[split] for split in SPLITS}


def is_split_by_clips(root: str | Path, folder: str = "manifests") -> bool:
    """Whether the manifests of a corpus have the same people in every split (``split_records``)."""
    with manifest_path(root, "train", folder).open(encoding="utf-8") as file:
        return "split_by" in json.loads(file.readline() or "{}")


def write_jsonl(path: Path, rows: list[dict]) -> None:
    """One JSON object per line; the file appears when it is complete."""
    write_file(path, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode())
