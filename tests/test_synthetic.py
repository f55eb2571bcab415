"""The embedded corpus: layout, truth against pictures and sound, determinism, restart, disjoint people."""

import re
import sys

import av
import cv2
import numpy as np
import pytest

from tsd.clip import FPS, MOTION, SAMPLE_RATE, VISEMES
from tsd.prepare.drawn import synthetic
from tsd.prepare.drawn.acting import TARGETS, act
from tsd.prepare.drawn.drawing import Head, project
from tsd.prepare.drawn.features import lip_shape
from tsd.prepare.drawn.layers import CENTRE
from tsd.prepare.drawn.people import BEARDS, WORN_BY_MEN, WORN_BY_WOMEN, Person, draw_person
from tsd.prepare.drawn.synthetic import Settings, make_corpus, plan_clips

STILL = np.array([0, 0, 0, 0, 0, 1], np.float32)


def small(root, **changes):
    make_corpus(
        root, **{"num_identities": 2, "clips_per_identity": 2, "seconds": 1.2, "size": 64, "workers": 1} | changes
    )


def planned():
    """What a manifest of ``small`` says."""
    return [
        {"video": f"{p.stem}.mp4", "truth": f"{p.stem}.truth.npz", "identity": p.identity, "text": p.text.upper()}
        for p in plan_clips(2, 2, Settings(1.2, 64, 0))
    ]


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    root = tmp_path_factory.mktemp("corpus")
    small(root)
    return root, planned()


def truths(root):
    return {p.relative_to(root): p.read_bytes() for p in sorted(root.rglob("*.npz"))}


def pictures(path):
    with av.open(str(path)) as container:
        return np.stack([f.to_ndarray(format="rgb24") for f in container.decode(video=0)])


def sound(path):
    with av.open(str(path)) as container:
        stream = container.streams.audio[0]
        assert (stream.rate, stream.layout.nb_channels) == (SAMPLE_RATE, 1)
        return np.concatenate([f.to_ndarray().ravel() for f in container.decode(stream)])


def test_layout_and_text_files_are_those_of_lrs3(corpus):
    root, records = corpus
    assert [r["video"] for r in records] == [f"trainval/p{i:04d}/{n:05d}.mp4" for i in (1, 2) for n in (1, 2)]
    for record in records:
        text = (root / record["video"]).with_suffix(".txt").read_text()
        head, table = text.split("\n\n")
        assert re.fullmatch(r"Text:  [^\n]+\nConf:  \d", head)
        assert head.splitlines()[0] == "Text:  " + record["text"] == "Text:  " + record["text"].upper()
        rows = [line.split() for line in table.splitlines()]
        assert rows[0] == ["WORD", "START", "END", "ASDSCORE"]
        assert " ".join(r[0] for r in rows[1:]) == record["text"]
        times = np.array([[float(r[1]), float(r[2])] for r in rows[1:]])
        assert times[0, 0] >= 0.05 and times[-1, 1] <= 1.2 + 0.01
        assert np.all(times[:, 1] > times[:, 0]) and np.all(np.diff(times[:, 0]) > 0)


