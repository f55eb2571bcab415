"""What is asked of released weights, and what a finished chain's evaluation says of it."""

import math
from dataclasses import dataclass

from tsd.evaluation.report import markdown_table, number, tree_of
from tsd.weights import checkpoint
from tsd.weights.releases import Finished

STEPS = ("k1", "k2", "k4", "k8")
MAIN = "k2"

HELD, MORE = 0.9, "their 95 % interval"
"""K=1 must keep this share of K=2's figure; K=4 and K=8 may be worse than K=2 by no more than their interval."""


@dataclass(frozen=True)
class Asked:
    """What is asked of one figure: ``low`` <= figure <= ``high``."""

    path: str
    words: str
    low: float = -math.inf
    high: float = math.inf

    def reached(self, value: float) -> bool:
        return self.low <= value <= self.high

    def score(self, value: float) -> float:
        """How good a figure is, more being better: itself; where there is an upper bound, 1 inside the bounds, for
        there no value is better than another, and outside the share that it has of the nearest one."""
        if self.high == math.inf:
            return value
        return min(1.0, self.high / value if value > self.high else 1.0, value / self.low if self.low > 0 else 1.0)

    def best(self, low: float, high: float) -> float:
        """The best score of an interval."""
        return max(self.score(end) for end in (low, high, min(max(low, self.low), high)))

    def target(self) -> str:
        low, high = (f"{end:.4g}" for end in (self.low, self.high))
        if self.high == math.inf:
            return f"at least {low}"
        return f"at most {high}" if self.low == -math.inf else f"{low} to {high}"


SPOKEN = [
    Asked("mouth_r", "lips follow the sound (correlation of mouth opening)", 0.92),
    Asked("viseme_ratio", "visemes read, over those read from real frames", 0.9),
    Asked("sync_in_step", "clips whose offset is within one frame", 0.95),
    Asked("temporal_l1_ratio", "temporal L1, over the reconstruction's", 0.85, 1.15),
    Asked("flicker_ratio", "flicker (std over time), over the reconstruction's", 0.85, 1.15),
    Asked("warp_ratio", "warping error, over the reconstruction's (the head as in the clip)", high=1.15),
    Asked("sharpness_ratio_end", "sharpness at the end, over that at the start", 0.85, 1.15),
    Asked("sharpness_end_to_recon", "sharpness at the end, over the reconstruction's there", 0.85, 1.15),
    Asked("id_ratio_end", "identity at the end, over that at the start", 0.97),
]
"""Of speech from pure noise, for every K; ``generate.<k>.<path>``."""

ASKED = [
    Asked("clips", "clips of held-out people", 64),
    Asked("vae.psnr_db", "reconstruction, PSNR in dB", 33),
    Asked("vae.latent_share", "values of a latent, over those of its picture", high=1 / 16),
    Asked("denoise.teacher.psnr_gain_db", "denoising at the paper's noise: the teacher's gain in dB", 8),
    Asked(f"denoise.student.{MAIN}.psnr_gain_db", "the student's gain at K=2 in dB", 7.5),
    Asked(f"denoise.student.{MAIN}.gain_share", "the student's gain, over the teacher's", 0.95),
    Asked(f"generate.{MAIN}.mouth_r_shuffled", "lips against another person's speech", high=0.2),
    Asked(f"long.{MAIN}.id_ratio_end", "two minutes: identity in the last 10 s, over the first", 0.95),
    Asked(f"long.{MAIN}.sharpness_ratio_end", "two minutes: sharpness in the last 10 s, over the first", 0.95),
    Asked(f"cross_identity.{MAIN}.correct", "another's picture: clips nearer to the picture than to the voice", 0.98),
    Asked(f"viseme_swap.{MAIN}.ratio", "another's speech: change in the mouth, over that elsewhere", 5),
    Asked("hours", "hours that `make release` took", high=3),
]

ROWS = {"flicker_ratio": ("generate", "flicker_std_ratio"), "warp_ratio": ("follow", "warp_error_ratio")}
"""Where the evaluation's report has a figure of speech under another name."""


