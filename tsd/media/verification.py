"""What can be said of a file: whether its manifest is valid, and whether a mark is in its pixels."""

from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np

from tsd.media import provenance
from tsd.media.container import open_media, upright
from tsd.media.marking import detect


def verify(path: str | Path) -> dict:
    """Plain values: ``file``, ``manifest`` (see ``provenance.Manifest``), ``mark`` and ``sentence``.

    Of a file that was not made here it says that there is no manifest and that no mark is found, never more. A file's
    name does not matter. Raises FileNotFoundError, or ValueError for a folder; what a file holds raises nothing.
    """
    path = Path(path)
    if path.is_dir():
        raise ValueError(f"{path}: is a folder; give one video or picture")
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file")
    picture = provenance.kind_of(path).startswith("image/")
    manifest, found, readable = provenance.read(path), None, True
    try:
        found = None if picture else detect.find(frames_of(path))
    except (ValueError, MemoryError):
        readable = False
    mark = {"found": found is not None}
    if found is not None:
        mark |= {"confidence": found.confidence, "coherence": found.coherence}
        mark |= {"readable": found.readable, "payload": f"{found.payload:08x}", "certainty": found.certainty}
        mark |= {"weights": f"{found.payload >> 16:04x}", "run": f"{found.payload & 0xFFFF:04x}"}
    said = f"{about_manifest(manifest)}; {about_mark(mark, readable, picture)}"
    return {"file": str(path), "manifest": vars(manifest), "mark": mark, "sentence": f"{path.name}: {said}."}


def about_manifest(manifest: provenance.Manifest) -> str:
    if manifest.state == "absent":
        return "no manifest"
    if manifest.state == "broken":
        return "the manifest is not valid: the file was changed after it was signed, or its certificate is not valid"
    who = f"signed by {manifest.signed_by!r}, {'' if manifest.trusted else 'not '}a trusted signer"
    if manifest.said is None:
        return f"a valid manifest of another program, {who}"
    consent = str(manifest.said.get("consent")).rstrip(".")
    return f"the manifest is valid ({who}) and says that the file was generated, of consent: {consent}"


def about_mark(mark: dict, readable: bool, picture: bool) -> str:
    if mark["found"]:
        payload = f"payload {mark['payload']}" if mark["readable"] else "too weak to read its payload"
        return f"a mark is found ({payload}, confidence {mark['confidence']:.6f})"
    if picture:
        return "a mark is looked for in videos only"
    return "no mark found" if readable else "no mark found, for its pictures cannot be read"


def frames_of(path: Path) -> Iterator[tuple[float, np.ndarray]]:
    """(seconds, uint8 [H, W, 3]) of the first picture stream, as far as it can be decoded and keeps its size."""
    with open_media(path) as container:
        if not container.streams.video:
            return
        shape = None
        try:
            for frame in container.decode(video=0):
                picture = upright(frame)
                shape = shape or picture.shape
                if frame.time is None or picture.shape != shape:
                    return
                yield frame.time, picture
        except (av.error.FFmpegError, OSError):
            return