def test_video_sound_and_truth_have_the_same_length(corpus):
    root, records = corpus
    for record in records:
        frames, wave = pictures(root / record["video"]), sound(root / record["video"])
        assert frames.shape == (30, 64, 64, 3)
        assert abs(len(wave) - 30 * SAMPLE_RATE // FPS) <= 1024 and np.abs(wave).max() > 0.1
        with np.load(root / record["truth"], allow_pickle=False) as truth:
            shapes = {name: truth[name].shape for name in truth.files}
            assert shapes == {
                "motion": (30, len(MOTION)),
                "mouth_open": (30,),
                "mouth_width": (30,),
                "mouth_box": (30, 4),
                "face_box": (30, 4),
                "visemes": (30, len(VISEMES)),
                "pose": (30, 6),
                "identity": (),
                "voice": (),
            }
            np.testing.assert_allclose(truth["visemes"].astype(np.float32).sum(1), 1, atol=4e-3)
            assert str(truth["identity"]) == record["identity"]
            assert 0.02 < truth["mouth_open"].max() < 0.13


def test_other_workers_and_order_give_the_same_truth_and_pictures(corpus, tmp_path):
    root, _ = corpus
    small(tmp_path, workers=2)
    assert truths(tmp_path) == truths(root)
    for path in sorted(root.rglob("*.mp4")):
        np.testing.assert_array_equal(pictures(path), pictures(tmp_path / path.relative_to(root)))


def test_workers_that_cannot_start_end_the_run(tmp_path, monkeypatch):
    """As those of a program that was read from standard input: they were started again and again, for ever."""
    program = sys.modules["__main__"]  # a worker begins by running it, and there is no such file
    monkeypatch.setattr(program, "__spec__", None)
    monkeypatch.setattr(program, "__file__", "<stdin>", raising=False)
    with pytest.raises(OSError, match="was not drawn: its process died twice"):
        make_corpus(tmp_path, 2, 1, 1.0, 32, workers=2)
    assert not list(tmp_path.rglob("*.mp4"))


def test_a_stopped_run_goes_on_and_finished_clips_are_kept(corpus, tmp_path, monkeypatch):
    root, records = corpus
    real = synthetic.write_video

    def stops_at_the_third(path, *args):
        if path.name == "00001.mp4" and path.parent.name == "p0002":
            raise KeyboardInterrupt
        real(path, *args)

    monkeypatch.setattr(synthetic, "write_video", stops_at_the_third)
    with pytest.raises(KeyboardInterrupt):
        small(tmp_path)
    assert len(list(tmp_path.rglob("*.mp4"))) == 2
    kept = {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*.mp4")}
    monkeypatch.setattr(synthetic, "write_video", real)
    small(tmp_path)
    assert {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*.mp4")} == {r["video"] for r in records}
    assert {p: p.stat().st_mtime_ns for p in kept} == kept
    assert truths(tmp_path) == truths(root)


def test_wrong_settings_and_another_corpus_are_refused(corpus):
    root, _ = corpus
    with pytest.raises(ValueError, match="size 32|size.: 32|choose another root"):
        small(root, size=32)
    with pytest.raises(ValueError, match="num_identities.*seconds.*size"):
        make_corpus(root, num_identities=0, seconds=0.1, size=63)


def test_no_two_people_share_a_voice_and_no_sentence_is_said_twice():
    plans = list(plan_clips(20, 2, Settings(1.2, 64, 5)))
    assert len({str(p.voice) for p in plans}) == 20
    assert len({p.text.upper() for p in plans}) == 40
    assert len({p.voice.language[:2] for p in plans}) == 5
    assert np.std([p.delay for p in plans]) > 0.05 and all(0.05 <= p.delay <= 0.3 for p in plans)


def test_a_sentence_already_taken_is_drawn_again():
    voice = next(plan_clips(1, 1, Settings(1.5, 64, 0))).voice
    first = synthetic._fit_text(np.random.default_rng(1), voice, 1.2, set())
    assert synthetic._fit_text(np.random.default_rng(1), voice, 1.2, set()) == first
    assert synthetic._fit_text(np.random.default_rng(1), voice, 1.2, {first.upper()}) != first


def test_speech_fills_the_clip(corpus):
    root, records = corpus
    for record in records:
        with np.load(root / record["truth"]) as truth:
            silent = truth["visemes"][:, VISEMES.index("sil")].astype(np.float32)
        assert silent.mean() < 0.5


def test_the_mouth_opens_with_the_sound_and_shuts_for_bilabials(corpus):
    root, records = corpus
    opened, loud, shut = [], [], []
    for record in records:
        wave = sound(root / record["video"])[: 30 * 640].reshape(30, 640)
        with np.load(root / record["truth"]) as truth:
            opened.append(truth["mouth_open"])
            shut.append(truth["mouth_open"][truth["visemes"][:, VISEMES.index("PP")] > 0.75])
        loud.append(np.sqrt((wave**2).mean(1)))
    assert np.corrcoef(np.concatenate(opened), np.concatenate(loud))[0, 1] > 0.35
    assert np.concatenate(shut).size and np.concatenate(shut).max() == 0


def draw(head, viseme="sil", pose=STILL, eyes=1.0, gaze=(0, 0)):
    return head.draw(np.float32(TARGETS[viseme]), pose, eyes, gaze, 0.0)


@pytest.fixture(scope="module")
def head():
    person = draw_person(np.random.default_rng(3), True)
    person.glasses, person.beard, person.hair_style, person.ambient = "none", "none", "back", 0.4
    return Head(person, 128)


def test_truth_of_the_mouth_is_what_the_picture_shows(head):
    """With green lips, the opening is what is not green between the first and the last green of the middle column."""
    green = Head(Person(**vars(head.person) | {"lip_colour": np.float32([0, 1, 0])}), 256)
    for viseme in ("aa", "oh", "E", "ih", "PP"):
        frame, truth = draw(green, viseme)
        red, lips, blue = frame[:, 126:130].astype(int).mean(1).T
        is_lip = np.flatnonzero(lips - np.maximum(red, blue) > 15)
        gap = (is_lip.max() - is_lip.min() + 1 - len(is_lip)) / 256
        assert gap == pytest.approx(truth["mouth_open"], abs=0.02), viseme
        assert (is_lip.min() / 256, is_lip.max() / 256) == pytest.approx(tuple(truth["mouth_box"][1::2]), abs=0.015)
    assert draw(head, "PP")[1]["mouth_open"] == 0
    assert draw(head, "ou")[1]["mouth_width"] < draw(head, "sil")[1]["mouth_width"] < draw(head, "ih")[1]["mouth_width"]
    shut, opened = draw(head, "PP")[0].astype(int), draw(head, "aa")[0].astype(int)
    assert np.abs(opened - shut).sum(-1)[: round(0.5 * 128)].max() == 0


def test_truth_follows_the_turned_picture(head):
    """Eye centres of the truth against the darkest spot (the pupil) near them, in every pose."""
    for yaw, pitch, roll, x, y, scale in [
        (0.2, 0, 0, 0, 0, 1),
        (-0.2, 0.1, 0.1, 0.02, -0.01, 1.03),
        (0, -0.15, -0.13, 0, 0.02, 0.97),
    ]:
        frame, truth = draw(head, "sil", np.array([yaw, pitch, roll, x, y, scale], np.float32))
        grey = cv2.GaussianBlur(frame.max(2), (5, 5), 0)
        for eye in (truth["motion"][0:2], truth["motion"][2:4]):
            cx, cy = (eye * 128).astype(int)
            patch = grey[cy - 3 : cy + 6, cx - 6 : cx + 7]
            dy, dx = np.unravel_index(patch.argmin(), patch.shape)
            assert abs(cx - 6 + dx + 0.5 - eye[0] * 128) < 2.5 and abs(cy - 3 + dy + 0.5 - eye[1] * 128) < 2.5


def test_turning_moves_the_nose_more_than_the_eyes_and_no_turn_moves_nothing(head):
    p = head.person
    points = [(0.5, p.nose_y), (0.5 - p.eye_distance / 2, p.eye_y), CENTRE]
    np.testing.assert_allclose(project(p, STILL, points), points, atol=1e-9)
    moved = project(p, np.array([0.2, 0, 0, 0, 0, 1]), points) - points
    assert moved[0, 0] > moved[1, 0] + 0.005 > 0.02
    assert project(p, np.array([0, 0.1, 0, 0, 0, 1]), points)[0, 1] > p.nose_y + 0.02, "pitch down is positive"
    rolled = project(p, np.array([0, 0, 0.1, 0, 0, 1]), points)
    assert rolled[1, 1] < p.eye_y, "roll clockwise is positive"


def test_blinks_hide_the_iris_and_last_as_long_as_real_ones(head):
    open_eye, shut_eye = draw(head, eyes=1.0)[0], draw(head, eyes=0.0)[0]
    rows = slice(round((head.person.eye_y - 0.03) * 128), round((head.person.eye_y + 0.03) * 128))
    assert open_eye[rows, 30:60].std() > 1.25 * shut_eye[rows, 30:60].std()
    lengths, gaps = [], []
    for seed in range(20):
        eyes = act(np.random.default_rng(seed), [], 500).eyes_open
        shut = np.flatnonzero(eyes < 0.6)
        starts = shut[np.flatnonzero(np.diff(np.concatenate([[-9], shut])) > 1)]
        lengths.append(len(shut) / len(starts))
        gaps += list(np.diff(starts) / FPS)
    assert 2 <= np.mean(lengths) <= 6 and min(gaps) >= 2.0 and max(gaps) <= 6.5


def test_poses_stay_in_their_limits_and_move_smoothly():
    limits = np.radians([15, 10, 8])
    for seed in range(20):
        pose = act(np.random.default_rng(seed), [], 200).pose
        assert np.all(np.abs(pose[:, :3]) <= limits + 1e-6)
        assert np.abs(pose[:, 3:5]).max() < 0.08 and np.abs(pose[:, 5] - 1).max() < 0.08
        assert np.abs(np.diff(pose, 2, axis=0)).max() < 0.02
        assert pose[:, 0].std() > np.radians(0.5)


def test_every_style_and_size_can_be_drawn():
    seen = []
    for i, style in enumerate(sorted({*WORN_BY_WOMEN, *WORN_BY_MEN})):
        person = draw_person(np.random.default_rng(i), False)
        person.hair_style, person.beard = style, BEARDS[i % len(BEARDS)]
        person.glasses = ("none", "round", "square", "thin")[i % 4]
        frame, _ = draw(Head(person, 32 if i % 2 else 64), "aa")
        seen.append(cv2.resize(frame, (32, 32)).astype(float))
    distances = [np.abs(a - b).mean() for i, a in enumerate(seen) for b in seen[:i]]
    assert min(distances) > 5
    with pytest.raises(ValueError, match="size must be 32 or more"):
        Head(person, 16)


def test_the_same_face_at_two_sizes_is_the_same_face(head):
    big = Head(head.person, 256)
    frame, truth = draw(big, "E")
    small_frame, small_truth = draw(head, "E")
    assert np.abs(cv2.resize(frame, (128, 128), interpolation=cv2.INTER_AREA).astype(float) - small_frame).mean() < 4
    np.testing.assert_allclose(truth["motion"], small_truth["motion"])


def test_lips_of_bilabials_are_shut_for_everybody():
    for seed in range(10):
        person = draw_person(np.random.default_rng(seed), False)
        assert lip_shape(person, TARGETS["PP"])["gap"] == 0
        lips = lip_shape(person, TARGETS["aa"])
        assert lips["gap_top"] + lips["gap_bottom"] == pytest.approx(lips["gap"]) and lips["gap"] > 0.07
