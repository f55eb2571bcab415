"""Load the nets of a chain from weights or from an export, for the installed backends. PyTorch is imported only where
it computes something."""

import json
import os
import sys
from collections.abc import Mapping
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path

from tsd.diffusion import Schedule
from tsd.media.head_motion import RecordedMotion
from tsd.media.signals import MOTION
from tsd.runtime import card as cards
from tsd.runtime import graph_files
from tsd.runtime.backends import MEMORY, available, has_int8, parse
from tsd.runtime.card import Card
from tsd.runtime.exported import ExportedRecogniser, ExportedStudent, ExportedVAE
from tsd.weights import releases
from tsd.weights.files import file_hash, read_arrays, schedules_of

EXPORTED = {"vae": ExportedVAE, "student": ExportedStudent, "visemes": ExportedRecogniser}
FASTEST = {
    "vae": ("openvino-bf16", "openvino-int8", "openvino", "torch", "onnxruntime"),
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


def motion_of(path: str | Path | None) -> RecordedMotion | None:
    """The motion bank of a weights file. ValueError where it holds none."""
    if not path:
        return None
    tracks = read_arrays(path, "motion").get("tracks")
    if tracks is None or tracks.ndim != 3 or not tracks.size or tracks.shape[2] != len(MOTION):
        raise ValueError(f"{path} does not fit its own card (no tracks [N, T, {len(MOTION)}]): prepare it again")
    return RecordedMotion(tracks)


def digest_of(weights: Mapping[str, str | Path | None]) -> str:
    """Names a set of weights files in manifests and marks."""
    hashes = {stage: file_hash(path) for stage, path in sorted(weights.items()) if path}
    return cards.sha256(json.dumps(hashes).encode())


def from_weights(weights: Mapping[str, str | Path | None]) -> Nets:
    """Nets from weights files by stage, run by PyTorch. Without ``student``, ``teacher`` takes its place. Stages may be
    left out: without ``student`` and ``visemes`` a talker can only decode."""
    from tsd.weights import checkpoint

    vae = checkpoint.load(weights["vae"], "vae")
    nets = Nets(vae)
    kind = next((stage for stage in ("student", "teacher") if weights.get(stage)), None)
    if kind:
        path = weights[kind]
        nets.student = checkpoint.load(path, kind)
        checkpoint.check_latents(vae, nets.student, weights["vae"], path)
        checkpoint.check_origin(weights["vae"], path)
        nets.schedules = schedules_of(path)
    if weights.get("visemes"):
        nets.visemes = checkpoint.load(weights["visemes"], "visemes")
    nets.motion = motion_of(weights.get("motion"))
    nets.backends = {stage: "torch" for stage in EXPORTED if getattr(nets, stage) is not None}
    nets.digest = digest_of(weights)
    return nets


def from_export(card: Card, backend: str | Mapping[str, str], threads: int, memory: str = "usual") -> Nets:
    """The graphs of an export, every stage on the backend that is asked for or on the fastest there is."""
    chosen = choose(backend, good_in_int8(card))
    chosen = {stage: name for stage, name in chosen.items() if not card.weights or card.weights.get(stage)}
    theirs = {stage: card.weights_file(stage) for stage, name in chosen.items() if name == "torch"}
    # PyTorch splits each call over its own threads, which would compete with parallel callers.
    callers = threads if "torch" not in chosen.values() else 1
    workers = ThreadPoolExecutor(callers, "tsd") if callers > 1 else None
    by_graphs = {stage: name for stage, name in chosen.items() if name != "torch"}
    with ThreadPoolExecutor(len(EXPORTED), "tsd-open") as side_by_side:  # each takes a processor for 0.1 s or more
        opening = [
            side_by_side.submit(EXPORTED[stage], card, name, threads, callers, memory)
            for stage, name in by_graphs.items()
        ]
        graphs = {stage: opened.result() for stage, opened in zip(by_graphs, opening, strict=True)}
    nets = {stage: by_torch(path, stage) for stage, path in theirs.items() if path is not None}
    motion = motion_of(card.weights_file("motion"))
    schedules = card.schedules if "student" in chosen else {}
    found = {"motion": motion, "schedules": schedules, "digest": digest_of_card(card)}
    return Nets(**graphs, **nets, **found, backends=chosen, workers=workers)


def digest_of_card(card: Card) -> str:
    """Names the nets of a card in manifests and marks: by the weights that its graphs are filled from, or by itself."""
    return digest_of(card.weights) if card.weights else cards.sha256((card.folder / cards.NAME).read_bytes())


def by_torch(path: Path, stage: str):
    """A net of a weights file, run by PyTorch."""
    from tsd.weights import checkpoint

    return checkpoint.load(path, stage)


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


def graphs_for(weights: Mapping[str, str | Path | None], backend: str | Mapping[str, str]) -> Card | None:
    """The graphs of weights files; None where PyTorch runs the weights: it is asked for, or there are no graphs and no
    other backend is asked for. Graphs that are asked for and not there are made, once. ValueError where nothing here
    can run or make them."""
    asked = set(backend.values() if isinstance(backend, Mapping) else [backend])
    if asked != {"auto"}:
        choose(backend)  # refuses what there is not
    if asked == {"torch"}:
        return None
    if card := graph_files.find(weights):
        return card
    missing = [name for name in graph_files.MAKERS if not find_spec(name)]
    if asked <= {"auto", "torch"}:
        if "torch" in missing:
            raise ValueError(
                f"{weights['vae']}: no graphs of these weights lie beside them, and PyTorch, which could run them "
                "without, is not installed: give an export (`make export`), or install the extra `train`"
            )
        return None
    if lacking := [stage for stage in graph_files.STAGES if not weights.get(stage)]:
        raise ValueError(f"backend={backend}: graphs need weights of {', '.join(lacking)}, too; take backend=torch")
    if missing:
        raise ValueError(
            f"backend={backend}: graphs of {weights['vae']} have to be made first, which takes {', '.join(missing)}: "
            "install the extras `train` and `export`, or give an export"
        )
    from tsd.runtime.graph_making import make

    return make(weights)


def usual_threads() -> int:
    """PyTorch's number where it is in use; else what OMP_NUM_THREADS says, or all processors of this process."""
    torch, said = sys.modules.get("torch"), os.environ.get("OMP_NUM_THREADS", "")
    if torch is not None:
        return torch.get_num_threads()
    if said.isdecimal() and int(said):
        return int(said)
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def load(
    source: str | Path | Mapping,
    backend: str | Mapping[str, str] = "auto",
    threads: int | None = None,
    memory: str = "usual",
) -> Nets:
    """See ``Talker.load``."""
    if memory not in MEMORY:
        raise ValueError(f"memory={memory}: must be one of {', '.join(MEMORY)}")
    card = None
    if not isinstance(source, Mapping):
        path = Path(source)
        if path.is_file() or (path / cards.NAME).is_file():
            card = Card.read(path)
        elif not path.is_dir():
            raise FileNotFoundError(f"{path}: no such folder; give one with weights, or what `make export` wrote")
        else:
            source = weights_in(path)
    card = card or graphs_for(source, backend)
    return from_weights(source) if card is None else from_export(card, backend, threads or usual_threads(), memory)
