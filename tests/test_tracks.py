"""Raw video to clips: a folder as the world has it, and the parts of following a head."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from mixed_folder import People, mixed_folder

from tsd.data.manifest import manifest_path, read_manifest
from tsd.data.tracks import load_tracks
from tsd.media.audio import load_audio
from tsd.media.crops import crop, in_squares, squares
from tsd.media.faces import EYES_AT, EYES_TO_MOUTH, Landmarks
from tsd.media.heads import Head, follow, rivals
from tsd.media.video import read_frames, video_info
from tsd.prepare import work
from tsd.prepare.collect import Splits, collect
from tsd.prepare.pieces import Piece, fault
from tsd.prepare.recording import Recording
from tsd.prepare.settings import Settings
from tsd.prepare.sources import folder
from tsd.prepare.work import prepare_recording


@pytest.fixture(scope="module")
def people(tmp_path_factory):
    return People(tmp_path_factory.mktemp("people"))


@pytest.fixture(scope="module")
def mixed(people, tmp_path_factory):
    """(input folder, what must become of each file, prepared corpus, its root)."""
    root = tmp_path_factory.mktemp("mixed")
    expected = mixed_folder(root / "in", people)
    settings = Settings(root / "out", size=128, look_every=10)
    corpus = collect(folder.find(root / "in"), settings, workers=0, splits=Splits(0.25, 0.25, 0))
    return root / "in", expected, corpus, root / "out"


def test_every_input_is_used_or_listed_with_its_reason(mixed):
    videos, expected, corpus, root = mixed
    inputs = {p.relative_to(videos).as_posix() for p in videos.rglob("*") if p.is_file() and p.suffix != ".txt"}
    done = {row["name"]: row for row in map(json.loads, (root / "manifests/done.jsonl").open())}
    assert inputs == set(expected) == set(done)
    for name, row in done.items():
        reasons = [item["reason"] for item in row["rejected"]]
        if expected[name] == "used":
            assert row["clips"] and not reasons, f"{name}: {reasons}"
        else:
            assert not row["clips"] and reasons and all(expected[name] in reason for reason in reasons), (name, reasons)
    assert corpus.rejected == [item for name in sorted(done) for item in done[name]["rejected"]]


def test_clips_are_what_training_expects(mixed):
    _, _, corpus, root = mixed
    entries = [e for s in ("train", "val", "test") for e in read_manifest(manifest_path(root, s), root)]
    assert len(entries) == len(corpus.records) == 9  # seven whole videos and two shots of one
    for entry in entries:
        info = video_info(entry.video)
        assert (info.fps, info.height, info.width, info.num_frames) == (25, 128, 128, entry.frames)
        assert len(load_audio(entry.video)) == entry.frames * 640
        tracks = load_tracks(entry)
        eyes, mouth = tracks.motion[:, :4].reshape(-1, 2, 2).mean(1), tracks.mouth_box.reshape(-1, 2, 2).mean(1)
        assert np.abs(eyes.mean(0) - EYES_AT).max() < 0.05, entry.key
        assert abs((mouth - eyes)[:, 1].mean() - EYES_TO_MOUTH) < 0.06, entry.key
        assert np.isnan(tracks.mouth_open).all()
    assert {e.identity for e in entries} == {"anna", "ben", "two_shots"}
    assert abs(max(e.frames for e in entries) - 40) <= 2


def test_a_cut_ends_a_clip(mixed, people):
    _, _, corpus, root = mixed
    shots = [r for r in corpus.records if r["identity"] == "two_shots"]
    assert [r["frames"] for r in shots] == [40, 40]
    first, second = (read_frames(root / r["video"]).mean((1, 2)) for r in shots)
    for shot in (first, second):  # no frame of the other person inside
        assert np.abs(np.diff(shot, axis=0)).max() < 5
    assert np.abs(first[-1] - second[0]).max() > 5


def test_what_source_says_of_words_reaches_the_clip(mixed):
    _, _, corpus, _ = mixed
    texts = {r["video"].split("/")[-1].split("-")[0]: r["text"] for r in corpus.records}
    assert texts["anna_h264_24_mp4"] == "maybe five people" and texts["anna_mpeg4_2997_avi"] == ""


def _face(x: float, y: float = 100.0, size: float = 60.0, nose: float = 0.0) -> Landmarks:
    points = [[x - 15, y - 10], [x + 15, y - 10], [x + nose, y + 2], [x - 12, y + 18], [x + 12, y + 18]]
    box = [x - size / 2, y - size / 2, x + size / 2, y + size / 2]
    return Landmarks(np.float32(points), np.float32(box), 1.0)


def test_heads_are_followed_through_gaps_and_not_over_cuts():
    looked = [(t, [_face(50 + t), _face(250 - t)] if t != 12 else [_face(50 + t)]) for t in range(0, 60, 3)]
    left, right = follow(looked, [], 60, 3)
    assert (left.first, left.end, right.first, right.end) == (0, 60, 0, 60)
    points, boxes = left.landmarks()
    assert points.shape == (60, 5, 2) and boxes.shape == (60, 4)
    np.testing.assert_allclose(points[10:50, 2, 0], np.arange(60, 100), atol=0.1)
    np.testing.assert_allclose(right.landmarks()[0][13, 2, 0], 237, atol=0.2)
    cut = follow(looked, [31], 60, 3)
    assert sorted((head.first, head.end) for head in cut) == [(0, 31), (0, 31), (31, 60), (31, 60)]
    gone = [(t, [_face(50)] if t < 9 or t > 50 else []) for t in range(0, 60, 3)]
    assert [(head.first, head.end) for head in follow(gone, [], 60, 3)] == [(0, 7), (51, 60)]


def test_faults_of_heads_are_named():
    settings = Settings(Path("."), min_frames=16)
    times = list(range(0, 60, 3))
    good = Head(times, [_face(50) for _ in times])
    assert fault(good, [good], settings) == ""
    small = Head(times, [_face(50, size=30) for _ in times])
    assert "30 pixels across" in fault(small, [small], settings)
    assert fault(good, [good, small], settings) == ""  # someone in the background
    assert "two faces" in fault(good, [good, Head(times, [_face(200) for _ in times])], settings)
    turned = Head(times, [_face(50, nose=14) for _ in times])
    assert "turned away in 100%" in fault(turned, [turned], settings)
    short = Head(times[:4], [_face(50)] * 4)
    assert "for 10 frames only" in fault(short, [short], settings)
    late = Head(times[15:], [_face(200)] * 5)
    assert 0.2 < rivals(good, [good, late]) < 0.3


@pytest.mark.parametrize(
    ("red", "seen", "covered"),
    [
        ([8, 9, 7, 5, 8], range(0, 15, 3), []),
        ([8, 9, 2, 1, 8], range(0, 15, 3), range(5, 11)),
        ([2, 2, 0, 2, 1], range(0, 15, 3), []),
        ([2, 2, -np.inf, 2, 1], range(0, 15, 3), range(5, 8)),
        ([-np.inf] * 5, range(0, 15, 3), range(13)),
        ([8, 9, 8, 9, 8], [0, 3, 15, 18, 21], range(6, 13)),
    ],
    ids=["speech", "a hand", "pale lips", "a mask for a moment", "a mask", "not found in between"],
)
def test_a_mouth_is_covered_where_it_is_pale_for_its_person(red, seen, covered):
    faces = [replace(_face(50), redness=float(value)) for value in red]
    assert np.flatnonzero(Head(list(seen), faces).covered(3)).tolist() == list(covered)


def test_squares_follow_a_walk_and_not_a_nod():
    walk = np.stack([_face(60 + t).points for t in range(100)])
    nod = np.stack([_face(60, 100 + 5 * np.sin(t * 1.3)).points for t in range(100)])
    places = squares(walk)
    assert np.abs(np.diff(places[40:60, 0]) - 1).max() < 0.01
    assert squares(nod)[20:80, 1].std() < 0.2
    points, boxes = in_squares(walk, np.zeros((100, 4)), places)
    np.testing.assert_allclose(points[50, :2].mean(0), EYES_AT, atol=0.01)
    picture = np.zeros((200, 300, 3), np.uint8)
    x, y, side = places[50]
    row, column = round(y + 0.42 * side), round(x + side / 2)
    picture[row - 3 : row + 3, column - 3 : column + 3] = 255
    found = np.argwhere(crop(picture, places[50], 64)[..., 0] > 100).mean(0)
    np.testing.assert_allclose(found, [0.42 * 64, 32], atol=1.5)


def test_long_stretches_are_cut_into_equal_parts():
    places = np.zeros((601, 3))
    parts = list(Piece(10, 611, places, None, None).parts(250))
    assert [(p.first, p.end) for p in parts] == [(10, 210), (210, 411), (411, 611)]
    assert all(len(p.squares) == p.end - p.first for p in parts)


def test_a_bug_met_by_one_file_is_a_reason_and_not_the_end(tmp_path, people, monkeypatch):
    def fail(*args):
        raise KeyError("bug")

    monkeypatch.setattr(work, "read_timeline", fail)
    (tmp_path / "a.mp4").write_text("x")
    result = prepare_recording(Recording(tmp_path / "a.mp4", "a.mp4", "a"), Settings(tmp_path / "out"))
    assert not result["clips"] and "KeyError: 'bug'" in result["rejected"][0]["reason"]


def test_clip_names_are_safe_and_different():
    names = ["a b.mp4", "a_b.mp4", "a/b.mp4", "a b.avi", "é.mp4", "x" * 200 + ".mp4", "..mp4", "a.b.mp4"]
    stems = [Recording(Path(name), name, "p").stem for name in names]
    assert len(set(stems)) == len(names)
    assert all(len(stem) <= 90 and set(stem) <= set(map(chr, range(33, 123))) and "/" not in stem for stem in stems)


def test_settings_out_of_range_are_named(tmp_path):
    with pytest.raises(ValueError, match="size must be 32 or more, got 3; look_every must be 1"):
        Settings(tmp_path, size=3, look_every=0)
    with pytest.raises(ValueError, match="size must be even"):
        Settings(tmp_path, size=127)
