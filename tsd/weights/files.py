"""Weights files as files: their hashes, and the JSON card in their headers. Nothing here needs PyTorch."""

import hashlib
import json
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open

from tsd.diffusion import Schedule

STAGES = ("vae", "visemes", "identity", "teacher", "student", "mouth", "sync", "sync_loss", "lipreader", "motion")
"""Names of all stages: what ``checkpoint.NETS`` has a net for."""


def file_hash(path: str | Path) -> str:
    """First 16 hex digits of the file's SHA-256: names weights in caches and cards."""
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()[:16]


def latents_of(path: str | Path) -> str:
    """The hash of the VAE whose encoder makes these latents: its own, unless its decoder alone was trained."""
    kept = read_header(path, "vae")["card"].get("latents_of")
    return kept if isinstance(kept, str) else file_hash(path)


def is_known_as(path: str | Path, stage: str, wanted: str) -> bool:
    """Whether this weights file is the one of hash ``wanted``, or a VAE of the same latents."""
    return wanted == file_hash(path) or (stage == "vae" and wanted == latents_of(path))


def read_header(path: str | Path, stage: str | None = None) -> dict:
    """{"stage", "arguments", "card"} of a weights file; ``stage`` refuses the weights of another one."""
    path = Path(path)
    if not path.is_file():
        made_by = "`make prepare`" if stage == "motion" else f"`make train-{stage}`" if stage else "tsd.commands.train"
        raise FileNotFoundError(
            f"no {stage or 'weights'} weights at {path}: {made_by} writes them (weights=demo: those of `make demo`)"
        )
    if path.suffix == ".ckpt":
        raise ValueError(f"{path} is a training checkpoint: give the weights.safetensors that its run wrote instead")
    try:
        with safe_open(path, "np") as file:
            header = json.loads((file.metadata() or {}).get("tsd", "null"))
    except (SafetensorError, OSError, ValueError, RecursionError) as error:
        raise ValueError(f"{path} is not a readable weights file ({error}): train or copy it again") from error
    if not is_header(header):
        raise ValueError(f"{path} carries no card of this project: give a weights.safetensors of a training")
    if stage is not None and header["stage"] != stage:
        raise ValueError(f"{path} holds weights of stage '{header['stage']}', but stage '{stage}' is needed here")
    return header


def is_header(header) -> bool:
    """Whether a file's JSON has the form that ``save`` writes."""
    kinds = {"stage": str, "arguments": dict, "card": dict}
    fits = isinstance(header, dict) and all(isinstance(header.get(key), kind) for key, kind in kinds.items())
    return fits and header["stage"] in STAGES


def read_arrays(path: str | Path, stage: str) -> dict[str, np.ndarray]:
    """The arrays of a weights file by name, real numbers as float32. Raises FileNotFoundError or ValueError."""
    read_header(path, stage)
    try:
        with safe_open(path, "np") as file:
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError, TypeError, ValueError) as error:
        raise ValueError(f"{path} is not a readable weights file ({error}): train or copy it again") from error
    return {name: x.astype(np.float32) if x.dtype == np.float16 else x for name, x in arrays.items()}


def schedules_of(path: str | Path) -> dict[str, Schedule]:
    """The steps that are stored with the weights of a denoiser, by name."""
    schedules = read_header(path)["card"].get("schedules", {})
    try:
        return {name: Schedule(tuple(s)) for name, s in schedules.items()}
    except (AttributeError, TypeError, ValueError) as error:
        raise ValueError(f"{path} has a card with schedules that are none ({error}): train it again") from error
