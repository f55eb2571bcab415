"""The page opens without a network and says what the report says, of both kinds."""

import io
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import jsonschema
import matplotlib.pyplot as plt
import numpy as np
import pytest
from PIL import Image

from tsd.evaluation.page import page, write_page
from tsd.evaluation.page.charts import interval_chart, line_chart
from tsd.evaluation.pairs.report import NOTES, left_out_part
from tsd.evaluation.pairs.run import LeftOut
from tsd.evaluation.report import to_json
from tsd.evaluation.report.figure import figure_png

ROOT = Path(__file__).parents[1]
SCHEMA = json.loads((ROOT / "docs" / "eval_report.schema.json").read_text())
VOID = {"meta", "img"}
HOSTILE = '<script src="https://evil.example/x.js">&"'


class Reader(HTMLParser):
    """Tags in pairs, what they point to, and the texts."""

    def __init__(self, text: str):
        super().__init__()
        self.open, self.tags, self.targets, self.texts = [], [], [], []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.targets += [value for name, value in attributes if name in ("src", "href", "action", "data", "srcset")]
        assert not any(name.startswith("on") for name, _ in attributes)
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.tags.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.texts.append(data)


def summary(mean: float, n: int = 4) -> dict:
    return {"n": n, "left_out": 0, "mean": mean, "std": 0.1, "low": mean - 0.1, "high": mean + 0.1}


def verdict(holds: bool) -> dict:
    check = {"expected": "real > shifted", "n": 4, "difference": 0.1, "low": -0.2, "high": 0.3, "holds": holds}
    return {"usable": holds, "checks": [check]}


def pairs_report() -> dict:
    metrics = {"psnr_db": 30.0, "ssim": 0.9, "mouth_r": 0.8, "sharpness_ratio": 0.7, "fvd": float("nan")}
    rows = {"generated": metrics} | {
        name: {k: v / (i + 1) for k, v in metrics.items()}
        for i, name in enumerate(("real", "shifted", "frozen", "blurred", "swapped"))
    }
    rows["real"]["psnr_db"] = 100.0
    track = {"real": [0.1, 0.2, float("nan"), 0.3], "generated": [0.1, 0.1, 0.2, 0.2]}
    file = {"name": HOSTILE, "generated": "a.mp4", "frames": 75, "frames_beyond": 1, "size": [64, 48]}
    file |= {"generated_size": [32, 24], "fps": 25.0, "generated_fps": 29.97, "crop": "off", "sound": "none: silent"}
    left_out = [LeftOut("pairs", f"{HOSTILE}{i}.mp4", "refused", f"reason {HOSTILE}") for i in range(60)]
    return {
        "kind": "pairs",
        "pairs": 4,
        "left_out": left_out_part(left_out),
        **rows,
        "statistics": {row: {metric: summary(mean) for metric, mean in found.items()} for row, found in rows.items()},
        "controls": {"psnr_db": verdict(True), "mouth_r": verdict(False)},
        "unavailable": {"lpips": f"unavailable: get it {HOSTILE}"},
        "networks": {"identity": "weights.identity"},
        "weights": {"identity": "0123456789abcdef"},
        "notes": list(NOTES),
        "files": [file | {"scores": metrics | {"psnr_db": 30.0 + i}} for i in range(4)],
        "tracks": [{"name": HOSTILE, "fps": 25, "sharpness": track, "mouth_open": track}],
        "folders": {"pairs": "g", "real": "r"},
        "settings": {"crop": True, "length_tolerance": 0.5, "seed": 0, "version": 1},
        "seconds": 1.0,
    }


def chain_report() -> dict:
    """One that a run of this project wrote, with what newer ones have beside it."""
    report = json.loads((ROOT / "experiments" / "demo" / "report.json").read_text())
    windows = [{"second": 10.0 * i, "id_cosine": 0.9 - 0.01 * i, "sharpness": 0.01} for i in range(12)]
    return report | {
        "controls": {"mouth_r": verdict(False), "sharpness": verdict(True)},
        "unavailable": {"lpips": "unavailable: no weights"},
        "cross_identity": {"k2": {"correct": 0.9, "id_cosine": 0.8, "id_cosine_speech": 0.1}},
        "viseme_swap": {"k2": {"ratio": 12.0}},
        "long": {"k2": {"seconds": 120, "id_ratio_end": 0.99, "windows": windows}},
    }


