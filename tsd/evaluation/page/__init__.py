"""A report as one HTML page that opens without a network: tables, intervals, curves, and the contact sheet inside."""

from pathlib import Path

from markupsafe import Markup
from PIL import Image

from tsd.evaluation.page.charts import interval_chart, line_chart
from tsd.evaluation.page.elements import (
    NOTHING,
    document,
    doubt,
    figure,
    figures,
    finite,
    html_table,
    items,
    paragraph,
    picture,
    plain_table,
    section,
    text_number,
    value,
)
from tsd.evaluation.pairs.report import FACES, NOTES, PIXELS, TITLES, counted
from tsd.evaluation.report import CONTROLS, DENOISE_COLUMNS, GENERATE_COLUMNS
from tsd.evaluation.report.tables import FOLLOW_COLUMNS, LONG_COLUMNS
from tsd.evaluation.wild import report as wild
from tsd.media.atomic import write_file

LISTED = 50
"""Rows of a long list that the page shows; the JSON has all."""


def write_page(path: Path, report: dict, sheet: Image.Image | None) -> None:
    """``page`` beside the report ``path``: the same name, .html."""
    write_file(path.with_suffix(".html"), page(report, sheet).encode())


def page(report: dict, sheet: Image.Image | None = None) -> str:
    """The page of a report of any kind, new or read back from its JSON."""
    pages = {"pairs": pairs_page, "wild": wild_page}
    return pages.get(report.get("kind"), chain_page)(report, sheet)


def chain_page(report: dict, sheet: Image.Image | None) -> str:
    """A chain of weights on held-out clips."""
    statistics = report["statistics"]
    denoise = {name: title(name) for name in statistics if name.startswith("denoise.")}
    generate = {name: title(name) for name in statistics if name.startswith(("generate.", "marked."))}
    followed = {name: title(name) for name in statistics if name.startswith("follow.")}
    controls = {name: name.replace("_", " ") for name in CONTROLS}
    same_pose = {name: text for name, text in controls.items() if name != "other_speech"}
    if own := denoise.pop("denoise.recon", None):  # the reconstruction of the very frames that were denoised
        same_pose["denoise.recon"] = f"{own}, same frames"
    denoising = f"Denoising, from noise of strength {report['denoise']['strength']:.3f}"
    following = "Speaking, from pure noise, the head as in the clip"
    return document(
        "Evaluation",
        f"{report['clips']} clips of {report['identities']} people, split {report['split']}. Grey rows are controls: "
        "videos whose faults are known. Intervals of 95 %; a broken line marks the ideal of a ratio.",
        section("Contact sheet", picture(sheet, "real above, generated below")),
        measured(report, "Speaking, from pure noise", GENERATE_COLUMNS, generate | controls, controls),
        measured(report, denoising, DENOISE_COLUMNS, denoise | same_pose, same_pose),
        measured(report, following, FOLLOW_COLUMNS, followed, ["follow.recon"]),
        section("Exchanged speech and faces", exchanged(report)),
        *(long_run(name, run) for name, run in report.get("long", {}).items()),
        verdicts(report),
        provenance(report),
    )


def pairs_page(report: dict, sheet: Image.Image | None) -> str:
    """Generated videos against real ones."""
    titles = {name: text.strip("*") for name, text in TITLES.items()}
    controls = [name for name in titles if name != "generated"]
    rows = [
        [item["name"], item["frames"], "{} x {}".format(*item["size"]), "{} x {}".format(*item["generated_size"])]
        + [item["fps"], item["generated_fps"], *(item["scores"].get(name) for name in SCORES)]
        + [item["crop"], item["sound"]]
        for item in report["files"]
    ]
    left_out = [[item["folder"], item["file"], item["kind"], item["reason"]] for item in report["left_out"]["files"]]
    return document(
        "Generated videos against real ones",
        f"{report['pairs']} pairs scored; left out: {counted(report['left_out'])}. Grey rows are controls made of the "
        "real videos. Intervals of 95 %; faint dots are single videos, a broken line marks the ideal of a ratio.",
        section("Contact sheet", picture(sheet, "real above, generated below")),
        measured(report, "Pictures", PIXELS, titles, controls),
        measured(report, "Faces", FACES, titles, controls),
        section("Over time", over_time(report)),
        section("Left out", listed(["folder", "file", "kind", "reason"], left_out)),
        section("Videos", listed([*HEADS, *({**PIXELS, **FACES}[name] for name in SCORES), "crop", "sound"], rows)),
        verdicts(report),
        section("What the numbers are", items(NOTES)),
        provenance(report),
    )


