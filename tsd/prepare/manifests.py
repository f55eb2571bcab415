"""Which person goes into which split, and the manifests that say so."""

import json
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from tsd.data.manifest import manifest_path
from tsd.media.atomic import write_file

SPLITS = ("train", "val", "test")


def split_identities(identities: Iterable[str], val_ratio: float, test_ratio: float, seed: int) -> dict[str, str]:
    """identity -> split: every person in one split only.

    The ratios count people; a ratio above 0 gets at least one. Deterministic by seed, whatever the order
    of ``identities``. Raises ValueError where no person would be left to train on.
    """
    people = sorted(set(identities))
    for name, ratio in (("val_ratio", val_ratio), ("test_ratio", test_ratio)):
        if not 0 <= ratio < 1:
            raise ValueError(f"{name} must lie in [0, 1), got {ratio}")
    num_val, num_test = (max(1, round(ratio * len(people))) if ratio else 0 for ratio in (val_ratio, test_ratio))
    if num_val + num_test >= len(people):
        raise ValueError(
            f"{len(people)} identities cannot be split with val_ratio={val_ratio} and test_ratio={test_ratio}: "
            "at least one must be left to train on; add people or lower the ratios"
        )
    order = np.random.default_rng(seed).permutation(people)
    names = ["val"] * num_val + ["test"] * num_test + ["train"] * (len(people) - num_val - num_test)
    return {str(person): split for person, split in zip(order, names, strict=True)}


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
    where = split_identities((r["identity"] for r in records), val_ratio, test_ratio, seed)
    records = sorted(records, key=lambda r: r["video"])
    for split in SPLITS:
        write_jsonl(manifest_path(root, split, folder), [r for r in records if where[r["identity"]] == split])
    counts = Counter(where[r["identity"]] for r in records)
    return {split: counts[split] for split in SPLITS}


def write_jsonl(path: Path, rows: list[dict]) -> None:
    """One JSON object per line; the file appears when it is complete."""
    write_file(path, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode())