@pytest.fixture(params=[pairs_report, chain_report], ids=["pairs", "chain"])
def report(request) -> dict:
    return json.loads(to_json(request.param()))


def test_reports_have_the_published_form(report):
    jsonschema.validate(report, SCHEMA)
    del report["statistics"]
    with pytest.raises(jsonschema.ValidationError, match="statistics"):
        jsonschema.validate(report, SCHEMA)


def test_published_report_has_the_published_form():
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    jsonschema.validate(json.loads((ROOT / "experiments" / "demo" / "report.json").read_text()), SCHEMA)


def test_a_page_is_whole_and_needs_nothing_else(report, tmp_path):
    picture = Image.fromarray(np.full((40, 60, 3), 128, np.uint8))
    write_page(tmp_path / "report.json", report, picture)
    text = (tmp_path / "report.html").read_text()
    reader = Reader(text)
    assert {"script", "link", "iframe", "object"} & set(reader.tags) == set()
    assert len(reader.targets) == 1 and reader.targets[0].startswith("data:image/jpeg;base64,")
    assert not re.search(r"url\(|@import", text)
    outside_texts = re.sub(r">[^<]*<|title=\"[^\"]*\"", "", text)
    assert "://" not in outside_texts
    assert "default-src 'none'" in text and "prefers-color-scheme: dark" in text
    assert "svg" in reader.tags and "table" in reader.tags
    assert len(Reader(page(report)).targets) == 0  # without a sheet


def test_the_pairs_page_says_what_the_report_says():
    reader = Reader(page(json.loads(to_json(pairs_report()))))
    text = " ".join(reader.texts)
    for part in ("4 pairs scored; left out: 60 refused", "30.00", "100.00", "and 10 more, in the JSON", "64 x 48"):
        assert part in text, part
    assert "not usable on this data" in text and text.count("real > shifted") == 1
    assert HOSTILE in text and "capped at 100 dB" in text and "unavailable" in text
    assert "null" not in text and "nan" not in text


def test_the_chains_page_says_what_the_report_says():
    report = json.loads(to_json(chain_report()))
    text = " ".join(Reader(page(report)).texts)
    mouth = report["generate"]["k2"]["mouth_r"]
    for part in (
        f"{mouth:#.3g}",
        "student k2",
        "recon",
        "120 s from one picture",
        "90% of clips",
        "12.0 times as much",
    ):
        assert part in text, part
    assert "not usable on this data" in text


def test_charts_show_intervals_ideals_and_gaps():
    report = pairs_report()
    chart = interval_chart(report, "sharpness_ratio", {"generated": "made", "real": "true"}, ["real"])
    assert chart.count('class="ideal"') == 1 and chart.count("each") == 4 and chart.count('class="control"') == 2
    assert interval_chart(report, "fvd", {"generated": "made"}, []) == ""
    capped = interval_chart(report, "psnr_db", {"generated": "made", "real": "true"}, ["real"])
    assert "made" in capped and "true" not in capped
    curve = line_chart({"a": ("main", [0.0, 1.0, None, float("nan"), 2.0, 2.0])}, 0.24)
    assert curve.count("M") == 2 and "0.24 s" in curve
    assert line_chart({"a": ("main", [None])}, 1) == ""
    long = line_chart({"a": ("main", list(np.sin(np.arange(100_000))))}, 4000)
    assert len(long) < 10_000


def test_a_figure_is_a_small_picture_and_is_closed():
    figure, axes = plt.subplots(figsize=(4, 3))
    axes.plot(range(5), label="risen")
    axes.legend()
    with Image.open(io.BytesIO(figure_png(figure, dpi=90))) as picture:
        assert (
            picture.size == (360, 270) and picture.mode == "P" and picture.convert("RGB").getpixel((0, 0)) == (255,) * 3
        )
        assert len(picture.getcolors()) > 5, "something is drawn"
    assert not plt.get_fignums()
