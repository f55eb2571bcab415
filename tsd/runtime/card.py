"""The card of an export, beside its graphs: everything that an application has to know."""

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tsd.diffusion import Schedule

NAME, FORMAT = "card.json", 5
PLAIN = re.compile(r"[A-Za-z0-9_]+(-[a-z0-9]+)?\.(onnx|safetensors)")
"""Form of the names of an export's files: they lie beside the card, so no name may lead elsewhere."""
KINDS = {
    "resolution": int,
    "painted": list,
    "latents": dict,
    "look_ahead": int,
    "recogniser_memory": int,
    "schedules": dict,
    "files": dict,
}


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def is_part(window: list, side: int) -> bool:
    """Whether a window is [top, bottom, left, right] in pixels of a square."""
    if len(window) != 4 or any(type(edge) is not int for edge in window):
        return False
    top, bottom, left, right = window
    return 0 <= top < bottom <= side and 0 <= left < right <= side


@dataclass(frozen=True)
class Card:
    """A card read and checked; ``content`` as tsd.export documents it."""

    folder: Path
    content: dict
    weights: Mapping[str, str | Path] = field(default_factory=dict)
    """Weights files {stage: path} that graphs without weights are filled from (``graph_files``)."""

    @classmethod
    def read(cls, path: str | Path, weights: Mapping[str, str | Path] | None = None) -> "Card":
        """The card of an export, given by its folder or itself. Raises FileNotFoundError or ValueError."""
        path = Path(path)
        path = path / NAME if path.is_dir() else path
        if not path.is_file():
            raise FileNotFoundError(f"{path}: no such file; `make export` writes it")
        try:
            content = json.loads(path.read_text())
        except (OSError, ValueError, RecursionError) as error:
            raise ValueError(f"{path} is not a readable card ({error}): export or copy it again") from error
        if not isinstance(content, dict) or content.get("format") != FORMAT:
            raise ValueError(f"{path} is no card of format {FORMAT}: export it again with this version")
        wrong = [key for key, kind in KINDS.items() if not isinstance(content.get(key), kind)]
        if not wrong and not is_part(content["painted"], content["resolution"]):
            wrong = ["painted"]
        if wrong:
            raise ValueError(f"{path} holds no usable {', '.join(wrong)}: export it again")
        if strange := [name for name in content["files"] if not PLAIN.fullmatch(name)]:
            raise ValueError(f"{path} names {strange[0]}, which is no file of an export: export it again")
        return cls(path.parent, content, weights or {})

    @property
    def schedules(self) -> dict[str, Schedule]:
        try:
            return {name: Schedule(tuple(strengths)) for name, strengths in self.content["schedules"].items()}
        except (TypeError, ValueError) as error:
            raise ValueError(f"{self.folder / NAME} holds schedules that are none ({error}): export again") from error

    def weights_file(self, stage: str) -> Path | None:
        """The weights of a stage beside the graphs; None where there are none."""
        if self.weights:
            return None if self.weights.get(stage) is None else Path(self.weights[stage])
        name = f"{stage}.safetensors"
        return self.file(name) if name in self.content["files"] else None

    def file(self, name: str) -> Path:
        """Path of a file of the export. ValueError if it is not the file that the card was written for."""
        path = self.folder / name
        if name not in self.content["files"]:
            known = ", ".join(self.content["files"])
            raise ValueError(f"{self.folder} holds no {name}; it holds {known}: export it again with what you need")
        if not path.is_file():
            raise FileNotFoundError(f"{path}: no such file; export or copy the folder again, whole")
        if sha256(path.read_bytes()) != self.content["files"][name]:
            raise ValueError(f"{path} is not the file that {NAME} was written for (SHA-256 differs): export it again")
        return path
