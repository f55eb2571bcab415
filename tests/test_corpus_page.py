"""The page about a corpus says what the corpus is."""

import re

import numpy as np
import pytest
from mini_corpus import disc_corpus

from tsd.clip import VISEMES
from tsd.evaluation.page.corpus import drawing, write_corpus_page
from tsd.prepare.manifests import write_jsonl


def test_a_page_of_a_corpus(tmp_path):
    root = disc_corpus(tmp_path / "corpus")
    rows = [{"video": f"{i}.mp4", "reason": f"only {i} frames, fewer than min_frames=16"} for i in range(5)]
    rows.append({"video": "<b>.mp4", "reason": "no face is seen"})
    write_jsonl(root / "manifests" / "rejected.jsonl", rows)
    path = write_corpus_page(root)
    html = path.read_text()
    assert path == root / "manifests" / "report.html"
    assert "8 clips of 4 people" in html and "6 inputs or parts" in html
    assert re.search(r"only n frames, fewer than min_frames=n</td><td[^>]*>5</td>", html)
    assert "no face is seen" in html and "8 npy" in html
    assert html.count("<figure") == 1 + 8 and html.count("data:image/jpeg") == 1 + 8
    assert all(f">{viseme}</text>" in html for viseme in VISEMES)
    assert "<script" not in html and "http" not in html.replace("http-equiv", "")
    assert write_corpus_page(root).read_text() == html  # drawn by a seed


def test_visemes_are_drawn_where_they_are():
    labels = np.zeros((10, len(VISEMES)))
    labels[:4, 1], labels[4:6, 10] = 1, 1
    svg = drawing(np.ones(6400, np.float32), labels)
    assert re.findall(r'<rect x="([\d.]+)" y="82" width="([\d.]+)"', svg) == [("0.0", "400.0"), ("400.0", "200.0")]
    assert drawing(np.zeros(0, np.float32), labels).count("<rect") == 2


def test_a_folder_that_is_not_prepared_says_so(tmp_path):
    with pytest.raises(FileNotFoundError, match="no manifests; prepare the corpus"):
        write_corpus_page(tmp_path)
