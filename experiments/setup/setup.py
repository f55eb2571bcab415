"""What it takes to start on this machine: installed sizes, the first video, the tests, the demo. Part by part:

    python3 experiments/setup/setup.py talk_extra first_video board    # minutes
    python3 experiments/setup/setup.py tests demo                      # the long ones; nothing else should run beside

Needs Python, git and GNU Make alone: everything else is installed by what is measured. Each part works in a folder of
its own below --work and merges what it found into report.json; ``talk_extra`` into that of experiments/latency, too.
"""

import argparse
import json
import shutil
import subprocess
import sys
import time
import wave
from collections.abc import Callable
from pathlib import Path

STUDY = Path(__file__).resolve().parent
REPO = STUDY.parents[1]
LATENCY = STUDY.with_name("latency") / "report.json"
FACE, SPEECH = (REPO / "experiments" / "quality" / name for name in ("face.png", "speech.wav"))
SECONDS = 10
"""Of speech in the timed calls."""

PLATFORMS = ("manylinux2014_aarch64", "manylinux_2_17_aarch64", "manylinux_2_27_aarch64", "manylinux_2_28_aarch64")
"""Names of 64-bit Arm Linux with a C library of 2018 or later (Raspberry Pi OS 12, Ubuntu 22.04)."""

BY_SOURCE, NEEDED_BY_THEM, SOURCE = ("hydra-core", "omegaconf"), ("packaging", "pyyaml"), "antlr4-python3-runtime"
"""Two take a third that is on the index as a source archive alone: plain Python, which needs no compiler."""

WATCH = """
import resource, subprocess, sys, time
begun = time.perf_counter()
status = subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL).returncode
print(time.perf_counter() - begun, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024)
sys.exit(status)
"""


def watched(*command: str | Path, cwd: Path = REPO) -> tuple[float, float]:
    """Wall seconds and peak MiB of a command, as the small process that starts it sees them: one that is started from
    here would begin with our own peak. Ends as the command does where it fails."""
    argv = [sys.executable, "-c", WATCH, *map(str, command)]
    run = subprocess.run(argv, cwd=cwd, stdout=subprocess.PIPE, text=True)
    if run.returncode:
        raise SystemExit(f"error: {' '.join(map(str, command))} failed with {run.returncode}")
    seconds, peak = run.stdout.split()[-2:]
    return float(seconds), float(peak)


def size_mib(folder: Path) -> float:
    """Of all files below a folder; a file with two names counts once."""
    files = {(s.st_dev, s.st_ino): s.st_size for s in (p.lstat() for p in folder.rglob("*") if not p.is_dir())}
    return sum(files.values()) / 2**20


