"""Makes the graphs of weights files, without weights inside (``graph_files``). Takes PyTorch and the extra `export`."""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path

from tqdm import tqdm

from tsd.clip import FPS, MOTION, SAMPLE_RATE, VISEMES
from tsd.media.atomic import filling, replaceable
from tsd.runtime.card import FORMAT, NAME, Card, sha256
from tsd.runtime.graph_files import STAGES, cached, opened, versions
from tsd.runtime.hearing import look_ahead_ms
from tsd.weights import checkpoint
from tsd.weights.files import file_hash, read_arrays, schedules_of
from tsd.weights.graphs import Graph, graphs_of, memory_shapes
from tsd.weights.onnx import to_onnx, without_weights

OF_STAGE = {"recogniser": "visemes", "encoder": "vae", "decoder": "vae"}
"""Stages whose weights a graph has; the others have the student's."""


def make_card(vae, student, visemes, schedules: dict, graphs: dict[str, Graph], hashes: dict[str, str]) -> dict:
    """Everything that an application in any language has to know; documented in docs/export.md."""
    return {
        "format": FORMAT,
        "resolution": vae.resolution,
        "painted": list(vae.painted),
        "latents": {
            "channels": vae.latent_channels,
            "size": vae.latent_size,
            "mean": vae.latent_mean.tolist(),
            "std": vae.latent_std.tolist(),
        },
        "fps": FPS,
        "sample_rate": SAMPLE_RATE,
        "visemes": list(VISEMES),
        "motion": list(MOTION),
        "schedules": {name: list(schedule.strengths) for name, schedule in schedules.items()},
        "hears": student.hears,
        "look_ahead": visemes.look_ahead,
        "recogniser_memory": visemes.memory_size,
        "look_ahead_ms": look_ahead_ms(visemes),
        "memory": memory_shapes(student),
        "graphs": {name: {"inputs": graph.shapes, "outputs": graph.outputs} for name, graph in graphs.items()},
        "weights": hashes,
        "files": {},
    }


def write(folder: Path, weights: Mapping[str, str | Path | None]) -> None:
    """Fill an empty folder with the graphs of weights files {stage: path} and their card."""
    nets = {stage: checkpoint.load(weights[stage], stage) for stage in STAGES}
    checkpoint.check_latents(nets["vae"], nets["student"], weights["vae"], weights["student"])
    checkpoint.check_origin(weights["vae"], weights["student"])
    graphs = graphs_of(nets["vae"], nets["student"], nets["visemes"])
    hashes = {stage: file_hash(weights[stage]) for stage in STAGES}
    schedules = schedules_of(weights["student"])
    card = make_card(nets["vae"], nets["student"], nets["visemes"], schedules, graphs, hashes)
    card |= {"made_by": versions(), "filled": {}}
    for name, graph in tqdm(graphs.items(), desc="making graphs, once", unit="graph", delay=2):
        stage = OF_STAGE.get(name, "student")
        model, taken = without_weights(to_onnx(graph), read_arrays(weights[stage], stage))
        (folder / f"{name}.onnx").write_bytes(model)
        card["files"][f"{name}.onnx"] = sha256(model)
        card["filled"][name] = {"stage": stage, "constants": taken}
    (folder / NAME).write_text(json.dumps(card, indent=1) + "\n")


def make(weights: Mapping[str, str | Path | None]) -> Card:
    """Graphs of weights files, made and kept in the cache. Raises ValueError or OSError where they cannot be kept."""
    folder = cached(weights)
    folder.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    if not replaceable(folder, NAME):  # what is left of a broken one; no other program names a folder so
        shutil.rmtree(folder)
    with filling(folder, NAME) as work:
        write(work, weights)
    return opened(folder, weights)
