"""What may be built: the classes that a ``_target_`` may name at each place, and the arguments they take."""

import difflib
import inspect
import re
from importlib import import_module
from typing import Any

import lightning as L
import torch
from lightning.pytorch.loggers import Logger
from torch import nn

from tsd.data.datamodule import ClipDataModule
from tsd.diffusion import Schedule
from tsd.losses import LossWeights
from tsd.modules.base import Stage
from tsd.training.check.values import fits, rules, show, type_hints, words_of
from tsd.weights import checkpoint

ALLOWED = {
    r"data": (ClipDataModule, "tsd.data"),
    r"loss": (LossWeights, "tsd.losses"),
    r"steps|stage\.module\.schedule|stage\.module\.schedules\.\w+": (Schedule, "tsd.diffusion"),
    r"stage\.net|model\.\w+": (nn.Module, "tsd.nets"),
    r"stage\.module": (Stage, "tsd.modules"),
    r"optimizer": (torch.optim.Optimizer, "torch.optim", "tsd.training.optimizers"),
    r"trainer": (L.Trainer, "lightning"),
    r"callbacks\.\w+": (L.Callback, "lightning.pytorch.callbacks", "tsd.training.callbacks"),
    r"logger\.\w+": (Logger, "lightning.pytorch.loggers", "tsd.training.loggers"),
}
"""Where a ``_target_`` may stand, the class it must be of, and the packages it may come from: nothing else is ever
imported or called, so a configuration from a stranger cannot run code."""

GIVEN = {
    "optimizer": ["params"],
    "stage.module": ["net", "loss", "optimizer", *checkpoint.NETS],
    "trainer": ["plugins", "callbacks", "logger", "default_root_dir"],
}
"""Arguments that ``tsd.commands.train`` gives and no configuration may."""


def nearest(key: str, known: list[str]) -> str:
    """What may have been meant."""
    close = difflib.get_close_matches(str(key), known, 1, 0.5)
    return f"did you mean {close[0]}?" if close else f"known are {', '.join(sorted(known)[:20])}"


def target_faults(path: str, node: dict) -> list[str]:
    """A ``_target_`` outside ALLOWED, arguments its class does not take, lacks, or takes of another type."""
    target = node["_target_"]
    rule = next((rule for pattern, rule in ALLOWED.items() if re.fullmatch(pattern, path)), None)
    if rule is None:
        return [f"{path}._target_={show(target)}: nothing is built here; remove it"]
    base, *packages = rule
    built = allowed_class(target, base, packages)
    if built is None:
        return [f"{path}._target_={show(target)}: must be a {base.__name__} of {' or '.join(packages)}"]
    wanted = [
        p for p in inspect.signature(built).parameters.values() if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)
    ]
    names = [p.name for p in wanted]
    takes_all = any(p.kind is p.VAR_KEYWORD for p in inspect.signature(built).parameters.values())
    if takes_all:  # **kwargs go to the parents
        names = list(
            {n for c in built.__mro__ if "__init__" in vars(c) for n in inspect.signature(c.__init__).parameters}
        )
    special = {"_target_", "_partial_", "_convert_", "_recursive_"}
    given = {key: value for key, value in node.items() if key not in special}
    own = GIVEN.get(path, [])
    known = [name for name in names if name not in [*own, "self", "args", "kwargs"]]
    found = [
        f"{path}.{key}={show(given[key])}: unknown key; {nearest(key, known)}" for key in given if key not in known
    ]
    lacking = [p.name for p in wanted if p.default is p.empty and p.name not in given and p.name not in own]
    found += [f"{path}.{name}: missing; {built.__name__} needs it" for name in lacking]
    hints = type_hints(built)
    for key, value in given.items():
        hint = hints.get(key)
        judged = key not in known or hint is None or isinstance(value, dict) or rules(f"{path}.{key}")
        if not judged and not fits(value, hint):
            found.append(f"{path}.{key}={show(value)}: must be {words_of(hint)}")
    return found


def allowed_class(target: Any, base: type, packages: list[str]) -> type | None:
    """The class a ``_target_`` names, if it is a ``base`` defined in ``packages``. Nothing else is imported."""
    if not isinstance(target, str) or not re.fullmatch(r"\w+(\.\w+)+", target):
        return None
    if not any(target.startswith(f"{package}.") for package in packages):
        return None
    module, _, name = target.rpartition(".")
    try:
        built = getattr(import_module(module), name)
    except (ImportError, AttributeError):
        return None
    fits_base = isinstance(built, type) and issubclass(built, base)
    return built if fits_base and any(f"{built.__module__}.".startswith(f"{p}.") for p in packages) else None
