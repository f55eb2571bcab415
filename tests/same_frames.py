"""Whether weights give the same frames in two versions of the program, level for level.

    python tests/same_frames.py weights/drawn frames.npz    # in the one checkout: writes the file
    python tests/same_frames.py weights/drawn frames.npz    # in the other: compares with it, exit code 1 if any differs

Two seconds of experiments/quality/speech.wav by experiments/quality/face.png with one and with two steps, one seed, no
invisible mark, one thread of PyTorch. Run both on the same machine: other processors round otherwise.
"""

import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

import numpy as np  # noqa: E402
import torch  # noqa: E402

from tsd.media.audio import load_audio  # noqa: E402
from tsd.runtime.talker import Talker  # noqa: E402

QUALITY, SECONDS, STEPS = ROOT / "experiments" / "quality", 2, ("k1", "k2")


def frames(weights: str) -> dict[str, np.ndarray]:
    """{steps: uint8 [T, H, W, 3]}."""
    torch.set_num_threads(1)
    talker = Talker.load(weights, "torch")
    talker.marked = False
    talker.set_reference(QUALITY / "face.png")
    wave = load_audio(QUALITY / "speech.wav")[: SECONDS * 16000]
    return {steps: talker.video(wave, steps, seed=0) for steps in STEPS}


def main(weights: str, path: str) -> int:
    made = frames(weights)
    if not Path(path).exists():
        np.savez(path, **made)
        print(f"wrote {path}: {made['k1'].shape} each")
        return 0
    before, worst = np.load(path), 0
    for steps, now in made.items():
        differs = np.abs(now.astype(int) - before[steps].astype(int))
        worst = max(worst, differs.max())
        share = np.count_nonzero(differs) / differs.size
        print(f"{steps}: {now.shape}, {100 * share:.2f} % of all values differ, by at most {differs.max()} levels")
    return int(worst > 0)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