def speech_of(seconds: int, path: Path) -> Path:
    """The quality study's speech, repeated to so many seconds."""
    with wave.open(str(SPEECH)) as given:
        parameters, frames = given.getparams(), given.readframes(given.getnframes())
    size = seconds * parameters.framerate * parameters.sampwidth * parameters.nchannels
    with wave.open(str(path), "wb") as file:
        file.setparams(parameters)
        file.writeframes((frames * (1 + size // len(frames)))[:size])
    return path


def clone(work: Path) -> Path:
    """What a stranger gets: a fresh clone of what is committed."""
    folder = work / "clone"
    if not folder.exists():
        subprocess.run(["git", "clone", "--quiet", REPO, folder], check=True)
    return folder


def talk_extra(work: Path) -> dict:
    """`pip install .[talk]` in a fresh environment, and `tsd talk` there."""
    environment, out = work / "talk", work / "out"
    shutil.rmtree(environment, ignore_errors=True)
    subprocess.run([sys.executable, "-m", "venv", environment], check=True)
    install = ["-m", "pip", "install", "--quiet", "--constraint", REPO / "constraints.txt", f"{REPO}[talk]"]
    seconds, _ = watched(environment / "bin" / "python", *install)
    if "torch" in {path.name for path in environment.glob("lib/*/site-packages/*")}:
        raise SystemExit("error: the extra `talk` installs PyTorch")
    speech = speech_of(SECONDS, work / "speech.wav")
    usual = [environment / "bin" / "tsd", "talk", FACE, speech, f"out={out}", "name=sample"]
    first, _ = watched(*usual, cwd=work)
    runs = [watched(*usual, cwd=work) for _ in range(3)]
    least = watched(*usual, "memory=least", cwd=work)
    return {
        "install_seconds": seconds,
        "mib_installed": size_mib(environment),
        "first_seconds": first,
        "seconds": sorted(run[0] for run in runs)[1],
        "peak_mib": max(run[1] for run in runs),
        "least_memory": {"seconds": least[0], "peak_mib": least[1]},
    }


def first_video(work: Path) -> dict:
    """`make talk` in a fresh clone, installation included; and again, for ten seconds of speech."""
    shutil.rmtree(work / "clone", ignore_errors=True)
    folder = clone(work)
    speech = speech_of(SECONDS, work / "speech.wav")
    first, _ = watched("make", "talk", f"REF={FACE}", f"AUDIO={SPEECH}", f"PYTHON={sys.executable}", cwd=folder)
    again = [watched("make", "talk", f"REF={FACE}", f"AUDIO={speech}", cwd=folder)[0] for _ in range(3)]
    return {"first_video_minutes": first / 60, "second_call_seconds": sorted(again)[1]}


def full_install(work: Path) -> dict:
    """`make setup` with everything, where it is not done yet."""
    folder = clone(work)
    if (folder / ".venv" / ".installed").is_file():
        return {}
    seconds, _ = watched("make", "setup", f"PYTHON={sys.executable}", cwd=folder)
    sizes = {path.name: size_mib(path) for path in folder.glob(".venv/lib/*/site-packages/*") if path.is_dir()}
    largest = dict(sorted(sizes.items(), key=lambda item: -item[1])[:6])
    total = size_mib(folder / ".venv")
    return {"setup": {"minutes": seconds / 60, "mib_installed": total, "largest_mib": largest}}


def tests(work: Path) -> dict:
    """`make test`, after the installation."""
    return full_install(work) | {"test_minutes": watched("make", "test", cwd=clone(work))[0] / 60}


def demo(work: Path) -> dict:
    """`make demo` from nothing, after the installation."""
    shutil.rmtree(clone(work) / "outputs" / "demo", ignore_errors=True)
    return full_install(work) | {"demo_minutes": watched("make", "demo", cwd=clone(work))[0] / 60}


def wheels(*wanted: str) -> list[str]:
    """Wheels for 64-bit Arm that pip would install for these words of its command line: resolved, not downloaded."""
    command = [sys.executable, "-m", "pip", "install", "--dry-run", "--quiet", "--ignore-installed", "--report", "-"]
    command += ["--target", "none", "--only-binary=:all:", "--constraint", REPO / "constraints.txt"]
    command += ["--implementation=cp", "--python-version=3.11", *(f"--platform={name}" for name in PLATFORMS)]
    run = subprocess.run([*map(str, command), *wanted], capture_output=True, text=True)
    if run.returncode:
        raise SystemExit(f"error: no wheels for all of {', '.join(wanted)}: {run.stderr.strip()[-600:]}")
    return [entry["download_info"]["url"].rsplit("/", 1)[1] for entry in json.loads(run.stdout)["install"]]


def board(_: Path) -> dict:
    """Wheels of everything that talking takes, for 64-bit Arm."""
    import tomllib  # Python 3.11

    wanted = tomllib.loads((REPO / "pyproject.toml").read_text())["project"]["dependencies"]
    rest = [name for name in wanted if name not in BY_SOURCE]
    found = wheels("--no-deps", *BY_SOURCE) + wheels(*rest, *NEEDED_BY_THEM)
    return {"board": {"python": "3.11", "wheels": sorted(found), "source_without_a_compiler": [SOURCE]}}


PARTS: dict[str, Callable[[Path], dict]] = {
    "talk_extra": lambda work: {"talk_extra": talk_extra(work)},
    "first_video": first_video,
    "tests": tests,
    "demo": demo,
    "board": board,
}


def merge(path: Path, found: dict) -> None:
    """Write ``found`` into a report; what it already holds under other keys stays."""
    known = json.loads(path.read_text()) if path.is_file() else {}
    temporary = path.with_name(f".{path.name}.part")
    temporary.write_text(json.dumps(known | found, indent=2) + "\n")
    temporary.replace(path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="+", choices=list(PARTS), metavar="part", help=", ".join(PARTS))
    parser.add_argument("--work", type=Path, default=REPO / "outputs" / "setup")
    parser.add_argument("--out", type=Path, default=STUDY)
    given = parser.parse_args()
    work = given.work.resolve()
    work.mkdir(parents=True, exist_ok=True)
    for part in given.parts:
        begun = time.perf_counter()
        found = PARTS[part](work)
        merge(given.out / "report.json", found)
        if "talk_extra" in found and given.out == STUDY:
            merge(LATENCY, found)
        print(f"{part}: {json.dumps(found)} ({time.perf_counter() - begun:.0f} s)")


if __name__ == "__main__":
    main()
