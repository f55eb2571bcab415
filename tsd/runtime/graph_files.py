"""Graphs of weights files: beside released weights, or made before and kept in the user's cache.

Such a graph holds no weights, for these lie in the weights files already: they are put in when the graph is opened. So
a release grows by a few hundred kilobytes, and whoever has it talks without PyTorch.
"""

import hashlib
import json
import logging
import os
from collections.abc import Mapping
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np

import tsd
from tsd.runtime.card import NAME, Card
from tsd.weights.files import file_hash, read_header

log = logging.getLogger(__name__)
FOLDER = "graphs"
"""Of a release, beside its weights."""

STAGES = ("student", "vae", "visemes")
"""What graphs are made of."""

MAKERS = ("torch", "onnx", "onnxscript")
"""Packages whose version decides what a graph looks like."""


def find(weights: Mapping[str, str | Path | None]) -> Card | None:
    """The graphs of these weights files {stage: path}, beside the VAE or in the cache; None where there are none, or
    where they are broken or of other weights. Of weights without a student or recogniser only those beside them.
    Raises FileNotFoundError or ValueError for what are no weights of these stages."""
    for stage in STAGES:
        if weights.get(stage):
            read_header(weights[stage], stage)
    if weights.get("teacher") and not weights.get("student"):
        return None
    whole = all(weights.get(stage) for stage in STAGES)
    for folder in [Path(weights["vae"]).parent / FOLDER, *([cached(weights)] if whole else [])]:
        if (folder / NAME).is_file():
            try:
                return opened(folder, weights)
            except (ValueError, OSError) as error:
                log.warning("%s: the graphs there are of no use (%s)", folder, error)
    return None


def opened(folder: Path, weights: Mapping[str, str | Path | None]) -> Card:
    """The graphs of a folder, to be filled from weights files. ValueError unless they were made of these and every file
    is the one that was written."""
    card, given = Card.read(folder, weights), [stage for stage in STAGES if weights.get(stage)]
    made_of = card.content.get("weights", {})
    if wrong := [stage for stage in given if made_of.get(stage) != file_hash(weights[stage])]:
        raise ValueError(f"made of another {', '.join(wrong)}; `python -m tsd.commands.graphs` makes them again")
    for name in card.content["files"]:
        card.file(name)
    return card


def cached(weights: Mapping[str, str | Path | None]) -> Path:
    """Where graphs of these weights are kept for this user: another folder for other weights, another version of the
    packages that make graphs, or of the nets' own source."""
    hashes = {stage: file_hash(weights[stage]) for stage in STAGES}
    key = hashlib.sha256(json.dumps([hashes, versions()], sort_keys=True).encode()).hexdigest()[:32]
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return home / "temposyncdiff" / FOLDER / key


@cache
def versions() -> dict[str, str]:
    """What makes graphs: installed packages, and the source of nets and graphs."""
    source = hashlib.sha256()
    for room in ("nets", "weights"):
        for path in sorted((Path(tsd.__file__).parent / room).glob("*.py")):
            source.update(path.read_bytes())
    return {name: installed(name) for name in MAKERS} | {"source": source.hexdigest()}


def installed(package: str) -> str:
    """Its version; empty where it is not installed."""
    try:
        return version(package)
    except PackageNotFoundError:
        return ""


def with_weights(model: bytes, arrays: Mapping[str, np.ndarray]) -> bytes:
    """An ONNX model with ``arrays`` float32 as further constants, by their names in the graph.

    Two serialised protocol buffers one after the other are one message that has the fields of both. So a model that
    holds the constants and nothing else is written behind, without the package ``onnx``.
    """
    constants = b"".join(_field(5, _constant(name, array)) for name, array in arrays.items())  # GraphProto.initializer
    return model + _field(7, constants)  # ModelProto.graph


def _constant(name: str, array: np.ndarray) -> bytes:
    """A TensorProto: dims, data_type 1 (float), name, raw_data."""
    dims = b"".join(_number(1 << 3) + _number(size) for size in array.shape)
    raw = np.ascontiguousarray(array, "<f4").tobytes()
    return dims + _number(2 << 3) + _number(1) + _field(8, name.encode()) + _field(9, raw)


def _field(number: int, content: bytes) -> bytes:
    """A field of bytes of a protocol buffer."""
    return _number(number << 3 | 2) + _number(len(content)) + content


def _number(value: int) -> bytes:
    """Seven bits a byte, the lowest first; all but the last have their highest bit set."""
    parts = bytearray()
    while value > 127:
        parts.append(value & 127 | 128)
        value >>= 7
    return bytes([*parts, value])
