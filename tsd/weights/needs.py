"""Stages as a graph: which weights files a stage stands on, found by what is in them."""

import inspect
import logging
from pathlib import Path
from typing import Any

from tsd.nets import denoiser, visemes
from tsd.weights import checkpoint

log = logging.getLogger(__name__)
RUNS = ("*", "*/*", "*/*/*")
"""How deep other runs lie below the folder of runs."""
TERMS = {"identity": ("identity",), "sync_loss": ("sync",), "teacher": ("distill", "trajectory")}
"""Stages that are stood on only where one of these terms of the loss has a weight."""

ENCODER = ("latent_channels", "channels")
"""Arguments of a VAE that say how its encoder is built."""


def below(config: dict) -> dict[str, Path]:
    """The weights file of every stage that ``config["stage"]`` stands on.

    ``weights.<stage>`` where it fits, else another run beside it that does: the net is built as ``model.<stage>``
    says, and the VAE is the one that the teacher was trained on, by its hash. ValueError or FileNotFoundError says
    what does not fit and which command makes it.
    """
    needs = [name for name in config["stage"]["needs"] if is_asked(name, config)]
    for name in needs:  # in the order in which they are made
        if not Path(config["weights"][name]).is_file() and not other_runs(Path(config["weights"][name]), name):
            checkpoint.read_header(config["weights"][name], name)  # raises, and says which command makes them
    found: dict[str, Path] = {}
    required: dict[str, str] = {}
    for name in sorted(needs, key=lambda name: name != "teacher"):  # the teacher says which VAE
        found[name] = find(name, config, required.get(name))
        if name == "teacher":
            stands_on = checkpoint.read_header(found[name], name)["card"].get("stands_on")
            required = {"vae": stands_on["vae"]} if isinstance(stands_on, dict) and "vae" in stands_on else {}
    if "sync_loss" in found and (fault := not_apart(found["sync_loss"], config["weights"].get("sync"))):
        raise ValueError(fault)
    return {name: found[name] for name in needs}


def is_asked(name: str, config: dict) -> bool:
    """Whether the stage uses what it may stand on: terms of weight 0 use nothing."""
    return name not in TERMS or any(config["loss"][term] for term in TERMS[name])


def first_weights(config: dict) -> dict[str, Path]:
    """{"init": the weights file that the stage starts from}; empty where it starts at random.

    FileNotFoundError or ValueError where the file does not hold the net that ``stage.net`` describes, or that net
    without parts that can be added (its ``ADDED``); where a decoder alone is trained, any VAE whose encoder fits.
    """
    if not config.get("init"):
        return {}
    path, name = Path(config["init"]), config["stage"]["name"]
    if config["stage"]["module"].get("decoder_only"):
        if why := misfit(path, name, config, None, only=ENCODER):
            raise ValueError(f"init={path}: {why}: a decoder alone is trained on an encoder of the same size")
    elif why := misfit(path, name, config, None, added=(*denoiser.ADDED, *visemes.ADDED)):
        raise ValueError(f"init={path}: {why}: only a net of the same size can go on from it")
    return {"init": path}


def not_apart(loss: str | Path, metric: str | Path | None) -> str:
    """Why a student trained to please the sync expert ``loss`` may not be judged by the expert ``metric``; empty where
    it may, or where one of them is not there (yet)."""
    if not metric or not Path(loss).is_file() or not Path(metric).is_file():
        return ""
    if checkpoint.file_hash(loss) == checkpoint.file_hash(metric):
        return f"weights.sync_loss={loss} is weights.sync, which evaluation measures with: make train-sync_loss"
    cards = [checkpoint.read_header(path)["card"] for path in (loss, metric)]
    corpora = [card["run"].get("data") if isinstance(card.get("run"), dict) else None for card in cards]
    people = [card.get("people") for card in cards]
    if all(people) and corpora[0] == corpora[1] and sorted(map(str, people)) != ["even", "odd"]:
        return (
            f"weights.sync_loss={loss} learned from {people[0]} people and weights.sync={metric}, which evaluation "
            f"measures with, from {people[1]}: train them on different ones, data.people=odd and data.people=even"
        )
    return ""


def find(name: str, config: dict, wanted_hash: str | None) -> Path:
    """The weights of one stage; ``wanted_hash``: those very ones."""
    given = Path(config["weights"][name])
    if given.is_file() and not (why := misfit(given, name, config, wanted_hash)):
        return given
    for path in other_runs(given, name):
        if path != given and not misfit(path, name, config, wanted_hash):
            log.info("weights.%s=%s does not fit; %s does", name, given, path)
            return path
    why = why if given.is_file() else "no such file, and the others do not fit"
    raise ValueError(f"weights.{name}={given}: {why}: {remedy(name, config, wanted_hash)}")


def misfit(
    path: Path,
    name: str,
    config: dict,
    wanted_hash: str | None,
    added: tuple[str, ...] = (),
    only: tuple[str, ...] | None = None,
) -> str:
    """Why these weights do not fit; empty where they do. ``added``: arguments of parts they may be without; ``only``:
    the arguments that count (None: all). Raises ValueError for a file that is of no use to anyone."""
    header = checkpoint.read_header(path, name)
    if wanted_hash is not None and not checkpoint.is_known_as(path, name, wanted_hash):
        return (
            f"is {checkpoint.file_hash(path)}, but the teacher was trained on {wanted_hash}, which is nowhere beside it"
        )
    ours, theirs = complete(name, config["model"][name]), complete(name, header["arguments"])
    counting = [key for key in ours if only is None or key in only]
    without = {key: (complete(name, {})[key], []) for key in added if key in ours}
    differing = [
        key for key in counting if ours[key] != theirs.get(key) and theirs.get(key) not in without.get(key, ())
    ]
    return "; ".join(f"has {key} {theirs.get(key)}, but model.{name}.{key} is {ours[key]}" for key in differing)


def complete(name: str, arguments: dict) -> dict[str, Any]:
    """Arguments of a net with those left out at their defaults."""
    parameters = inspect.signature(checkpoint.NETS[name]).parameters.values()
    defaults = {p.name: p.default for p in parameters if p.default is not p.empty}
    return defaults | {key: value for key, value in arguments.items() if key != "_target_"}


def other_runs(given: Path, name: str) -> list[Path]:
    """Weights of this stage in the runs beside the one given (outputs/vae/weights.safetensors: all below outputs)."""
    paths = [path for depth in RUNS for path in sorted(given.parent.parent.glob(f"{depth}/weights.safetensors"))]
    return [path for path in paths if is_of(path, name)]


def is_of(path: Path, name: str) -> bool:
    try:
        return checkpoint.read_header(path)["stage"] == name
    except (ValueError, FileNotFoundError):
        return False


def remedy(name: str, config: dict, wanted_hash: str | None) -> str:
    """The command that makes what is missing."""
    if wanted_hash is not None:
        return 'train the teacher again on this one: make train-teacher ARGS="overwrite=true"'
    model = config["model"].get("name")
    return f'make train-{name} ARGS="model={model} out=<folder>" makes such a one, or give weights.{name}=<file>'
