"""A folder of static files in which a face speaks by itself: graphs, the face finder, and the program of
``program/``, built by npm with the versions of its lock file."""

import gzip
import html
import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np

import tsd
from tsd.browser.limits import Limits
from tsd.media import (
    audio,
    face_finder,
    faces,
    heads,
    label,
    light,
    loudness,
    mouth_mask,
    provenance,
    signals,
    suitability,
)
from tsd.runtime import canvas, card, composing
from tsd.runtime.card import Card
from tsd.runtime.exported import model_of
from tsd.runtime.hearing import LIVE_WAIT
from tsd.runtime.loading import digest_of_card

PROGRAM = Path(__file__).with_name("program")
MARKER = "settings.json"
"""A file that every site holds."""

MOTION = "motion.safetensors"
NETS = ("recogniser", "encoder", "reference", "frames", "step", "decoder")
BUNDLES = ("page", "worker", "service", "microphone")
RUNTIME = ("ort.wasm.min.mjs", "ort-wasm-simd-threaded.mjs")
WASM = "ort-wasm-simd-threaded.wasm"

POLICY = (
    "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; style-src 'self'; img-src 'self' data: blob:; "
    "media-src 'self' blob:; connect-src 'self'; worker-src 'self'; base-uri 'none'; form-action 'none'"
)
"""Nothing is loaded from elsewhere, sent elsewhere or evaluated; WebAssembly is compiled."""

CREDITS = (
    "Nets run by ONNX Runtime Web (MIT), faces found by MTCNN with weights of facenet-pytorch (MIT), files written by "
    "Mediabunny (MPL-2.0)."
)
NPM_IS_MISSING = "npm and node are not installed; install Node.js 20 or newer: `make site` builds its program with them"


def write_site(folder: Path, nets: Card, limits: Limits) -> None:
    """Fill an empty folder. ``nets``: an export, or graphs that are filled from weights. Raises ValueError where the
    program cannot be built."""
    for name in ("nets", "faces", "ort"):
        (folder / name).mkdir()
    write_nets(folder / "nets", nets)
    for path in face_finder.NETS.glob("*.onnx"):
        (folder / "faces" / f"{path.stem}.packed").write_bytes(packed(path.read_bytes()))
    (folder / "mel.bin").write_bytes(audio.mel_filters().astype("<f4").tobytes())
    weights = digest_of_card(nets)
    build_program(folder, weights)
    write_page(folder)
    sizes = {name: (folder / name).stat().st_size for name in loaded(folder)}
    (folder / MARKER).write_text(json.dumps(settings(weights, limits) | {"files": sizes}, indent=1) + "\n")


def write_nets(folder: Path, nets: Card) -> None:
    """Graphs with their weights, the motion bank, and a card of these files."""
    digests = {}
    for name in NETS:
        graph = model_of(nets, name, f"{name}.onnx")
        (folder / f"{name}.packed").write_bytes(packed(graph))
        digests[f"{name}.onnx"] = card.sha256(graph)
    if motion := nets.weights_file("motion"):
        shutil.copyfile(motion, folder / MOTION)
        digests[MOTION] = card.sha256(motion.read_bytes())
    content = {key: value for key, value in nets.content.items() if key not in ("filled", "made_by", "quality")}
    (folder / card.NAME).write_text(json.dumps(content | {"files": digests}, indent=1) + "\n")


def packed(graph: bytes) -> bytes:
    """A graph as it is sent: every fourth byte from the first one on, then from the second one on and so on, by gzip.
    Bytes of weights that resemble each other lie together then, which makes them a sixth smaller."""
    return gzip.compress(b"".join(graph[plane::4] for plane in range(4)), 9, mtime=0)


def loaded(folder: Path) -> Iterator[str]:
    """Files that the page loads when it starts, beside itself."""
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if name.startswith(("nets/", "faces/")) or name in ("mel.bin", "ort/runtime.bin"):
            yield name


