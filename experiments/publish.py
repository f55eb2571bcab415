"""Copy a finished demo into experiments/demo and its numbers into that page and the README: ``make readme``.

The numbers stand between two marker lines and come from experiments/demo/report.json alone, so that a test can tell
whether they are current.
"""

import argparse
import json
import shutil
from pathlib import Path

from PIL import Image

from tsd.evaluation.report import filled, markdown_table
from tsd.media.atomic import write_file

REPO = Path(__file__).resolve().parent.parent
STUDY = REPO / "experiments" / "demo"
TARGETS = {
    "mouth_r": ("lips follow the sound (correlation of mouth opening)", ">= 0.85"),
    "mouth_r_shuffled": ("the same with another clip's speech", "<= 0.3"),
    "id_ratio_end": ("same person after 3 s (identity, end / start)", ">= 0.9"),
    "sharpness_ratio_end": ("as sharp after 3 s (sharpness, end / start)", ">= 0.9"),
}


def minutes(report: dict) -> float:
    return sum(report["seconds"].values()) / 60


def in_short(report: dict) -> str:
    """The README's paragraph, from a report."""
    speech, denoise = report["generate"]["k2"], report["denoise"]
    return (
        f"The demo took {minutes(report):.1f} minutes on two cores. On {report['clips']} clips of unseen people, K=2: "
        f"lips follow the sound at {speech['mouth_r']:.2f} (real frames {report['real']['mouth_r']:.2f}, another "
        f"clip's speech {speech['mouth_r_shuffled']:.2f}), denoising gains {denoise['teacher']['psnr_gain_db']:.2f} dB "
        f"(teacher) and {denoise['student']['k2']['psnr_gain_db']:.2f} dB (student).\n"
    )


def numbers(report: dict) -> str:
    """The block of Markdown of experiments/demo/README.md, from a report."""
    student, teacher = report["denoise"]["student"]["k2"], report["denoise"]["teacher"]
    lines = [
        f"Measured on {report['clips']} clips of held-out people, voices and sentences, from pure noise:",
        "",
    ]
    rows = [
        [words, *(f"{report['generate'][k][key]:.2f}" for k in ("k1", "k2", "k4", "k8")), target]
        for key, (words, target) in TARGETS.items()
    ]
    lines += [
        markdown_table(["", "K=1", "K=2", "K=4", "K=8", "target at K=2"], rows),
        "",
        f"The metric itself gives, on real held-out frames, {report['real']['mouth_r']:.2f}. Denoising at the "
        f"paper's noise (noisy decode {report['denoise']['noisy']['psnr_db']:.2f} dB): teacher "
        f"+{teacher['psnr_gain_db']:.2f} dB, student K=2 +{student['psnr_gain_db']:.2f} dB (paper: +5.24 and +4.26, on "
        f"other data). The whole demo took {minutes(report):.1f} minutes on two cores.",
        "",
    ]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("demo", type=Path, nargs="?", default=REPO / "outputs" / "demo")
    demo = parser.parse_args().demo
    if not (demo / "report.json").is_file():
        raise SystemExit(f"error: {demo / 'report.json'} is missing: run `make demo` first")
    for name in ("report.json", "report.md", "sample.mp4"):
        shutil.copyfile(demo / name, STUDY / name)
    with Image.open(demo / "sheet.png") as sheet:
        sheet.convert("RGB").save(STUDY / "sheet.jpg", quality=80, subsampling=0)  # a fifth of the PNG
    report = json.loads((STUDY / "report.json").read_text())
    for page, block in ((REPO / "README.md", in_short(report)), (STUDY / "README.md", numbers(report))):
        write_file(page, filled(page.read_text(), "make readme", block).encode())


if __name__ == "__main__":
    main()
