"""What the lips of many real clips say together: statistics, the table, the notes."""

import numpy as np

from tsd.clip import FPS
from tsd.evaluation.pairs.matching import LeftOut
from tsd.evaluation.pairs.report import left_out_part
from tsd.evaluation.report import nest, summarise_rows, table
from tsd.metrics import Summary, summarise
from tsd.metrics.lips import CLOSED, NEAR

COLUMNS = {
    "lips_r": "lips r",
    "lips_r_shuffled": "r, other speech",
    "width_r": "width r",
    "amplitude_ratio": "amplitude ratio",
    "amplitude_off": "amplitude off by",
    "opened_ratio": "open ratio",
    "lag": "lag",
    "in_step": "in step",
    "closure_recall": "p b m closed",
    "false_closures": "closed elsewhere",
}
"""Metric -> its heading."""

TITLES = {
    "live": "with less sound awaited, as live",
    "aligned": "visemes of the text, same nets",
    "real": "*real, same size*",
    "late": "*real, 3 frames late*",
    "loudness": "*loudness alone*",
    "silence": "silence, over the reference",
    "music": "music, over the reference",
}
"""Rows beside the schedules; controls in italics."""

NOTES = (
    "lips r: correlation over time of the gap between the lips with that of the real clip, both over the distance of "
    "the eyes; width r: the same of the distance of the corners of the mouth.",
    "r, other speech: the real lips beside the videos of all other people's clips, on average.",
    "Amplitude ratio: std over time of the gap, mean over clips over the mean of the real clips'; ideal 1. Amplitude "
    "off by: the mean factor, up or down, between a clip's own and its real one's; ideal 1. Open ratio: of the mean "
    "gap, likewise mean over mean.",
    "Lag in frames of 40 ms, positive where the lips are late; in step: share of clips within one frame.",
    f"p b m closed: share of these sounds, placed by forced alignment of the text, during which the gap is in the "
    f"lowest {CLOSED:.0%} of the real clip's range, at most {NEAR} frame beside them; closed elsewhere: share of other "
    "frames of speech, away from f, v and silence. Only clips with a text that fits.",
    "Loudness alone: a linear fit from three loudness numbers a frame, seven frames, on recorded people of a training "
    "corpus (tsd/evaluation/wild/loudness.json).",
    "Silence, music: the mean gap of two seconds that are generated from them, over that of the reference picture, "
    "mean over mean.",
)


def statistics_of(parts: list[dict], seed: int) -> dict[str, dict[str, Summary]]:
    """{row: {metric: Summary}} over clips, with the ratios to the real clips."""
    truths = [
        {"amplitude": float(np.std(gap)), "opened": float(np.mean(gap))}
        for gap in (part["lips"]["truth"][:, 0] for part in parts)
    ]
    found = summarise_rows([part["rows"] for part in parts], seed)
    for name, summaries in found.items():
        having = [
            (part["rows"][name], truth) for part, truth in zip(parts, truths, strict=True) if name in part["rows"]
        ]
        amplitudes, real = (np.array([values[side]["amplitude"] for values in having]) for side in (0, 1))
        with np.errstate(divide="ignore"):
            factors = np.exp(np.abs(np.log(np.maximum(amplitudes, 1e-4) / np.maximum(real, 1e-4))))
        summaries["amplitude_ratio"] = summarise(amplitudes, real, seed)
        summaries["amplitude_off"] = summarise(factors, seed=seed)
        opened, real = (np.array([values[side]["opened"] for values in having]) for side in (0, 1))
        summaries["opened_ratio"] = summarise(opened, real, seed)
    gaps = {name: np.array([part["gap"][name] for part in parts]) for name in ("reference", "silence", "music")}
    for name in ("silence", "music"):
        found[name] = {"opened_ratio": summarise(gaps[name], gaps["reference"], seed)}
    return found


def make_report(parts: list[dict], left_out: list[LeftOut], schedules: list[str], seed: int) -> dict:
    """All numbers of a folder; ``parts`` as ``Run`` leaves them."""
    statistics = statistics_of(parts, seed)
    return {
        "kind": "wild",
        "clips": len(parts),
        "clips_with_text": sum(part["text"] for part in parts),
        "schedules": schedules,
        "left_out": left_out_part(left_out),
        **nest(statistics),
        "statistics": statistics,
        "notes": list(NOTES),
        "files": [
            {key: part[key] for key in ("name", "person", "frames", "text", "rows")}
            | {"scores": part["rows"][schedules[0]]}
            for part in parts
        ],
        "tracks": [tracks_of(part, schedules[0]) for part in parts],
    }


def tracks_of(part: dict, schedule: str) -> dict:
    """The gap over time of one clip, real and generated."""
    lips = {"real": part["lips"]["truth"], "generated": part["lips"][schedule]}
    gaps = {name: track[:, 0].round(4).tolist() for name, track in lips.items()}
    return {"name": part["name"], "fps": FPS, "lips": gaps}


def titles(report: dict) -> dict[str, str]:
    """Row -> its title: the schedules first."""
    return {name: f"student {name}" for name in report["schedules"]} | TITLES


def to_markdown(report: dict) -> str:
    """The table, the intervals of what matters most, the notes, and what was left out."""
    statistics, shown = report["statistics"], titles(report)
    text = f"# Lips on {report['clips']} real clips, {report['clips_with_text']} of them with a text\n\n"
    text += table(statistics, shown, COLUMNS) + "\n\n"
    for name in (name for name in shown if "lips_r" in statistics.get(name, {})):
        found = statistics[name]["lips_r"]
        text += (
            f"- {shown[name].strip('*')}: lips r {found['mean']:.3f}, 95 % {found['low']:.3f} to {found['high']:.3f}, "
        )
        text += f"{found['n']} clips\n"
    text += "\nRows in italics are controls. All intervals are in the JSON beside this file.\n\n"
    text += "".join(f"- {note}\n" for note in [*report["notes"], *networks(report)])
    files = report["left_out"]["files"]
    text += f"\n## Left out: {len(files)}\n\n"
    return text + "".join(f"- {item['file']}: {item['reason']}\n" for item in files)


def networks(report: dict) -> list[str]:
    """What generates and what reads, by name."""
    return [f"{name}: {network}" for name, network in report.get("networks", {}).items()]