def settings(weights: str, limits: Limits) -> dict:
    """Constants of this package that the program uses; see ``program/src/settings.ts``."""
    return {
        "version": tsd.__version__,
        "weights": weights,
        "sound": {
            "hop": audio.HOP,
            "window": audio.WINDOW,
            "mels": signals.MELS,
            "mels_per_frame": signals.MELS_PER_FRAME,
            "floor": audio.FLOOR,
            "log_mean": audio.LOG_MEAN,
            "log_std": audio.LOG_STD,
            "silence": audio.SILENCE,
        },
        "visemes": {"past": signals.VISEME_PAST, "future": signals.VISEME_FUTURE, "live_wait": LIVE_WAIT},
        "hears": signals.HEARS,
        "loudness": {
            "bands": [[band.start, band.stop] for band in loudness.BANDS.values()],
            "memory": loudness.MEMORY,
            "least": loudness.LEAST,
            "range": loudness.RANGE,
            "quiet": loudness.QUIET,
        },
        "faces": {
            "eyes_at": faces.EYES_AT,
            "eyes_to_mouth": faces.EYES_TO_MOUTH,
            "max_roll": float(faces.MAX_ROLL),
            "smallest": faces.SMALLEST,
            "sure": faces.SURE,
            "rival": faces.RIVAL,
            "finder": {
                "smallest": face_finder.SMALLEST,
                "thresholds": list(face_finder.ENOUGH),
                "factor": face_finder.SHRINK,
            },
        },
        "canvas": {
            "reach": canvas.REACH,
            "edge": composing.EDGE,
            "rim": composing.RIM,
            "painted_over": composing.PAINTED_OVER,
            "detail": composing.DETAIL,
            "half": composing.HALF,
            "largest_face": min(canvas.LARGEST_FACE, limits.face_pixels),
            "largest_picture": canvas.LARGEST_PICTURE,
        },
        "mouth": {
            "lower_face": mouth_mask.LOWER_FACE,
            "roundness": mouth_mask.ROUNDNESS,
            "edge": mouth_mask.EDGE,
        },
        "light": {
            "rows": light.FACE[0],
            "columns": light.FACE[1],
            "bright": light.BRIGHT,
            "largest_gain": light.LARGEST_GAIN,
            "coloured": light.COLOURED,
            "luminance": np.asarray(light.LUMINANCE, float).round(6).tolist(),
        },
        "concerns": {
            "turned": heads.TURNED,
            "lean": float(2.5 * faces.MAX_ROLL),
            "small": suitability.SMALL,
        },
        "limits": {"seconds": limits.seconds, "longest_side": 2 * canvas.LARGEST_PICTURE},
        "words": {
            "label": label.TEXT,
            "no_consent": provenance.NO_CONSENT,
            "generated": f"Generated by an algorithm (TempoSyncDiff {tsd.__version__}), not recorded",
        },
    }


def write_page(folder: Path) -> None:
    """index.html and its style."""
    words = {"policy": POLICY, "longest_consent": str(provenance.LONGEST_CONSENT), "credits": CREDITS}
    text = (PROGRAM / "index.html").read_text()
    for key, value in words.items():
        text = text.replace("{{" + key + "}}", html.escape(value))
    (folder / "index.html").write_text(text)
    shutil.copyfile(PROGRAM / "style.css", folder / "style.css")


def build_program(folder: Path, weights: str) -> None:
    """Bundle the program and copy the runtime, in a folder where npm may write."""
    if not shutil.which("npm"):
        raise ValueError(NPM_IS_MISSING)
    with tempfile.TemporaryDirectory() as temporary:
        work = Path(temporary) / "program"
        shutil.copytree(PROGRAM, work, ignore=shutil.ignore_patterns("node_modules"))
        called(work, "npm", "ci", "--prefer-offline")
        version = card.sha256((weights + POLICY).encode() + b"".join(map(Path.read_bytes, sources())))[:16]
        called(
            work,
            *("npx", "--no-install", "esbuild", *(f"src/{name}.ts" for name in BUNDLES)),
            *("--bundle", "--format=esm", "--target=es2022", "--minify", "--legal-comments=none"),
            f"--define:VERSION={json.dumps(version)}",
            f"--define:POLICY={json.dumps(POLICY)}",
            f"--outdir={folder.resolve()}",
        )
        packages = work / "node_modules"
        runtime = packages / "onnxruntime-web" / "dist"
        for name in RUNTIME:
            shutil.copyfile(runtime / name, folder / "ort" / name)
        # Packed by us: not every host packs what it sends, and 14 MB become 4.
        (folder / "ort" / "runtime.bin").write_bytes(gzip.compress((runtime / WASM).read_bytes(), 9, mtime=0))
        (folder / "licences.txt").write_text(licences(packages))


def sources() -> list[Path]:
    """The program's own files: with any other, browsers load the site again."""
    return sorted(path for path in PROGRAM.rglob("*") if path.is_file() and "node_modules" not in path.parts)


def called(work: Path, *command: str) -> None:
    run = subprocess.run(command, cwd=work, capture_output=True, text=True, env=os.environ | {"NO_COLOR": "1"})
    if run.returncode:
        why = next((line for line in reversed((run.stderr + run.stdout).splitlines()) if line.strip()), "no message")
        raise ValueError(f"`{' '.join(command[:3])}` failed ({why.strip()}): it needs a network the first time")


def licences(packages: Path) -> str:
    """Of what the site holds of others."""
    parts = []
    for name in ("onnxruntime-web", "mediabunny"):
        said = json.loads((packages / name / "package.json").read_text())
        texts = [path.read_text() for path in sorted((packages / name).glob("LICENSE*"))]
        parts.append("\n\n".join([f"{name} {said['version']}, {said['license']}", *texts]))
    parts.append("MTCNN, weights of facenet-pytorch (Tim Esler), MIT")
    return ("\n\n" + 40 * "-" + "\n\n").join(parts) + "\n"