def figures(chain: Finished) -> dict[str, dict]:
    """{path: {"value", "n", "low", "high"}} of everything that is asked and was measured; nan where it was not."""
    report, statistics = chain.report, chain.report["statistics"]
    exact = {"clips": report["clips"]}
    vae = checkpoint.load(chain.weights["vae"], "vae")
    exact["vae.latent_share"] = vae.latent_channels * vae.latent_size**2 / (3 * vae.resolution**2)
    if isinstance(report["seconds"], dict):
        exact["hours"] = sum(report["seconds"].values()) / 3600
    long = report["long"].get(MAIN, {})
    exact |= {f"long.{MAIN}.{name}": long[name] for name in ("id_ratio_end", "sharpness_ratio_end") if name in long}
    found = {path: {"value": value, "n": None, "low": value, "high": value} for path, value in exact.items()}

    def measured(path: str, row: str, metric: str) -> None:
        if summary := statistics.get(row, {}).get(metric):
            known = {name: math.nan if summary[name] is None else summary[name] for name in ("low", "high")}
            value = math.nan if summary["mean"] is None else summary["mean"]
            found[path] = {"value": value, "n": summary["n"], **known}

    measured("vae.psnr_db", "real", "psnr_db")
    for name in ("denoise.teacher", *(f"denoise.student.{k}" for k in STEPS)):
        measured(f"{name}.psnr_gain_db", name, "psnr_gain_db")
    for k in STEPS:
        measured(f"generate.{k}.mouth_r_shuffled", f"generate.{k}", "mouth_r_shuffled")
        for asked in SPOKEN:
            group, metric = ROWS.get(asked.path, ("generate", asked.path))
            measured(f"generate.{k}.{asked.path}", f"{group}.{k}", metric)
    measured(f"cross_identity.{MAIN}.correct", f"cross_identity.{MAIN}", "correct")
    measured(f"viseme_swap.{MAIN}.ratio", f"viseme_swap.{MAIN}", "ratio")
    own, other = (found.get(f"generate.{MAIN}.{name}", {}).get("value") for name in ("mouth_r", "mouth_r_shuffled"))
    if None not in (own, other):
        found[f"generate.{MAIN}.mouth_r_above_shuffled"] = dict.fromkeys(("value", "low", "high"), own - other) | {
            "n": None
        }
    gains = [found.get(f"denoise.{name}.psnr_gain_db", {}).get("value") for name in ("teacher", f"student.{MAIN}")]
    if None not in gains and gains[0] > 0:
        share = gains[1] / gains[0]
        found[f"denoise.student.{MAIN}.gain_share"] = {"value": share, "n": None, "low": share, "high": share}
    return found


ALL = [*ASKED[:7], *(Asked(f"generate.{MAIN}.{a.path}", a.words, a.low, a.high) for a in SPOKEN), *ASKED[7:]]
"""Everything that is asked of drawn people."""


def verdicts(found: dict[str, dict], asked: list[Asked]) -> list[dict]:
    """Every figure that is asked, beside its target; ``reached`` is None where it was not measured."""
    rows = []
    for wanted in asked:
        figure = found.get(wanted.path, {"value": math.nan, "n": None, "low": math.nan, "high": math.nan})
        reached = None if math.isnan(figure["value"]) else wanted.reached(figure["value"])
        rows.append(
            {"figure": wanted.path, "words": wanted.words, "target": wanted.target(), **figure} | {"reached": reached}
        )
    return rows


def compared(found: dict[str, dict]) -> list[dict]:
    """Each figure of speech at every K against K=2: the figures, and whether K=1 keeps HELD of it and more steps are
    not worse, None where one was not measured."""
    rows = []
    for asked in SPOKEN:
        row = {k: found.get(f"generate.{k}.{asked.path}") for k in STEPS}
        main, verdict = row[MAIN], {}
        for k in (k for k in STEPS if k != MAIN):
            if row[k] is None or main is None or math.isnan(row[k]["value"]) or math.isnan(main["value"]):
                verdict[k] = None
            elif k == "k1":
                verdict[k] = asked.score(row[k]["value"]) >= HELD * asked.score(main["value"])
            else:
                ends = [row[k][end] if math.isfinite(row[k][end]) else row[k]["value"] for end in ("low", "high")]
                verdict[k] = asked.best(*ends) >= asked.score(main["value"])
        values = {k: row[k]["value"] if row[k] else math.nan for k in STEPS}
        rows.append({"figure": asked.path, "words": asked.words, **values, "not_worse": verdict})
    return rows


