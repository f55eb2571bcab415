"""Load the nets of a chain from weights or from an export, for the installed backends."""

import json
from collections.abc import Mapping
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import torch

from tsd.diffusion import Schedule
from tsd.runtime import card as cards
from tsd.runtime.backends import available, has_int8, parse
from tsd.runtime.card import Card
from tsd.runtime.exported import ExportedRecogniser, ExportedStudent, ExportedVAE
from tsd.weights import checkpoint, releases

EXPORTED = {"vae": ExportedVAE, "student": ExportedStudent, "visemes": ExportedRecogniser}
FASTEST = {
    "vae": ("openvino-bf16", "openvino-int8", "openvino", "torch"),
    "student": ("onnxruntime-int8", "onnxruntime", "openvino", "torch"),
    "visemes": ("onnxruntime", "openvino", "torch"),
}
"""Order in which `backend=auto` takes the first that is installed, as measured in experiments/latency. bfloat16 only
where the CPU computes in it; int8 only where the CPU has fast int8 and the export's int8 passed the quality check."""
INT8_LOSES = {"psnr_db": 0.3, "mouth_r": 0.01}
"""The most that int8 may lose against PyTorch."""


@dataclass
class Nets:
    """A chain's nets, or exported graphs in their place. ``backends``: {stage: its backend}."""

    vae: object
    student: object = None
    visemes: object = None
    motion: object = None
    schedules: dict[str, Schedule] = field(default_factory=dict)
    backends: dict[str, str] = field(default_factory=dict)
    workers: Executor | None = None
    digest: str = ""
    """SHA-256 of the export's card, or of the hashes of the weights files."""


def weights_in(folder: Path) -> dict[str, Path]:
    """{stage: file} of what a release, an export or a chain holds, and of what a release shares with another."""
    direct = {stage: folder / f"{stage}.safetensors" for stage in (*EXPORTED, "motion")}
    found = {stage: path if path.is_file() else releases.file_of(folder, stage) for stage, path in direct.items()}
    if found["vae"] is None:
        trained = folder / "vae" / "weights.safetensors"
        raise FileNotFoundError(f"{folder}: holds neither {cards.NAME} nor {direct['vae']} nor {trained}")
    shared = {stage: path for stage, path in releases.beside(folder).items() if stage in found}
    return shared | {stage: path for stage, path in found.items() if path is not None}


def schedules_of(path: str | Path) -> dict[str, Schedule]:
    """The steps that are stored with the weights of a denoiser, by name."""
    schedules = checkpoint.read_header(path)["card"].get("schedules", {})
    try:
        return {name: Schedule(tuple(s)) for name, s in schedules.items()}
    except (AttributeError, TypeError, ValueError) as error:
        raise ValueError(f"{path} has a card with schedules that are none ({error}): train it again") from error


def from_weights(weights: Mapping[str, str | Path | None]) -> Nets:
    """Nets from weights files by stage, run by PyTorch. Without ``student``, ``teacher`` takes its place. Stages may be
    left out: without ``student`` and ``visemes`` a talker can only decode."""
    vae = checkpoint.load(weights["vae"], "vae")
    nets = Nets(vae)
    kind = next((stage for stage in ("student", "teacher") if weights.get(stage)), None)
    if kind:
        path = weights[kind]
        nets.student = checkpoint.load(path, kind)
        checkpoint.check_latents(vae, nets.student, weights["vae"], path)
        checkpoint.check_origin(weights["vae"], path)
        nets.schedules = schedules_of(path)
    for stage in ("visemes", "motion"):
        if weights.get(stage):
            setattr(nets, stage, checkpoint.load(weights[stage], stage))
    nets.backends = {stage: "torch" for stage in EXPORTED if getattr(nets, stage) is not None}
    hashes = {stage: checkpoint.file_hash(path) for stage, path in sorted(weights.items()) if path}
    nets.digest = cards.sha256(json.dumps(hashes).encode())
    return nets


def from_export(card: Card, backend: str | Mapping[str, str], threads: int) -> Nets:
    """The graphs of an export, every stage on the backend that is asked for or on the fastest there is."""
    chosen = choose(backend, good_in_int8(card))
    theirs = [stage for stage, name in chosen.items() if name == "torch"] + ["motion"]
    held = {
        stage: card.file(f"{stage}.safetensors") for stage in theirs if f"{stage}.safetensors" in card.content["files"]
    }
    # PyTorch splits each call over its own threads, which would compete with parallel callers.
    callers = threads if "torch" not in chosen.values() else 1
    workers = ThreadPoolExecutor(callers, "tsd") if callers > 1 else None
    graphs = {stage: EXPORTED[stage](card, name, threads, callers) for stage, name in chosen.items() if name != "torch"}
    nets = {stage: checkpoint.load(path, stage) for stage, path in held.items()}
    digest = cards.sha256((card.folder / cards.NAME).read_bytes())
    return Nets(**graphs, **nets, schedules=card.schedules, backends=chosen, workers=workers, digest=digest)


def good_in_int8(card: Card) -> bool:
    """Whether every backend loses no more than ``INT8_LOSES`` in int8, by the clips that the export was judged on."""
    try:
        judged = card.content["quality"]["backends"]
        whole, small = judged["torch"], [row for name, row in judged.items() if name.endswith("-int8")]
        measured = [name for name in INT8_LOSES if whole[name] is not None]
        return bool(small and measured) and all(whole[k] - row[k] <= INT8_LOSES[k] for row in small for k in measured)
    except (KeyError, TypeError, AttributeError):  # not judged
        return False


def choose(backend: str | Mapping[str, str], int8: bool = False) -> dict[str, str]:
    """``auto``, one backend for everything, or {stage: backend} -> {stage: backend}. ``int8``: ``auto`` may take int8
    where it is faster. ValueError for other values."""
    wanted = dict(backend) if isinstance(backend, Mapping) else dict.fromkeys(EXPORTED, backend)
    if unknown := set(wanted) - set(EXPORTED):
        raise ValueError(f"backend={backend}: {', '.join(unknown)} is no stage; stages are {', '.join(EXPORTED)}")
    here = [name for name in available() if not name.endswith("-int8") or (int8 and has_int8())]
    chosen = {}
    for stage in EXPORTED:
        name = wanted.get(stage, "auto")
        chosen[stage] = next(b for b in FASTEST[stage] if b in here) if name == "auto" else name
        parse(chosen[stage])
    return chosen


def load(source: str | Path | Mapping, backend: str | Mapping[str, str] = "auto", threads: int | None = None) -> Nets:
    """See ``Talker.load``."""
    if not isinstance(source, Mapping):
        path = Path(source)
        if path.is_file() or (path / cards.NAME).is_file():
            return from_export(Card.read(path), backend, threads or torch.get_num_threads())
        if not path.is_dir():
            raise FileNotFoundError(f"{path}: no such folder; give one with weights, or what `make export` wrote")
        source = weights_in(path)
    if backend != "auto" and any(name != "torch" for name in choose(backend).values()):
        raise ValueError(f"backend={backend}: weights are run by torch alone; `make export` writes graphs for others")
    return from_weights(source)
