"""What the nets reach on recorded people never seen: ``python experiments/real/real.py`` after the recipe real.

Reads the evaluation's report in the finished chain's folder; writes report.json and the table in README.md. No picture
of the people is kept here.
"""

import argparse
import sys
from pathlib import Path

from tsd.evaluation.report import filled, to_json
from tsd.media.atomic import write_file
from tsd.weights.releases import read_finished

STUDY = Path(__file__).resolve().parent
REPO = STUDY.parents[1]
sys.path.append(str(STUDY.parent / "quality"))
from targets import MAIN, Asked, make_report, to_markdown  # noqa: E402

ASKED = [
    Asked("vae.psnr_db", "reconstruction, PSNR in dB", 30),
    Asked(f"generate.{MAIN}.mouth_r", "lips follow the sound (correlation of mouth opening)", 0.5),
    Asked(f"generate.{MAIN}.mouth_r_above_shuffled", "the same, above that for another person's speech", 0.3),
    Asked(f"generate.{MAIN}.id_ratio_end", "identity at the end, over that at the start", 0.9),
]
"""Of recorded people, with a mouth's opening as the chain's evaluation reads it in the real frames."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("chain", type=Path, nargs="?", default=REPO / "outputs" / "real")
    try:
        chain = read_finished(parser.parse_args().chain)
    except (ValueError, FileNotFoundError) as error:
        raise SystemExit(f"error: {error}") from None
    report = make_report(chain, ASKED)
    table = to_markdown(report)
    page = STUDY / "README.md"
    write_file(page, filled(page.read_text(), "python experiments/real/real.py", table).encode())
    write_file(STUDY / "report.json", to_json(report).encode())
    print(table)


if __name__ == "__main__":
    main()