def make_report(chain: Finished, asked: list[Asked] = ALL) -> dict:
    """The figures in a tree, what is asked of each, and where they come from."""
    found = figures(chain)
    tree = tree_of({path: figure["value"] for path, figure in found.items()})
    rows, steps = verdicts(found, asked), compared(found)
    held = [row["reached"] for row in rows] + [held for row in steps for held in row["not_worse"].values()]
    names = ("identities", "split", "unavailable", "weights", "seconds", "mouth_reader")
    kept = {name: chain.report[name] for name in names if name in chain.report}
    counts = {"asked": len(held), "reached": held.count(True), "not_measured": held.count(None)}
    return tree | {"targets": rows, "steps": steps, "counts": counts} | kept


WORDS = {True: "yes", False: "**no**", None: "not measured"}


def shown(name: str, value: float | None) -> str:
    """As ``number``; a dash also for what JSON has as null."""
    return "–" if value is None else number(name, value)


def to_markdown(report: dict) -> str:
    """Two tables: everything that is asked, and every K against K=2."""
    counts = report["counts"]
    lines = [
        f"{report['clips']} clips of {report['identities']} people, split {report['split']}: {counts['reached']} of "
        f"{counts['asked']} targets reached, {counts['not_measured']} not measured.",
        "",
    ]
    rows = []
    for row in report["targets"]:
        name = row["figure"]
        value = f"{row['value']:g}" if name == "clips" else shown(name, row["value"])
        interval = "" if row["n"] is None else f"{shown(name, row['low'])} to {shown(name, row['high'])}"
        rows.append([row["words"], row["target"], value, interval, row["n"] or "", WORDS[row["reached"]]])
    lines.append(markdown_table(["", "target", "measured", "95 % interval", "clips", "reached"], rows))
    lines += ["", f"Targets: K=1 keeps {HELD:.0%} of K=2's figure; K=4 and K=8 are worse by at most {MORE}:", ""]
    rows = []
    for row in report["steps"]:
        said = {k: f" ({WORDS[held]})" for k, held in row["not_worse"].items()}
        rows.append([row["words"], *(shown("", row[k]) + said.get(k, "") for k in STEPS)])
    lines.append(markdown_table(["from pure noise", "K=1", "K=2", "K=4", "K=8"], rows))
    return "\n".join(lines) + "\n"


SHORT = ("mouth_r", "sync_in_step", "id_ratio_end", "sharpness_ratio_end", "temporal_l1_ratio")
"""Of SPOKEN, for the front page."""


def in_short(report: dict) -> str:
    """The front page's block: a few figures of speech for every K, and what the rest comes to."""
    asked, generate = {row["figure"]: row for row in report["targets"]}, report["generate"]
    lines = [
        f"The weights in `weights/drawn`, measured on {report['clips']} clips of people never seen, from pure noise:",
        "",
    ]
    rows = []
    for name in (SHORT[0], "mouth_r_shuffled", *SHORT[1:]):
        row = asked[f"generate.{MAIN}.{name}"]
        rows.append([row["words"], *(shown("", generate[k].get(name)) for k in STEPS), row["target"]])
    counts, gains = report["counts"], report["denoise"]
    lines += [
        markdown_table(["", "K=1", "K=2", "K=4", "K=8", "target at K=2"], rows),
        "",
        f"Reconstruction {report['vae']['psnr_db']:.1f} dB. Denoising at the paper's noise: teacher "
        f"+{gains['teacher']['psnr_gain_db']:.2f} dB, student at K=2 "
        f"+{gains['student'][MAIN]['psnr_gain_db']:.2f} dB (paper: +5.24 and +4.26, on other data). "
        f"{counts['reached']} of {counts['asked']} targets are reached; "
        "[all of them](experiments/quality/README.md), each with its figure.",
    ]
    return "\n".join(lines) + "\n"
