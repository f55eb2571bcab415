"""Where released weights lie, and what a finished chain of a release holds."""

import hashlib
import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tsd.weights import files as weights_files

NEEDED = ("vae", "visemes", "student", "motion")
"""Without these no face speaks."""

CARD = "release.json"
"""Beside the weights: what made them, what they can do, and what not."""

PLACES = ("{stage}/weights", "{stage}/manifests/{stage}", "corpus/manifests/{stage}")
"""Where a chain's folder holds the weights of a stage, the first that is there; motion comes with a corpus."""


def file_of(chain: Path, stage: str) -> Path | None:
    """The weights of a stage in a chain's folder; None where there are none."""
    files = [chain / f"{place.format(stage=stage)}.safetensors" for place in PLACES]
    return next((file for file in files if file.is_file()), None)


def folder() -> Path:
    """Where released chains lie, a folder each: the one that the environment's TSD_WEIGHTS names, else ``weights`` in
    the current folder, where it holds a release, in the repository or in the installed package;
    conf/weights/drawn.yaml and people.yaml read TSD_WEIGHTS."""
    package = Path(__file__).resolve().parents[1]
    places = (Path("weights"), package.parent / "weights", package / "released")
    found = (place for place in places if any(place.glob(f"*/{CARD}")))  # many projects call a folder weights
    return Path(os.environ.get("TSD_WEIGHTS") or next(found, places[0]))


def check(weights: Mapping[str, str | None]) -> None:
    """FileNotFoundError where released weights are asked for and are not there."""
    for stage, given in weights.items():
        if given and Path(given).parent.parent == folder() and not Path(given).is_file():
            raise FileNotFoundError(
                f"no released {stage} weights at {given}: `make release` (weights/people: `make chain NAME=real`) and "
                "`make publish` make them, "
                "TSD_WEIGHTS=<folder> says where they are, weights=demo takes those of `make demo`"
            )


def is_sibling(name) -> bool:
    """Whether this is the plain name of a folder, which leads nowhere but beside another one."""
    return isinstance(name, str) and re.fullmatch(r"[\w-]+", name) is not None


def beside(folder: Path) -> dict[str, Path]:
    """{stage: file} of what a released folder shares with the one that its card names; empty where it has no such card.
    ValueError where what lies there is not what the card tells of."""
    card = folder / CARD
    try:
        named = json.loads(card.read_text())["beside"]
        release, hashes = named["release"], dict(named["sha256"])
    except (OSError, ValueError, LookupError, TypeError, RecursionError):
        return {}
    if not is_sibling(release) or not hashes.keys() <= set(weights_files.STAGES):
        raise ValueError(f"{card}: names no release beside it: copy it again, or publish it again")
    files = {stage: folder.resolve().parent / release / f"{stage}.safetensors" for stage in hashes}
    for stage, file in files.items():
        if not file.is_file() or hashlib.sha256(file.read_bytes()).hexdigest() != hashes[stage]:
            raise ValueError(f"{file}: is not the {stage} of {card}: copy both folders of one release")
    return files


@dataclass(frozen=True)
class Finished:
    """A chain that was trained and evaluated: {stage: weights file}, and the evaluation's report."""

    folder: Path
    weights: dict[str, Path]
    report: dict


def read_finished(chain: str | Path) -> Finished:
    """What `make release` (or `make demo`) left in a folder.

    FileNotFoundError or ValueError, with everything that is wrong, unless the report is there, the weights that it
    judged are those that lie beside it, and each was trained on top of the others.
    """
    chain = Path(chain)
    go_on = "`make release` goes on with what is missing"
    try:
        report = json.loads((chain / "report.json").read_text())
        judged = {stage: name for stage, name in report["weights"].items() if stage in weights_files.STAGES}
    except FileNotFoundError as error:
        raise FileNotFoundError(f"{chain} holds no report.json, so its chain is not finished: {go_on}") from error
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(f"{chain / 'report.json'} is no report of an evaluation: remove it; {go_on}") from error
    files = {stage: file_of(chain, stage) for stage in (*NEEDED, *judged)}
    if missing := [stage for stage, file in files.items() if file is None]:
        raise FileNotFoundError(f"{chain} holds no weights of {', '.join(missing)}: {go_on}")
    hashes = {stage: weights_files.file_hash(file) for stage, file in files.items()}
    wrong = [f"report.json has judged another {stage}" for stage in files if judged.get(stage) != hashes[stage]]
    for stage, file in files.items():
        below = weights_files.read_header(file, stage)["card"].get("stands_on")
        below = {name: known for name, known in below.items() if name in files} if below else {}
        below = {name: weights_files.is_known_as(files[name], name, known) for name, known in below.items()}
        wrong += [f"the {stage} was trained on another {name}" for name, same in below.items() if not same]
    if wrong:
        raise ValueError(f"{chain}: {', '.join(wrong)}: remove report.json and what is older; {go_on}")
    return Finished(chain, files, report)
