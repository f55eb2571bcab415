"""What the clips of a corpus are like; the group ``clips`` of conf/prepare.yaml."""

import hashlib
from dataclasses import asdict, dataclass
from pathlib import Path

from tsd.weights import checkpoint


@dataclass(frozen=True)
class Settings:
    """What the clips of a corpus depend on, beside the recordings."""

    root: Path
    size: int = 256
    """Side in pixels of the clips that are made."""
    min_frames: int = 16
    max_seconds: float = 10.0
    """Longer stretches are cut into equal parts."""
    min_face: int = 48
    """Pixels across a face in the source."""
    need_speech: bool = True
    """Reject recordings without sound or speech (clips used where they lie are kept, and counted)."""
    language: str = "en"
    faces: bool = True
    """Find the face in clips that are used as they are: head motion and boxes."""
    look_every: int = 3
    """Look for faces on every n-th frame."""
    flow: bool = True
    """Store the optical flow."""
    recogniser: str = ""
    """Weights of a trained recogniser, for clips whose words are unknown."""
    landmarks: str = ""
    """MediaPipe's face_landmark.tflite (``installed``: that of an installed mediapipe): store how far recorded mouths
    are open."""

    def __post_init__(self):
        least = {"size": 32, "min_frames": 1, "max_seconds": 0.4, "min_face": 1, "look_every": 1}
        if wrong := [f"{key} must be {low} or more, got {getattr(self, key)}" for key, low in least.items()
                     if getattr(self, key) < low]:  # fmt: skip
            raise ValueError("; ".join(wrong))
        if self.landmarks == "installed":
            from tsd.metrics.face_mesh import installed_or_raise  # brings torchmetrics: only where it is asked for

            object.__setattr__(self, "landmarks", str(installed_or_raise()))
        if self.size % 2:
            raise ValueError(f"size must be even, got {self.size}")

    def fingerprint(self) -> str:
        """A hash of everything but the place: work done under other settings is done again."""
        values = asdict(self) | {"root": None}
        if self.recogniser:
            values["recogniser"] = checkpoint.file_hash(self.recogniser)
        if self.landmarks:
            values["landmarks"] = checkpoint.file_hash(self.landmarks)
        return hashlib.sha256(repr(sorted(values.items())).encode()).hexdigest()[:16]
