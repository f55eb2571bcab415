"""``run.json``: what a run directory holds, by hashes of its configuration and of the data and stages it stands on."""

import fcntl
import hashlib
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tsd import losses
from tsd.data.manifest import manifest_path
from tsd.data.shards import read_card
from tsd.media.atomic import write_file
from tsd.training import check
from tsd.training.check.values import nodes, show
from tsd.weights import checkpoint

FREE = re.compile(
    r"(out|sweep|init|overwrite|dry_run|print_config|evaluate|stored|checkpoint_every|weights|logger)(\..*)?"
    r"|data\.(root|manifests|latents|vae_hash|num_workers|decoder|cache_mb|preload|stream|stream_cache|stream_gb)"
    r"|callbacks\.(checkpoint\.dirpath|pictures\..*)"
    r"|trainer\.(enable_.*|log_every_n_steps|accelerator|devices|num_nodes|strategy|profiler)"
)
"""Keys that say where, how fast and what is shown, not what comes out; files count by what is in them."""


def essence(config: dict) -> dict[str, Any]:
    """Dotted key -> value of all that decides what a run comes to. Of the model only the stage's own net counts, of the
    loss the terms that it weighs; step counts are of denoisers."""
    flat = {path: value for path, value in nodes(config) if not isinstance(value, dict)}
    terms = losses.TERMS.get(config["stage"]["name"], ())

    def decides(key: str) -> bool:
        group, _, rest = key.partition(".")
        of_others = {"model": True, "loss": rest not in terms, "steps": "noise" not in terms}
        return group in check.KEYS[""] and not of_others.get(group, False) and not FREE.fullmatch(key)

    return {key: value for key, value in flat.items() if decides(key)}


def digest(value: Any) -> str:
    """16 hex digits of plain values."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:16]


def data_hash(config: dict) -> str:
    """Which clips are trained on and validated with: the two manifests' bytes, or the cards of the two streams (which
    hold the manifests' hashes, and whose order is another)."""
    data = config["data"]
    if data.get("stream"):
        return digest([read_card(data["stream"], split).digest() for split in ("train", "val")])
    paths = [manifest_path(data["root"], split, data["manifests"]) for split in ("train", "val")]
    return digest([checkpoint.file_hash(path) if path.is_file() else "none" for path in paths])


def describe(config: dict, weights: dict[str, Path]) -> dict[str, Any]:
    """What ``run.json`` says of a run on top of these weights files."""
    decides = essence(config)
    weighed = {key: value for key, value in decides.items() if not (key.startswith("loss.") and value == 0)}
    stands_on = {name: stage_below(path) for name, path in weights.items()}
    # A term of weight 0 is as good as none, so one that is added later does not make other runs of those before it.
    parts = {"config": digest(weighed), "data": data_hash(config)}
    hashes = {name: stage["hash"] for name, stage in stands_on.items()}
    return {
        "stage": config["stage"]["name"],
        "id": digest([parts, hashes, str(Path(config["out"]).resolve())]),
        "hash": digest([parts, hashes]),
        **parts,
        "stands_on": stands_on,
        "values": decides,
    }


def stage_below(path: Path) -> dict[str, str]:
    """Where a stage's weights lie, their hash, and the id of the run that made them, where that is known."""
    made_by = (read(path.parent) or {}).get("id", "")
    return {"path": str(path), "hash": checkpoint.file_hash(path), "id": made_by}


def read(folder: str | Path) -> dict[str, Any] | None:
    """The ``run.json`` of a run directory; None where there is none that can be read."""
    try:
        record = json.loads((Path(folder) / "run.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return record if isinstance(record, dict) else None


def update(folder: str | Path, **values: Any) -> None:
    """Write values into ``run.json``, whole or not at all."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    write_file(folder / "run.json", json.dumps((read(folder) or {}) | values, indent=1).encode())


LENGTH = "trainer.max_steps"
"""The key that may be raised for a run to go on, finished or not."""


def goes_on(folder: str | Path, now: dict[str, Any]) -> bool:
    """Whether the folder holds a run of fewer steps than are asked for now; whether it is the same one otherwise, says
    ``check_same``."""
    before = (read(folder) or {}).get("values", {}).get(LENGTH)
    return before is not None and now["values"][LENGTH] > before


def check_same(folder: str | Path, now: dict[str, Any]) -> None:
    """ValueError where the folder holds a run of another configuration, data or stage below."""
    before = read(folder)
    if not before or before.get("hash") in (None, now["hash"]):
        return
    changed = []
    if before.get("data") != now["data"]:
        changed.append("the data (manifests) are others")
    for name, stage in now["stands_on"].items():
        old = before.get("stands_on", {}).get(name, {}).get("hash")
        if old != stage["hash"]:
            changed.append(f"the {name} is {stage['hash']} ({stage['path']}) and was {old}")
    changed += [
        f"the {name} is not used and was" for name in before.get("stands_on", {}) if name not in now["stands_on"]
    ]
    old_values, values = before.get("values", {}), now["values"]
    for key in sorted(set(old_values) | set(values)):
        if key == LENGTH and goes_on(folder, now):
            continue
        if old_values.get(key) != values.get(key):
            changed.append(f"{key} is {show(values.get(key))} and was {show(old_values.get(key))}")
    if not changed:  # keys that came later, and are null, change nothing
        return
    changes = "; ".join(changed[:5]) + (f"; and {len(changed) - 5} more" if changed[5:] else "")
    raise ValueError(f"{folder} holds another run: {changes}: out=<folder> keeps it, overwrite=true replaces it")


@contextmanager
def only_one(folder: str | Path, wait: bool = False) -> Iterator[None]:
    """No second process works in the same folder (ValueError, or ``wait``); the system lets go when this one ends,
    however it ends."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except OSError as error:
            raise ValueError(f"{folder} is being trained by another process: wait for it, or out=<folder>") from error
        yield
