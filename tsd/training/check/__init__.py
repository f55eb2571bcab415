"""The whole configuration is judged before anything is built: every fault with its key, value and what would be right.

Works on the plain values that a composed configuration resolves to, and knows neither Hydra nor what a run does.
"""

from tsd.training.check.combinations import combination_faults
from tsd.training.check.targets import nearest, target_faults
from tsd.training.check.values import nodes, show, value_faults
from tsd.weights import checkpoint

KEYS = {
    "": [
        *("stage", "model", "data", "optimizer", "trainer", "loss", "steps", "weights", "logger", "callbacks", "seed"),
        *("out", "sweep", "init", "overwrite", "checkpoint_every", "print_config", "dry_run", "evaluate", "stored"),
    ],
    "stage": ["name", "needs", "net", "module", "monitor", "mode"],
    "model": ["name", "resolution", "windows", *checkpoint.NETS],
    "model.windows": ["frames", "batch", "decoded"],
    "weights": [*checkpoint.NETS],
}
"""The keys of nodes that are no arguments of a class."""

BUILT = ("data", "loss", "steps", "optimizer", "trainer", "stage.net", "stage.module")
"""Nodes without which there is no training."""


def faults(config: dict, references: set[str] = frozenset()) -> list[str]:
    """ "key=value: what would be right" for everything wrong; empty where all is well.

    ``references``: top-level keys that others refer to (an experiment's own), which are therefore known.
    """
    found = []
    for path in BUILT:
        parent, _, key = path.rpartition(".")
        node = config.get(parent, config) if not parent or isinstance(config.get(parent), dict) else {}
        node = node.get(key)
        if not isinstance(node, dict) or "_target_" not in node:
            found.append(f"{path}={show(node)}: must be a group with a _target_, such as conf/{path.split('.')[0]} has")
    for group in ("stage", "model", "weights"):
        if not isinstance(config.get(group), dict):
            found.append(f"{group}={show(config.get(group))}: must be a group, such as conf/{group} has")
    for path, value in nodes(config):
        if isinstance(value, dict):
            found += unknown_keys(path, value, references)
            found += target_faults(path, value) if "_target_" in value else []
        found += value_faults(path, value)
    found = list(dict.fromkeys(found))
    return found or combination_faults(config)


def unknown_keys(path: str, node: dict, references: set[str]) -> list[str]:
    known = KEYS.get(path)
    if known is None:
        return []
    extra = [key for key in node if key not in known and not (path == "" and key in references)]
    prefix = f"{path}." if path else ""
    return [f"{prefix}{key}={show(node[key])}: unknown key; {nearest(key, known)}" for key in extra]


def refuse(config: dict, references: set[str] = frozenset()) -> None:
    """ValueError that lists every fault."""
    if found := faults(config, references):
        raise ValueError("\n  ".join([f"{len(found)} faults in the configuration:", *found] if found[1:] else found))
