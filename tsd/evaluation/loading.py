"""What evaluation works with: the nets of a chain, the instruments that measure, the clips of a split."""

from collections.abc import Mapping
from pathlib import Path

from tsd.clip import Clip
from tsd.data.datamodule import ClipDataModule
from tsd.data.dataset import ClipDataset
from tsd.diffusion import many_steps
from tsd.evaluation.clips import Chain, Instruments
from tsd.metrics.face_mesh import FaceMesh
from tsd.metrics.facenet import FaceNet
from tsd.metrics.lpips import find_weights, lpips_net
from tsd.runtime.talker import Talker
from tsd.weights import checkpoint
from tsd.weights.files import schedules_of

NEEDED = ("vae", "visemes", "student")
"""Stages without which a chain does not speak."""

INSTRUMENTS = {"mouth": "mouth_r", "identity": "id_cosine", "sync": "sync_offset", "lipreader": "viseme_accuracy"}
"""Measuring stages, and a column that is unavailable without each."""

FACENET_EVERY = 10
"""FaceNet looks at every tenth frame: it is a hundred times the work of the embedder trained here."""

SPLITS = {"train": None, "val": "validate", "test": "test"}
"""Splits, and what Lightning calls their stage (None: all)."""


def load_instruments(
    weights: Mapping[str, str | None],
    stages: tuple[str, ...] = tuple(INSTRUMENTS),
    facenet: str | None = None,
    face_mesh: str | None = None,
    lpips_weights: str | None = None,
    lpips_backbone: str = "alex",
) -> tuple[Instruments, dict[str, str]]:
    """What measures, and {instrument: hash of its weights}; what has no weights is unavailable and says why.

    ``weights``: {stage: file or None}; ``facenet`` and ``face_mesh`` replace the stages identity and mouth.
    """
    instruments, hashes = Instruments(), {}
    for stage in stages:
        path = weights.get(stage)
        if path and Path(path).is_file():
            setattr(instruments, stage, checkpoint.load(path, stage))
            hashes[stage] = checkpoint.file_hash(path)
        else:
            reason = f"unavailable: no weights.{stage} ({path}); `make train-{stage}` writes them"
            instruments.unavailable[INSTRUMENTS[stage]] = reason
    names = {stage: f"weights.{stage}, hash {digest}" for stage, digest in hashes.items()}
    if facenet:
        instruments.identity, instruments.identity_every = FaceNet(facenet), FACENET_EVERY
        hashes["facenet"] = checkpoint.file_hash(facenet)
        names["identity"] = f"facenet-pytorch's InceptionResnetV1, hash {hashes['facenet']}"
    if face_mesh:
        instruments.mouth = instruments.landmarks = FaceMesh(face_mesh)
        hashes["face_mesh"] = checkpoint.file_hash(face_mesh)
        names["mouth"] = f"MediaPipe's Face Mesh, hash {hashes['face_mesh']}"
    for stage in names:
        instruments.unavailable.pop(INSTRUMENTS[stage], None)
    instruments.embedder, instruments.mouth_reader = (names.get(stage, "none") for stage in ("identity", "mouth"))
    try:
        path = find_weights(lpips_weights, lpips_backbone)
        instruments.lpips = lpips_net(path, lpips_backbone)
        hashes["lpips"] = checkpoint.file_hash(path)
    except FileNotFoundError as error:
        instruments.unavailable["lpips"] = f"unavailable: {error}"
    return instruments, hashes


def load_chain(weights: Mapping[str, str | None], instruments: Instruments) -> Chain:
    """The nets of weights files {stage: path or None}; refused where VAE and teacher or student do not fit."""
    talker = Talker.load({stage: weights[stage] for stage in (*NEEDED, "motion")}, "torch")
    if not weights["teacher"]:
        return Chain(talker, None, instruments)
    teacher = checkpoint.load(weights["teacher"], "teacher")
    checkpoint.check_latents(talker.vae, teacher, weights["vae"], weights["teacher"])
    checkpoint.check_origin(weights["vae"], weights["teacher"])
    return Chain(talker, teacher, instruments, schedules_of(weights["teacher"]).get("many", many_steps()))


def open_split(
    split: str, resolution: int, root: str, manifests: str = "manifests", cache_mb: int = 200, seed: int = 0
) -> ClipDataset:
    """The clips of one of SPLITS with their sound, their frames in ``resolution`` x ``resolution`` pixels."""
    data = ClipDataModule(root, manifests, resolution, window=2, mel=True, cache_mb=cache_mb, seed=seed)
    data.setup(SPLITS[split])
    return data.datasets[split]


def clip_of(dataset: ClipDataset, number: int) -> Clip:
    """A whole clip; ValueError where the motion of its head is not known."""
    clip = dataset.whole_clip(number)
    if not clip.motion_known[0]:
        where = dataset.entries[number].where
        raise ValueError(
            f"{where}: its head's motion is unknown, without which no clip can be followed; prepare it again"
        )
    return clip
