"""The fit of the control ``loudness`` on recorded people of a prepared corpus's train split."""

from pathlib import Path

import numpy as np
from tqdm import tqdm

from tsd.data.manifest import Entry, manifest_path, read_manifest
from tsd.evaluation.clips.choice import spread
from tsd.evaluation.wild.loudness import Loudness
from tsd.media.atomic import write_file
from tsd.media.audio import load_audio, log_mel
from tsd.media.video import read_frames
from tsd.metrics.face_mesh import SHA256, FaceMesh

FILE = Path(__file__).with_name("loudness.json")


def fit(root: Path, mesh: FaceMesh, clips_each: int) -> dict:
    """Fits ``Loudness`` on at most ``clips_each`` clips of every training person below ``root``, writes FILE, and
    returns how it was made. ValueError where the corpus holds no recorded people."""
    chosen = choose(list(read_manifest(manifest_path(root, "train"), root)), clips_each)
    if not chosen:
        raise ValueError(f"loudness={root}: its train split holds no recorded people, only drawn ones")
    pairs = []
    for entry in tqdm(chosen, desc="reading lips", unit="clip"):
        pairs.append((log_mel(load_audio(entry.video)), mesh.lips(read_frames(entry.video))))
    people = sorted({entry.identity for entry in chosen})
    made = {
        "people": people,
        "clips": len(chosen),
        "frames": int(np.sum([len(lips) for _, lips in pairs])),
        "landmarks": f"face_landmark.tflite of mediapipe 0.10.21, SHA-256 {SHA256}",
        "command": f'make evaluate ARGS="loudness=<corpus> loudness_clips={clips_each}"',
    }
    write_file(FILE, Loudness.fit(pairs).to_json(made).encode())
    return made


def choose(entries: list[Entry], clips_each: int) -> list[Entry]:
    """Recorded clips, at most ``clips_each`` of a person, evenly spread."""
    people: dict[str, list[Entry]] = {}
    for entry in entries:
        if entry.truth is None:
            people.setdefault(entry.identity, []).append(entry)
    return [clips[i] for clips in people.values() for i in spread(len(clips), clips_each)]