def wild_page(report: dict, sheet: Image.Image | None) -> str:
    """Generated lips beside those of real clips of any kind."""
    titles = {name: text.strip("*") for name, text in wild.titles(report).items()}
    controls = [name for name, text in wild.TITLES.items() if text.startswith("*")]
    first, heads = report["schedules"][0], ["lips_r", "width_r", "amplitude", "closure_recall"]
    rows = [
        [item["name"], item["frames"], "yes" if item["text"] else "no", *(item["rows"][first].get(h) for h in heads)]
        + [item["rows"].get("loudness", {}).get("lips_r")]
        for item in report["files"]
    ]
    left_out = [[item["file"], item["reason"]] for item in report["left_out"]["files"]]
    heads = ["name", "frames", "text", *(f"{first}: {name}" for name in heads), "loudness: lips_r"]
    return document(
        "Lips on real clips",
        f"{report['clips']} clips judged; left out: {counted(report['left_out'])}. Grey rows are controls. Intervals "
        "of 95 % by clip; a broken line marks the ideal of a ratio.",
        section("Contact sheet", picture(sheet, "real above, generated below")),
        measured(report, "Lips", wild.COLUMNS, titles, controls),
        section("Lip gap over time", over_time(report, (("lips", "lip gap"),))),
        section("Clips", listed(heads, rows)),
        section("Left out", listed(["file", "reason"], left_out)),
        section("What the numbers are", items(report["notes"])),
        provenance(report),
    )


HEADS = ("name", "frames", "compared at", "generated at", "fps", "generated fps")
SCORES = ("psnr_db", "ssim", "lpips", "motion_ratio", "sharpness_ratio", "id_cosine", "mouth_r", "sync_offset")
"""Columns of the list of videos."""


def title(row: str) -> str:
    """generate.k2 -> student k2; denoise.student.k2 likewise."""
    leaf = row.split(".")[-1]
    if row == "denoise.noisy":
        return "noisy latents"
    if row.startswith("marked."):
        return f"student {leaf}, with the invisible mark"
    return f"student {leaf}" if leaf[:1] == "k" and leaf[1:].isdigit() else leaf


def measured(report: dict, heading: str, columns: dict[str, str], rows: dict[str, str], controls) -> Markup:
    """A section with the table of ``rows``, and an interval chart for every column that some row has."""
    charts = (
        figure(title, interval_chart(report, metric, rows, controls), doubt(report, metric))
        for metric, title in columns.items()
    )
    return section(heading, html_table(report, rows, columns, controls) if rows else NOTHING, figures(charts))


def exchanged(report: dict) -> Markup:
    """Cross identity and viseme swap, a line each."""
    lines = [
        f"Another's picture with this clip's speech, student {name}: nearer to the picture's person in "
        f"{value(row['correct']):.0%} of clips."
        for name, row in report.get("cross_identity", {}).items()
    ]
    lines += [
        f"Other speech, student {name}: per pixel the mouth changes {text_number('', row['ratio'])} times as much as "
        "the rest."
        for name, row in report.get("viseme_swap", {}).items()
    ]
    return items(lines)


def long_run(name: str, run: dict) -> Markup:
    """Curves of one long run over its windows."""
    seconds, made = run["seconds"], []
    for column, heading in LONG_COLUMNS.items():
        track = [window.get(column) for window in run["windows"]]
        if column != "second" and finite(track):
            made.append(figure(heading, line_chart({heading: ("main", track)}, seconds)))
    return section(f"{seconds:g} s from one picture, student {name}", figures(made))


def over_time(report: dict, shown=(("mouth_open", "mouth opening"), ("sharpness", "sharpness"))) -> Markup:
    """Curves of the shown videos, of each (track, its heading): the real one's in grey."""
    made = []
    for tracks in report["tracks"]:
        for track, heading in shown:
            if track in tracks:
                found = {"real": ("control", tracks[track]["real"]), "generated": ("main", tracks[track]["generated"])}
                seconds = len(tracks[track]["real"]) / tracks["fps"]
                made.append(figure(f"{tracks['name']}: {heading}", line_chart(found, seconds)))
    return figures(made)


def verdicts(report: dict) -> Markup:
    """What could not be measured, and every expectation of a metric that is not usable."""
    heads, rows = ["metric", "expected", "difference", "low", "high", "n"], []
    known = {metric for summaries in report["statistics"].values() for metric in summaries}
    judged = {metric: verdict for metric, verdict in report.get("controls", {}).items() if metric in known}
    for metric, verdict in judged.items():
        for check in verdict["checks"]:
            if not check["holds"]:
                rows.append([metric, check["expected"], check["difference"], check["low"], check["high"], check["n"]])
    usable = ", ".join(metric for metric, verdict in judged.items() if verdict["usable"]) or "none"
    missing = items(f"{metric}: {reason}" for metric, reason in report.get("unavailable", {}).items())
    failed = [paragraph("Expectations that do not hold:", "warn"), plain_table(heads, rows)] if rows else []
    return section("Can the metrics be believed?", paragraph(f"Rank their controls: {usable}."), *failed, missing)


def provenance(report: dict) -> Markup:
    """What the report was made of."""
    nets = report.get("networks") or {name: f"weights {digest}" for name, digest in report["weights"].items()}
    lines = [f"{name}: {text}" for name, text in (nets | report["settings"]).items()]
    return section("Made of", items([*lines, f"seconds: {report['seconds']}"]))


def listed(heads: list[str], rows: list[list[object]]) -> Markup:
    """A table of the first rows, and how many more there are; empty without rows."""
    if not rows:
        return NOTHING
    more = len(rows) - LISTED
    note = paragraph(f"and {more} more, in the JSON", "soft") if more > 0 else NOTHING
    return plain_table(heads, rows[:LISTED]) + note
