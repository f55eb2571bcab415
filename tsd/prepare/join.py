"""Prepared corpora that lie below one folder become one corpus: their manifests, one after another."""

import json
from pathlib import Path

from tsd.data.manifest import FILES, manifest_path, read_manifest
from tsd.prepare.manifests import SPLITS, write_jsonl


def join(root: str | Path, names: list[str], folder: str = "manifests") -> dict[str, int]:
    """Write the manifests of ``root`` from those of the corpora ``root/<name>``; clips per split.

    Every clip stays where it lies and in the split it is in. A person is called ``<name>/<identity>``, so that two
    corpora may number their people alike. Raises FileNotFoundError for a corpus without manifests and ValueError for a
    name that leads out of the root, a line that cannot be used, and a split that no corpus has clips in.
    """
    root, rows = Path(root), {}
    if wrong := [name for name in names if not is_folder_name(name)]:
        raise ValueError(f"join={wrong[0]}: must be the name of a folder in root={root}")
    if len(set(names)) < max(2, len(names)):
        raise ValueError(f"join={','.join(names)}: must name two corpora or more, each once")
    for split in SPLITS:
        rows[split] = [row for name in names for row in rows_of(root, name, split, folder)]
        if not rows[split]:
            raise ValueError(
                f"{root}: none of {', '.join(names)} has clips in the {split} split; prepare one with more"
            )
    for split in SPLITS:  # all or none
        write_jsonl(manifest_path(root, split, folder), rows[split])
    return {split: len(rows[split]) for split in SPLITS}


def is_folder_name(name: str) -> bool:
    return bool(name) and Path(name).name == name and name not in (".", "..")


def rows_of(root: Path, name: str, split: str, folder: str) -> list[dict]:
    """The lines of one corpus's manifest as lines of the joined one; none where the split holds no clips."""
    path = manifest_path(root / name, split, folder)
    if path.is_file() and not path.read_bytes().strip():
        return []
    read_manifest(path, root / name)  # refuses lines that cannot be used
    rows = []
    for line in path.read_text(encoding="utf-8").splitlines():
        if line.strip():
            row = json.loads(line)
            moved = {key: f"{name}/{row[key]}" for key in FILES if row.get(key) is not None}
            rows.append(row | moved | {"identity": f"{name}/{row['identity']}"})
    return rows
