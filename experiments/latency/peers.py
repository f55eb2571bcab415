"""How many times as fast as the paper's public code and as Wav2Lip is a chain on this processor?

    .venv/bin/python experiments/latency/peers.py weights/people --public <checkout> --wav2lip <checkout>

The checkouts are those of mazumdarsoumya/TempoSyncDiff and Rudrabha/Wav2Lip; their nets have random weights, which cost
what trained ones cost. All are timed in one process, in turns, on the same threads. Writes ``ratio_to_public_code`` and
``peers`` into report.json of this folder.
"""

import argparse
import importlib.util
import json
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import ModuleType

import torch

from tsd.bench.counting import made_up_speaker, made_up_speech
from tsd.bench.machine import pinned
from tsd.bench.timing import in_turns
from tsd.media.atomic import write_file
from tsd.runtime.talker import Talker

STUDY = Path(__file__).resolve().parent
CHUNK = 8
FRAMES = 64
"""Of ours in one call: the first and the last chunk of a stream take longer."""
STEPS = (2, 4, 8)


def net_of(checkout: Path, file: str) -> ModuleType:
    """A module of the package ``models`` of a checkout. Both peers have one of this name."""
    name = checkout.name.replace("-", "_").replace("+", "_")
    spec = importlib.util.spec_from_file_location(
        name, checkout / "models" / "__init__.py", submodule_search_locations=[str(checkout / "models")]
    )
    if spec is None or not (checkout / "models" / f"{file}.py").is_file():
        raise SystemExit(f"error: {checkout}: has no models/{file}.py; give a checkout")
    sys.modules.setdefault(name, ModuleType(name)).__path__ = [str(checkout / "models")]
    return importlib.import_module(f"{name}.{file}")


def public_code(checkout: Path) -> dict[str, Callable]:
    """{"public.k2": CHUNK frames of 128 x 128 from noise, …}: its denoiser as often as K says, its decoder once."""
    denoiser = net_of(checkout, "teacher_unet").TinyUNet(latent_dim=64, cond_dim=64).eval()
    vae = net_of(checkout, "vae").TinyVAE(latent_dim=64).eval()
    sampler = net_of(checkout, "student_sampler").StudentSampler
    z, condition = torch.randn(CHUNK, 64, 32, 32), torch.randn(CHUNK, 64)

    def made(steps: int) -> Callable:
        of_steps = sampler(denoiser, steps=steps)

        @torch.no_grad()
        def frames() -> torch.Tensor:
            return vae.decode(of_steps.sample(z, condition))

        assert frames().shape == (CHUNK, 3, 128, 128)
        return frames

    return {f"public.k{steps}": made(steps) for steps in STEPS}


def wav2lip(checkout: Path) -> dict[str, Callable]:
    """{"wav2lip": CHUNK frames of 96 x 96}."""
    net = net_of(checkout, "wav2lip").Wav2Lip().eval()
    mel, faces = torch.randn(CHUNK, 1, 80, 16), torch.rand(CHUNK, 6, 96, 96)

    @torch.no_grad()
    def frames() -> torch.Tensor:
        return net(mel, faces)

    return {"wav2lip": frames}


def ours(folder: Path, backends: list[str], threads: int) -> dict[str, Callable]:
    """{"onnxruntime.k1": FRAMES frames from sound to picture, …}."""
    jobs = {}
    for backend in backends:
        talker = Talker.load(folder, backend, threads)
        talker.reference, talker.marked = made_up_speaker(talker), False

        jobs |= {f"{backend}.k{steps}": partial(spoken, talker, steps) for steps in (1, *STEPS)}
    return jobs


def spoken(talker: Talker, steps: int) -> int:
    return sum(len(piece) for piece in talker.stream([made_up_speech(FRAMES)], f"k{steps}", CHUNK))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("weights", type=Path)
    parser.add_argument("--public", type=Path, required=True, metavar="CHECKOUT")
    parser.add_argument("--wav2lip", type=Path, required=True, metavar="CHECKOUT")
    parser.add_argument("--backends", nargs="+", default=["onnxruntime", "openvino", "auto"])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--out", type=Path, default=STUDY)
    args = parser.parse_args()
    with pinned(args.threads):
        own = ours(args.weights, args.backends, args.threads)
        jobs = own | public_code(args.public) | wav2lip(args.wav2lip)
        spent = in_turns(jobs, args.rounds)
    ms = {name: each / (FRAMES if name in own else CHUNK) for name, each in spent.items()}
    for name, each in ms.items():
        print(f"{name:24s} {each:7.2f} ms a frame")
    best = {f"k{steps}": min(ms[f"{backend}.k{steps}"] for backend in args.backends) for steps in (1, *STEPS)}
    ratios = {f"k{steps}": ms[f"public.k{steps}"] / best[f"k{steps}"] for steps in STEPS}
    print("times as fast as the public code: " + ", ".join(f"{name} {ratio:.1f}" for name, ratio in ratios.items()))
    report = args.out / "report.json"
    known = json.loads(report.read_text()) if report.is_file() else {}
    known |= {"ratio_to_public_code": ratios, "peers": {"threads": args.threads, "rounds": args.rounds, "ms": ms}}
    write_file(report, (json.dumps(known, indent=2) + "\n").encode())


if __name__ == "__main__":
    main()
