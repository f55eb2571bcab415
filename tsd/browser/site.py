"""A folder of static files in which a face speaks by itself: an export, the face finder, and the program of
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
from tsd.clip import MELS, MELS_PER_FRAME, VISEME_FUTURE, VISEME_PAST
from tsd.export.face_finder import graphs_of_finder
from tsd.media import audio, face_finder, faces, heads, label, light, loudness, mouth_mask, provenance, suitability
from tsd.runtime import canvas, card, composing
from tsd.runtime.card import Card
from tsd.weights.onnx import to_onnx

PROGRAM = Path(__file__).with_name("program")
MARKER = "settings.json"
"""A file that every site holds."""

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


def write_site(folder: Path, export: Card, limits: Limits) -> None:
    """Fill an empty folder. Raises ValueError where the program cannot be built."""
    for name in ("nets", "faces", "ort"):
        (folder / name).mkdir()
    for name in (*(f"{net}.onnx" for net in NETS), "motion.safetensors"):
        if name in export.content["files"] or name != "motion.safetensors":
            shutil.copyfile(export.file(name), folder / "nets" / name)
    shutil.copyfile(export.folder / card.NAME, folder / "nets" / card.NAME)
    for name, graph in graphs_of_finder().items():
        (folder / "faces" / f"{name}.onnx").write_bytes(to_onnx(graph))
    (folder / "mel.bin").write_bytes(audio.mel_filters().astype("<f4").tobytes())
    weights = card.sha256((export.folder / card.NAME).read_bytes())
    build_program(folder, weights)
    write_page(folder)
    sizes = {name: (folder / name).stat().st_size for name in loaded(folder)}
    (folder / MARKER).write_text(json.dumps(settings(weights, limits) | {"files": sizes}, indent=1) + "\n")


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
            "mels": MELS,
            "mels_per_frame": MELS_PER_FRAME,
            "floor": audio.FLOOR,
            "log_mean": audio.LOG_MEAN,
            "log_std": audio.LOG_STD,
            "silence": audio.SILENCE,
        },
        "visemes": {"past": VISEME_PAST, "future": VISEME_FUTURE},
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
