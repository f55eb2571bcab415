"""Send runs of Weights & Biases that were written to disk: ``make wandb-sync``, ``-m tsd.training.upload outputs``.

``--while PID`` sends one run as it grows, until that process has ended: training never waits for a server.
"""

import argparse
import os
import subprocess
import sys
import time
from pathlib import Path

PATIENCE = 120
"""Seconds that the last part of a growing run may take after its training has ended."""


def wandb(*arguments: str) -> list[str]:
    return [str(Path(sys.executable).parent / "wandb"), "beta", "sync", "--yes", *arguments]


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except OSError:
        return False
    return True


def send_while(run: str, pid: int) -> int:
    """Send a growing run; at most PATIENCE seconds after its process has ended, this one ends too."""
    sender = subprocess.Popen(wandb("--live", run))
    while alive(pid) and sender.poll() is None:
        time.sleep(1)
    try:
        return sender.wait(PATIENCE)
    except subprocess.TimeoutExpired:
        sender.kill()
        return 1


def unsent(folder: str) -> list[str]:
    """Run directories below ``folder`` that were written offline."""
    return sorted({str(path.parent) for path in Path(folder).rglob("wandb/offline-run-*/*.wandb")})


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", nargs="?", default="outputs")
    parser.add_argument("--while", dest="pid", type=int)
    given = parser.parse_args()
    if given.pid:
        return send_while(given.folder, given.pid)
    runs = unsent(given.folder)
    if not runs:
        print(f"no runs written offline below {given.folder}: train with logger=wandb first")
        return 0
    return subprocess.run(wandb("--skip-synced", *runs)).returncode


if __name__ == "__main__":
    sys.exit(main())
