"""Folders of videos not made here: other rates, sizes and lengths, broken ones; scored, or refused with the reason."""

import json
import shutil
from fractions import Fraction
from pathlib import Path

import av
import cv2
import jsonschema
import numpy as np
import pytest
import torch
from fakes import CONF, awake
from hydra import compose, initialize_config_dir

from tsd import metrics
from tsd.clip import to_frames
from tsd.commands import evaluate
from tsd.evaluation.clips.instruments import EVERY, Instruments
from tsd.evaluation.pairs import reading, run, scoring
from tsd.evaluation.pairs.matching import match
from tsd.evaluation.pairs.reading import make_ready
from tsd.evaluation.pairs.run import Settings, compare_folders
from tsd.evaluation.pairs.scoring import score
from tsd.media.audio import log_mel
from tsd.media.faces import Landmarks
from tsd.media.timeline import read_timeline, resampled_frames
from tsd.metrics.sync import sync_scores
from tsd.nets.sync import SyncNet

RATES = {"24": Fraction(24), "25": Fraction(25), "29.97": Fraction(30000, 1001), "30": Fraction(30)}
SECONDS, SIDE = 1.6, 48


def scene(second: float, height: int = SIDE, width: int = SIDE, person: int = 0) -> np.ndarray:
    """What is to be seen at a time, uint8 [height, width, 3]: a "mouth" opens and shuts on a textured face."""
    texture = np.random.default_rng(person).integers(40, 216, (12, 12, 3), np.uint8)
    picture = cv2.resize(texture, (144, 144), interpolation=cv2.INTER_CUBIC)
    picture = np.roll(picture, int(20 * second), axis=1)
    opening = int(20 + 16 * np.sin(7 * second + person))
    cv2.ellipse(picture, (72, 104), (30, opening), 0, 0, 360, (20 + 30 * person, 10, 10), -1)
    return cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA)


