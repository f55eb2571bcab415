"""A trained chain for applications: ``python -m tsd.commands.export weights=demo out=outputs/export``."""

import json
import logging
from pathlib import Path

import numpy as np
import torch
from omegaconf import DictConfig
from tqdm import tqdm

from tsd.commands.compose import command_line
from tsd.commands.errors import below_one, refuse, unreadable
from tsd.evaluation.clips import Chain, Subject
from tsd.evaluation.loading import open_split
from tsd.export.calibration import calibration_inputs
from tsd.export.int8 import QUANTISED, quantise
from tsd.export.parity import TOLERANCE, largest_difference, noise_strength, quality
from tsd.media.atomic import filling, replaceable
from tsd.runtime.backends import available
from tsd.runtime.card import NAME, sha256
from tsd.runtime.graph_making import make_card
from tsd.runtime.talker import Talker
from tsd.weights import checkpoint
from tsd.weights.graphs import Graph, graphs_of
from tsd.weights.onnx import to_onnx

log = logging.getLogger(__name__)
STAGES = ("vae", "student", "visemes", "motion")


def check(cfg: DictConfig) -> None:
    """All bad arguments in one error."""
    wrong = below_one(cfg, "calibration_clips", "calibration_frames", "judged_clips")
    missing = (stage for stage in STAGES if stage != "motion" and not cfg.weights[stage])
    wrong += [f"weights.{stage} is missing: a chain without it does not speak" for stage in missing]
    wrong += unreadable((stage, cfg.weights[stage]) for stage in STAGES)
    out = Path(cfg.out)
    if not replaceable(out, NAME):
        wrong.append(f"out={out}: holds something else than an export; give another folder")
    refuse(wrong)


class Export:
    """A folder being filled; ``card`` grows with it."""

    def __init__(self, folder: Path, card: dict):
        self.folder, self.card = folder, card

    def add(self, name: str, content: bytes) -> None:
        (self.folder / name).write_bytes(content)
        self.card["files"][name] = sha256(content)
        self.write_card()

    def write_card(self) -> None:
        (self.folder / NAME).write_text(json.dumps(self.card, indent=2) + "\n")


def read_subjects(cfg: DictConfig, talker: Talker, split: str, count: int) -> list[Subject]:
    """Clips of a split, evenly spread, made ready."""
    dataset, chain = open_split(split, talker.vae.resolution, seed=cfg.seed, **cfg.data), Chain(talker)
    clips = np.unique(np.linspace(0, len(dataset.entries) - 1, min(count, len(dataset.entries))).astype(int))
    read = tqdm(clips.tolist(), desc=f"reading {split} clips", unit="clip", delay=2)
    return [Subject.of(chain, dataset.whole_clip(clip), None, cfg.seed) for clip in read]


def fill(export: Export, cfg: DictConfig, talker: Talker, graphs: dict[str, Graph]) -> None:
    """Weights, graphs, their int8 versions, and how near all of it is to what it came from."""
    for stage in STAGES:
        if cfg.weights[stage]:
            export.add(f"{stage}.safetensors", Path(cfg.weights[stage]).read_bytes())
    models, differences = {}, {}
    for name, graph in tqdm(graphs.items(), desc="exporting", unit="graph"):
        models[name] = to_onnx(graph)
        export.add(f"{name}.onnx", models[name])
        differences[name] = {
            backend: largest_difference(graph, models[name], backend)
            for backend in ("onnxruntime", "openvino")
            if backend in available()
        }
        worst = max(differences[name].values())
        if worst > TOLERANCE:
            raise ValueError(f"{name}: its ONNX graph differs from the net by {worst:.1e}: please report this")
    export.card["differences"] = differences
    if not cfg.int8:
        return export.write_card()
    subjects = read_subjects(cfg, talker, "val", cfg.calibration_clips)
    strength = noise_strength(talker, subjects)
    exported, names = Talker.load(export.folder, "onnxruntime"), {name: list(graphs[name].shapes) for name in QUANTISED}
    heard = calibration_inputs(exported, names, subjects, cfg.calibration_frames, strength, cfg.steps)
    for name, inputs in tqdm(heard.items(), desc="quantising", unit="graph", delay=2):
        export.add(f"{name}-int8.onnx", quantise(models[name], inputs))
    mouth = cfg.weights.get("mouth")
    net = checkpoint.load(mouth, "mouth") if mouth and Path(mouth).is_file() else None
    judged = read_subjects(cfg, talker, "test", cfg.judged_clips)
    backends = quality(export.folder, judged, net, strength, cfg.steps)
    export.card["quality"] = {"split": "test", "clips": len(judged), "steps": cfg.steps, "backends": backends}
    export.write_card()


def run(cfg: DictConfig) -> Path:
    """Write the export to ``cfg.out``, all of it or nothing, and return the folder."""
    check(cfg)
    weights = {stage: cfg.weights[stage] for stage in STAGES}
    talker = Talker.load(weights, "torch")
    graphs = graphs_of(talker.vae, talker.student, talker.recogniser)
    out = Path(cfg.out)
    hashes = {stage: checkpoint.file_hash(path) for stage, path in weights.items() if path}
    with filling(out, NAME) as work:
        card = make_card(talker.vae, talker.student, talker.recogniser, talker.schedules, graphs, hashes)
        fill(Export(work, card), cfg, talker, graphs)
    return out


def describe(card: dict) -> str:
    """One line per backend: what it costs in quality."""
    worst = max(value for found in card["differences"].values() for value in found.values())
    lines = [f"float32 graphs differ from PyTorch by at most {worst:.1e}"]
    rows = card.get("quality", {}).get("backends", {})
    for name, row in rows.items():
        lips = "" if row["mouth_r"] is None else f", lips {row['mouth_r'] - rows['torch']['mouth_r']:+.3f}"
        lines.append(f"{name}: {row['psnr_db'] - rows['torch']['psnr_db']:+.2f} dB{lips}")
    return "\n".join(lines)


@command_line("export")
def main(cfg: DictConfig) -> None:
    torch.set_num_threads(cfg.threads)
    out = run(cfg)
    log.info("%s\n%s", describe(json.loads((out / NAME).read_text())), out)


if __name__ == "__main__":
    main()