def write(path: Path, frames: list[np.ndarray], rate: Fraction | None, times=None, sound: np.ndarray | None = None):
    """An H.264 video of ``rate``, or with a frame at each of ``times`` (ms), and AAC sound at 44.1 kHz stereo."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        video = container.add_stream("libx264", rate=rate or 1000, options={"crf": "12", "threads": "1"})
        video.height, video.width, video.pix_fmt = *frames[0].shape[:2], "yuv420p"
        base = Fraction(1, 1000) if rate is None else 1 / rate
        video.codec_context.time_base = base
        audio = None if sound is None else container.add_stream("aac", rate=44100, layout="stereo")
        for i, picture in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts, frame.time_base = i if times is None else int(times[i]), base
            container.mux(video.encode(frame))
        container.mux(video.encode(None))
        if audio is not None:
            frame = av.AudioFrame.from_ndarray(
                np.stack([sound, sound]).astype(np.float32), format="fltp", layout="stereo"
            )
            frame.sample_rate, frame.pts, frame.time_base = 44100, 0, Fraction(1, 44100)
            container.mux(audio.encode(frame))
            container.mux(audio.encode(None))


def write_scene(path: Path, rate: str = "25", seconds: float = SECONDS, person: int = 0, sound: bool = False, **size):
    frames = [scene(i / float(RATES[rate]), person=person, **size) for i in range(round(seconds * RATES[rate]))]
    tone = 0.3 * np.sin(np.arange(int(44100 * seconds)) / 44100 * 2 * np.pi * 300 * (person + 1))
    write(path, frames, RATES[rate], sound=tone if sound else None)


def bars(times: np.ndarray) -> list[np.ndarray]:
    """Pictures that say when they are shown: white from the left, 25 pixels a second."""
    return [
        np.repeat(np.uint8(255 * (np.arange(256) < round(25 * t)))[None, :, None], 32, 0).repeat(3, 2) for t in times
    ]


def shown_times(path: Path) -> np.ndarray:
    """The times on the resampled frames of ``bars``."""
    return np.array([frame.mean() / 255 * 256 / 25 for frame in resampled_frames(path, read_timeline(path))])


@pytest.mark.parametrize("rate", ["24", "25", "29.97", "30"])
def test_other_rates_become_25_without_drift(tmp_path, rate):
    fps, seconds = RATES[rate], 10
    times = np.arange(int(seconds * fps)) / float(fps)
    write(tmp_path / "a.mp4", bars(times), fps)
    timeline = read_timeline(tmp_path / "a.mp4")
    assert timeline.fps == pytest.approx(float(fps), abs=0.01) and timeline.num_frames == round(len(times) / fps * 25)
    shown = timeline.times[timeline.numbers()]
    assert np.abs(shown - np.arange(timeline.num_frames) / 25).max() <= 0.5 / float(fps) + 1e-6
    seen = shown_times(tmp_path / "a.mp4")
    assert len(seen) == timeline.num_frames
    assert np.abs(seen - np.arange(len(seen)) / 25).max() < 0.5 / float(fps) + 0.03  # a pixel is 0.04 s
    assert abs((seen - np.arange(len(seen)) / 25)[-25:].mean()) < 0.02


def test_a_variable_rate_follows_its_time_stamps(tmp_path):
    times = np.cumsum(np.random.default_rng(0).integers(15, 120, 60)) - 15
    write(tmp_path / "a.mp4", bars(times / 1000 - times[0] / 1000), None, times)
    timeline = read_timeline(tmp_path / "a.mp4")
    np.testing.assert_allclose(timeline.times, (times - times[0]) / 1000, atol=1e-3)
    ideal = np.array([timeline.times[np.abs(timeline.times - k / 25).argmin()] for k in range(timeline.num_frames)])
    np.testing.assert_allclose(timeline.times[timeline.numbers()], ideal, atol=1e-9)
    assert np.abs(shown_times(tmp_path / "a.mp4") - ideal).max() < 0.03


def test_time_stamps_that_cannot_be_are_named(tmp_path):
    write(tmp_path / "a.mp4", bars(np.zeros(3)), None, [0, 40, 100_000])
    with pytest.raises(ValueError, match=r"a\.mp4: time stamps go from 0.040 s to 100.000 s at frame 2; re-encode"):
        read_timeline(tmp_path / "a.mp4")


def touch(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"")
    return folder


def test_names_match_below_their_folders_and_the_rest_is_listed(tmp_path):
    generated = touch(tmp_path / "g", "a/1.mp4", "a/2.MKV", "b/1.mp4", "b/1.avi", "c.mp4", ".hidden.mp4", "d.mp4")
    real = touch(tmp_path / "r", "a/1.mov", "a/2.mp4", "a/2.txt", "b/1.mp4", "only.mp4", "d.mp4", "d.webm", ".x/c.mp4")
    pairs, left_out = match(generated, real)
    assert [(p.name, p.generated.name, p.real.name) for p in pairs] == [
        ("a/1", "1.mp4", "1.mov"),
        ("a/2", "2.MKV", "2.mp4"),
    ]
    found = {(item.folder, item.file, item.kind) for item in left_out}
    assert found == {
        ("pairs", "b/1.avi", "duplicate"),
        ("pairs", "b/1.mp4", "duplicate"),
        ("real", "b/1.mp4", "unmatched"),
        ("pairs", "c.mp4", "unmatched"),
        ("pairs", "d.mp4", "unmatched"),
        ("real", "d.mp4", "duplicate"),
        ("real", "d.webm", "duplicate"),
        ("real", "only.mp4", "unmatched"),
    }
    assert len(left_out) == len(found)


def test_folders_that_cannot_be_compared_are_named(tmp_path):
    real = touch(tmp_path / "r", "x.mp4")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match=r"pairs=.*empty: holds no video \(.mp4"):
        match(tmp_path / "empty", real)
    with pytest.raises(FileNotFoundError, match="real=.*gone: no such folder"):
        match(real, tmp_path / "gone")
    with pytest.raises(ValueError, match=r"none of its 1 videos has .* same name in .* \(such as y here, x there\)"):
        match(touch(tmp_path / "g", "y.mp4"), real)


class Mouth(torch.nn.Module):
    """How dark the middle of the lower face is."""

    def forward(self, faces):
        return -faces[..., 70:115, 40:88].mean((1, 2, 3))


class Person(torch.nn.Module):
    def forward(self, faces):
        return torch.nn.functional.adaptive_avg_pool2d(faces, 4).flatten(1)


def instruments(**more) -> Instruments:
    missing = {"lpips": "unavailable: no weights"}
    return Instruments(mouth=Mouth(), identity=Person(), unavailable=missing, **more)


SETTINGS = Settings(crop=False)


def compared(generated: Path, real: Path, out: Path, settings: Settings = SETTINGS, workers: int = 1, **more) -> dict:
    return compare_folders(generated, real, out, instruments(**more), {}, {}, settings, workers).report


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Good pairs of every rate and other sizes, and everything that can be wrong."""
    root = tmp_path_factory.mktemp("pairs")
    generated, real = root / "generated", root / "real"
    for person, rate in enumerate(RATES):
        write_scene(real / f"{rate}.mp4", "25", person=person, sound=person % 2 == 0)
        write_scene(
            generated / f"{rate}.mp4",
            rate,
            person=person,
            height=(48, 64, 32, 96)[person],
            width=48 if not person else (0, 64, 32, 96)[person],
        )
    for name in ("cut", "text", "short", "long", "wide", "tiny"):
        write_scene(real / "bad" / f"{name}.mp4", person=7)
    write_scene(real / "only_real.mp4", seconds=0.2)
    write_scene(generated / "only_generated.mkv", seconds=0.2)
    write_scene(generated / "bad" / "cut.mp4")
    data = (generated / "bad" / "cut.mp4").read_bytes()
    (generated / "bad" / "cut.mp4").write_bytes(data[: len(data) // 2])
    (generated / "bad" / "text.mp4").write_text("this is not a video")
    write_scene(generated / "bad" / "short.mp4", seconds=0.24)
    write_scene(real / "bad" / "short.mp4", seconds=0.24, person=7)
    write_scene(generated / "bad" / "long.mp4", seconds=2.4)
    write_scene(generated / "bad" / "wide.mp4", width=96)
    write_scene(generated / "bad" / "tiny.mp4", height=16, width=16)
    return generated, real


@pytest.fixture(scope="module")
def report(folders, tmp_path_factory):
    return compared(*folders, tmp_path_factory.mktemp("out") / "r.json")


def test_what_is_bad_is_refused_with_its_reason_and_loses_no_other(report):
    assert report["pairs"] == 4 and report["left_out"]["counts"] == {"refused": 6, "duplicate": 0, "unmatched": 2}
    refused = {item["file"]: item["reason"] for item in report["left_out"]["files"] if item["kind"] == "refused"}
    for name, reason in {
        "cut": "not a readable media file",
        "text": "not a readable media file",
        "short": "only 0.24 s are common; 0.4 s are needed",
        "long": "lasts 2.40 s, the real one 1.60 s; up to length_tolerance=0.5 s",
        "wide": "is 96 x 48, the real one 48 x 48; pictures of another shape",
        "tiny": "is 16 x 16 pixels; from 32",
    }.items():
        assert reason in refused[f"bad/{name}.mp4"], name
        assert f"{name}.mp4" in refused[f"bad/{name}.mp4"]


def test_rates_and_sizes_are_scored_and_told(report):
    files = {item["name"]: item for item in report["files"]}
    assert list(files) == ["24", "25", "29.97", "30"]
    assert [f["generated_fps"] for f in files.values()] == pytest.approx([24, 25, 29.97, 30], abs=0.01)
    assert [f["generated_size"] for f in files.values()] == [[48, 48], [64, 64], [32, 32], [96, 96]]
    assert all(f["size"] == [48, 48] and f["fps"] == 25 and f["frames"] == 40 for f in files.values())
    assert [f["sound"][:4] for f in files.values()] == ["of t", "none", "of t", "none"]
    assert files["25"]["scores"]["psnr_db"] > 25 and all(f["scores"]["mouth_r"] > 0.97 for f in files.values())
    assert report["generated"]["psnr_db"] > 5 + report["swapped"]["psnr_db"]


def test_controls_have_the_faults_they_are_made_with(report):
    assert report["real"]["psnr_db"] == 100 and report["real"]["ssim"] == pytest.approx(1)
    assert report["frozen"]["temporal_l1"] == report["frozen"]["motion_ratio"] == report["frozen"]["mouth_r"] == 0
    assert report["blurred"]["sharpness_ratio"] < 0.5 and report["shifted"]["mouth_r"] < 0.95
    assert report["swapped"]["id_cosine"] < report["real"]["id_cosine"]
    assert report["frozen"]["id_cosine"] == pytest.approx(1)
    assert report["frozen"]["fvd"] > report["shifted"]["fvd"] > 0 and "fvd" not in report["real"]
    usable = {name: verdict["usable"] for name, verdict in report["controls"].items()}
    assert usable["psnr_db"] and usable["sharpness_ratio"] and usable["sharpness_end_ratio"] and usable["mouth_r"]
    assert not usable["fvd"]  # this embedder averages: it does not see blur


def test_a_folder_against_itself_is_perfect_in_plain_numbers(folders, tmp_path):
    generated = tmp_path / "g"
    for rate in RATES:
        generated.mkdir(exist_ok=True)
        shutil.copy(folders[1] / f"{rate}.mp4", generated)
    found = compared(generated, folders[1], tmp_path / "r.json")
    row = found["generated"]
    assert row["psnr_db"] == 100 and row["ssim"] == pytest.approx(1) and row["mouth_r"] == pytest.approx(1)
    ratios = {name: value for name, value in row.items() if name.endswith("_ratio") and not name.startswith("lips")}
    assert set(ratios.values()) == {1}
    assert row["fvd"] == pytest.approx(0, abs=1e-9) and any("100 dB" in note for note in found["notes"])
    unknown = {name for name, value in row.items() if not np.isfinite(value)}
    assert all(name.startswith("lips") for name in unknown), "only people's lips are unknown: these are discs"


def test_a_single_pair_has_no_control_of_another_video(folders, tmp_path):
    (tmp_path / "g").mkdir()
    shutil.copy(folders[0] / "25.mp4", tmp_path / "g")
    found = compared(tmp_path / "g", folders[1], tmp_path / "r.json")
    assert found["pairs"] == 1 and "swapped" not in found and np.isnan(found["generated"]["fvd"])
    assert found["left_out"]["counts"]["unmatched"] == 10


def ready_pair(folders, name: str, crop: bool = False):
    pair = next(pair for pair in match(*folders)[0] if pair.name == name)
    return make_ready(pair, crop, 0.5)


@pytest.mark.parametrize("block", [2, 7, 25])
def test_blocks_give_what_whole_videos_give(folders, monkeypatch, block):
    """Every number against ``tsd.metrics`` on the whole videos."""
    monkeypatch.setattr(scoring, "BLOCK_PIXELS", block * SIDE * SIDE)
    net = awake(SyncNet(8, 8)).eval()
    ready = ready_pair(folders, "24")
    row = score(ready, instruments(sync=net, identity_every=3))[0]["generated"]
    whole = {
        name: np.stack(list(ready.frames(path, timeline)))
        for name, path, timeline in (
            ("generated", ready.pair.generated, ready.generated),
            ("real", ready.pair.real, ready.real),
        )
    }
    video, real = (to_frames(whole[name])[None] for name in ("generated", "real"))
    faces, real_faces = (to_frames(ready.faces(whole[name])) for name in ("generated", "real"))
    sampled = video[:, ::EVERY], real[:, ::EVERY]
    sharp = metrics.sharpness(video)
    cosines = metrics.identity_cosines(Person()(faces[::3])[None], Person()(real_faces[:1]))
    expected = {
        "psnr_db": metrics.psnr(video, real),
        "ssim": metrics.ssim(*sampled),
        "temporal_l1": metrics.temporal_l1(video),
        "flicker_std": metrics.flicker_std(video),
        "flicker_mean_std": metrics.flicker_mean_std(video),
        "motion": metrics.motion_magnitude(video),
        "warp_error": metrics.warp_error(video, *metrics.real_flow(real)),
        "sharpness": sharp.mean(1),
        "sharpness_middle": metrics.start_middle_end(sharp)[1],
        "id_cosine": cosines.mean(1),
        "id_cosine_p5": cosines.quantile(0.05, dim=1),
        "id_cosine_slope": metrics.slope_per_minute(cosines, 3),
        "mouth_r": metrics.pearson(Mouth()(faces)[None], Mouth()(real_faces)[None])[0],
    }
    sync = sync_scores(net, faces, torch.from_numpy(log_mel(ready.wave)))
    expected |= {f"sync_{name}": value[None] for name, value in sync._asdict().items()}
    assert {name: row[name] for name in expected} == pytest.approx(
        {name: float(value) for name, value in expected.items()}, rel=2e-4, abs=2e-6
    )
    assert expected["sync_distance"] > 0.1


def test_blocks_that_are_equal_add_no_error():
    real = np.stack([scene(t / 25) for t in range(40)])
    video = real.copy()
    video[-1, 0, :8] ^= 1
    video, real = to_frames(video)[None], to_frames(real)[None]
    tally = scoring.Tally(Instruments(), None, 40)
    for begin in range(0, 40, 8):
        block = slice(max(0, begin - 1), begin + 8)
        tally.add(video[:, block], real[:, block], begin, metrics.real_flow(real[:, block]))
    assert 85 < tally.row(tally, None)["psnr_db"] == pytest.approx(float(metrics.psnr(video, real)), abs=0.01)


def test_shifted_and_swapped_rows_are_those_videos(folders):
    ready = ready_pair(folders, "25")
    path = folders[1] / "bad" / "short.mp4"
    videos = scoring.Videos(ready, (path, read_timeline(path)))
    videos.size = 7
    rows = {name: [] for name in scoring.ROWS}
    for _, block in videos.blocks():
        for name in rows:
            rows[name].append(block[name])
    rows = {name: np.concatenate(parts) for name, parts in rows.items()}
    assert {len(video) for video in rows.values()} == {40}
    np.testing.assert_array_equal(rows["shifted"][3:], rows["real"][:-3])
    np.testing.assert_array_equal(rows["shifted"][:3], rows["real"][[0, 0, 0]])
    np.testing.assert_array_equal(rows["swapped"][6:12], rows["swapped"][:6])  # over and over


def test_faces_are_cut_by_the_real_videos_face(folders, monkeypatch):
    points = np.float32([[18, 18], [30, 18], [24, 26], [20, 34], [28, 34]])
    face = Landmarks(points, np.float32([12, 8, 36, 44]), 1.0)
    looks = []
    monkeypatch.setattr(reading, "detect_faces", lambda picture: looks.append(1) or ([face] if len(looks) > 1 else []))
    ready = ready_pair(folders, "30", crop=True)
    assert ready.crop == "the real video's face at frame 6"
    np.testing.assert_allclose(ready.face_box(), [0.25, 1 / 6, 0.75, 44 / 48], rtol=1e-6)
    picture = scene(0)[None]
    assert ready.faces(picture).shape == (1, 128, 128, 3)
    inside = metrics.sharpness(to_frames(picture)[None], torch.from_numpy(ready.face_box())[None, None])
    rows, _ = score(ready, Instruments())
    assert rows["real"]["sharpness"] != pytest.approx(
        score(ready_pair(folders, "30"), Instruments())[0]["real"]["sharpness"]
    )
    assert rows["real"]["sharpness"] == pytest.approx(float(inside), rel=0.5)
    monkeypatch.setattr(reading, "detect_faces", lambda picture: [])
    ready = ready_pair(folders, "30", crop=True)
    assert ready.face is None and ready.crop.startswith("none: no face found") and ready.face_box() is None


def plain(found: dict) -> dict:
    return json.loads(json.dumps({k: v for k, v in found.items() if k != "seconds"}))


def test_two_at_a_time_and_an_interrupted_run_give_the_same(folders, report, tmp_path, monkeypatch):
    real_score, scored = run.score, []

    def stops_at_the_third(ready, *args):
        if len(scored) == 2:
            raise KeyboardInterrupt
        scored.append(ready.pair.name)
        return real_score(ready, *args)

    monkeypatch.setattr(run, "score", stops_at_the_third)
    with pytest.raises(KeyboardInterrupt):
        compared(*folders, tmp_path / "r.json")
    monkeypatch.setattr(run, "score", lambda ready, *args: scored.append(ready.pair.name) or real_score(ready, *args))
    found = compared(*folders, tmp_path / "r.json", workers=2)
    assert sorted(scored) == sorted(RATES)
    assert str(plain(found)) == str(plain(report))
    scored.clear()
    compared(*folders, tmp_path / "r.json")
    assert scored == []
    compared(*folders, tmp_path / "r.json", settings=Settings(crop=False, seed=1))
    assert len(scored) == 4


def test_a_changed_file_is_scored_again(folders, tmp_path):
    generated = tmp_path / "g"
    shutil.copytree(folders[0], generated)
    before = compared(generated, folders[1], tmp_path / "r.json")
    shutil.copy(folders[1] / "25.mp4", generated / "25.mp4")
    after = compared(generated, folders[1], tmp_path / "r.json")
    scores = [{item["name"]: item["scores"]["psnr_db"] for item in found["files"]} for found in (before, after)]
    assert scores[1]["25"] == 100 > scores[0]["25"] and scores[1]["24"] == scores[0]["24"]


def test_nothing_to_score_says_why(folders, tmp_path):
    (tmp_path / "g" / "bad").mkdir(parents=True)
    shutil.copy(folders[0] / "bad" / "text.mp4", tmp_path / "g" / "bad")
    with pytest.raises(ValueError, match=r"none of 1 pairs could be scored: .*text\.mp4: not a readable"):
        compared(tmp_path / "g", folders[1], tmp_path / "r.json")


def config(*overrides):
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return compose("evaluate", list(overrides))


SCHEMA = json.loads((Path(CONF).parent / "docs" / "eval_report.schema.json").read_text())


def test_the_command_writes_a_report_of_the_published_form(folders, tmp_path, monkeypatch):
    monkeypatch.setattr(reading, "detect_faces", lambda picture: [])
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "none"))
    monkeypatch.setattr(evaluate, "installed", lambda: None)
    monkeypatch.chdir(tmp_path)
    out = tmp_path / "o" / "report.json"
    found = evaluate.run(config(f"pairs={folders[0]}", f"real={folders[1]}", f"out={out}"))
    stored = json.loads(out.read_text(), parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))
    jsonschema.validate(stored, SCHEMA)
    assert sorted(p.name for p in out.parent.iterdir()) == ["report.html", "report.json", "report.md", "sheet.png"]
    assert set(stored["unavailable"]) == {"mouth_r", "id_cosine", "sync_offset", "lpips"}
    text = out.with_suffix(".md").read_text()
    assert "| generated |" in text and "*first frame, frozen*" in text and "Left out: 6 refused, 2 unmatched" in text
    assert "unavailable: no weights.mouth" in text and found["pairs"] == 4
    stored["files"][0]["scores"]["psnr_db"] = "good"
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(stored, SCHEMA)


def test_all_that_is_wrong_is_said_at_once(tmp_path):
    wrong = ["pairs=x", "length_tolerance=-1", "workers=0", "out=report.txt", f"weights.mouth={__file__}"]
    with pytest.raises(ValueError) as error:
        evaluate.run(config(*wrong))
    for part in ("real=<folder> is missing", "length_tolerance=-1", "workers=0", "out=report.txt", "not a readable"):
        assert part in str(error.value)
