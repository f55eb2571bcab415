import json
from pathlib import Path

import numpy as np
import pytest
from command_lines import run_here, said_here
from mini_corpus import motion_of, write_disc
from odd_containers import growing, remuxed, trimmed

from tsd.commands import prepare
from tsd.commands.compose import composed
from tsd.commands.errors import user_errors
from tsd.data.datamodule import ClipDataModule
from tsd.data.manifest import manifest_path, read_manifest
from tsd.media.heads import fill
from tsd.media.video import read_frames, video_info, write_video
from tsd.prepare import collect as collecting
from tsd.prepare import labels
from tsd.prepare.collect import Corpus, collect
from tsd.prepare.drawn.synthetic import make_corpus
from tsd.prepare.pieces import MIN_SEEN
from tsd.prepare.settings import Settings
from tsd.prepare.sources.lrs3 import find
from tsd.prepare.transcript import read_transcript

WORDS = "Text:  BIN BLUE\nConf:  4\nRef:   0Fi83BHQsMA\n\nFRAME X Y W H\n000000 0.4 0.1 0.1 0.2\n\n"
WORDS += "WORD START END ASDSCORE\nBIN 0.10 0.30 8.9\nBLUE 0.30 0.72 5.0\n"


@pytest.fixture
def corpus(tmp_path):
    """LRS3's layout made by hand: two split folders, five talks, one clip with word times."""
    for number, talk in enumerate(("0Fi83BHQsMA", "1KxlB0YzOpA", "2bHyMNQGvzU", "3aBcDeFgHiJ", "4xYzXyZxYzX")):
        write_disc(tmp_path / "trainval" / talk / "00001.mp4", 20, hue=number)
        (tmp_path / "trainval" / talk / "00001.txt").write_text("Text:  LAY RED\nConf:  3\n")
    write_disc(tmp_path / "pretrain" / "0Fi83BHQsMA" / "00007.mp4", 25, hue=0)
    (tmp_path / "pretrain" / "0Fi83BHQsMA" / "00007.txt").write_text(WORDS)
    return tmp_path


def _collect(root, workers: int = 0, **settings) -> Corpus:
    return collect(find(root), Settings(root, **{"faces": False, **settings}), workers=workers)


def test_transcripts_with_and_without_word_times(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text(WORDS)
    transcript = read_transcript(path)
    assert transcript.text == "BIN BLUE" and transcript.words == (("BIN", 0.1, 0.3), ("BLUE", 0.3, 0.72))
    path.write_text("Text:  ONLY THIS\nConf:  5\n")
    assert read_transcript(path).text == "ONLY THIS" and not read_transcript(path).words
    for broken, words in (
        ("nothing", "no line that begins with `Text:`"),
        (WORDS + "NOW soon 3\n", "line 11: not `WORD START END`"),
        (WORDS + "NOW 2.0 1.0 5\n", "line 11: the word's times are not in order"),
        (WORDS + "NOW nan inf 5\n", "line 11: the word's times are not in order"),
    ):
        path.write_text(broken)
        with pytest.raises(ValueError, match=words):
            read_transcript(path)
    path.write_bytes(b"Text: A\n" * 200_000)
    with pytest.raises(ValueError, match="too many for a transcript"):
        read_transcript(path)


def test_a_corpus_in_lrs3s_layout_is_read_into_manifests(corpus):
    made = _collect(corpus)
    assert made.records[0]["video"] == "pretrain/0Fi83BHQsMA/00007.mp4" and len(made.records) == 6
    assert made.records[0]["viseme_source"] == "transcript" and made.records[0]["text"] == "BIN BLUE"
    visemes = np.load(corpus / made.records[0]["visemes"])
    assert visemes.shape == (25, 15) and visemes[3, 1] > 0.5  # the lips of the B of BIN are shut at 0.12 s
    assert visemes[20:, 0].min() == 1  # silence after the last word
    assert made.records[0]["identity"] == made.records[1]["identity"] == "0Fi83BHQsMA"
    assert made.notes["visemes from none"] == 5 and not made.rejected


def test_the_split_folder_may_be_missing_and_other_files_are_left_alone(tmp_path):
    write_disc(tmp_path / "talk" / "00001.mp4", 20)
    write_disc(tmp_path / "too" / "deep" / "talk" / "00001.mp4", 5)
    write_disc(tmp_path / ".hidden" / "00001.mp4", 5)
    write_disc(tmp_path / "lonely.mp4", 5)
    assert [r.name for r in find(tmp_path)] == ["talk/00001.mp4"]
    made = _collect(tmp_path)
    assert made.records[0]["identity"] == "talk" and made.notes["without transcript"] == 1
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="holds no clips; they are expected as"):
        find(tmp_path / "empty")
    with pytest.raises(FileNotFoundError, match="no such folder"):
        find(tmp_path / "nowhere")


def test_unusable_clips_are_listed_with_reasons(corpus, tmp_path_factory):
    talk = corpus / "trainval" / "5broken"
    write_disc(talk / "00001.mp4", 20, fps=30)
    write_disc(talk / "00002.mp4", 4)
    write_disc(talk / "00003.mp4", 20, sound=False)
    (talk / "00004.mp4").write_text("not a video")
    write_video(talk / "00005.mp4", np.random.default_rng(0).integers(0, 256, (20, 64, 64, 3), np.uint8))
    data = bytearray((talk / "00005.mp4").read_bytes())
    data[len(data) // 3 : len(data) // 2] = bytes(len(data) // 2 - len(data) // 3)
    (talk / "00005.mp4").write_bytes(data)
    outside = tmp_path_factory.mktemp("outside") / "a.mp4"
    write_disc(outside, 20)
    (talk / "00006.mp4").symlink_to(outside)
    (talk / "00007.mp4").symlink_to(outside.with_name("gone.mp4"))
    (talk / "00003.txt").write_text("no transcript at all")
    made = _collect(corpus)
    rows = [json.loads(line) for line in (corpus / "manifests" / "rejected.jsonl").read_text().splitlines()]
    assert rows == made.rejected
    reasons = {Path(row["video"]).stem: row["reason"] for row in rows}
    assert reasons["00001"] == "has 30.00 frames a second instead of 25"
    assert reasons["00002"] == "only 4 frames, fewer than min_frames=16"
    assert reasons["00004"] == "not a readable media file"
    assert reasons["00005"].startswith("the video is broken")
    assert reasons["00006"] == reasons["00007"] == "is a link to a file outside the root"
    assert len(reasons) == 6 and made.notes["without sound"] == 1 and made.notes["with unreadable transcript"] == 1
    assert "trainval/5broken/00003.mp4" in [r["video"] for r in made.records]


def test_what_headers_miscount_is_kept_as_it_is_shown(tmp_path):
    """Trimmed without encoding again, still recorded, and of a container that counts nothing."""
    talk = tmp_path / "trainval" / "talk"
    talk.mkdir(parents=True)
    trimmed(talk / "00001.mp4", 40, 15)
    growing(talk / "00002.mp4", 60)
    remuxed(talk / "whole.mp4", talk / "00003.mp4", {"movflags": "empty_moov+default_base_moof"})
    (talk / "whole.mp4").unlink()
    made = _collect(tmp_path)
    frames = {Path(record["video"]).stem: record["frames"] for record in made.records}
    assert not made.rejected and frames["00001"] == 25 and 16 <= frames["00002"] < 60 and frames["00003"] == 60


def test_a_second_call_does_only_what_changed(corpus, monkeypatch):
    done, work = [], collecting.prepare_recording
    monkeypatch.setattr(collecting, "prepare_recording", lambda r, settings: done.append(r.name) or work(r, settings))
    first = _collect(corpus)
    assert len(done) == 6
    with (corpus / "manifests" / "done.jsonl").open("a") as file:
        file.write('{"name": "cut off by an interrup')
    assert _collect(corpus) == first and len(done) == 6
    write_disc(corpus / "pretrain" / "0Fi83BHQsMA" / "00007.mp4", 24)
    assert _collect(corpus).records[0]["frames"] == 24 and done[6:] == ["pretrain/0Fi83BHQsMA/00007.mp4"]
    (corpus / "trainval" / "4xYzXyZxYzX" / "00001.txt").write_text("Text:  OTHER\n")
    assert "OTHER" in [r["text"] for r in _collect(corpus).records] and len(done) == 8
    _collect(corpus, language="de")
    assert len(done) == 14


def test_an_interrupted_call_keeps_what_it_has_done(corpus, monkeypatch):
    work, done = collecting.prepare_recording, []

    def interrupted(recording, settings):
        if len(done) == 3:
            raise KeyboardInterrupt
        done.append(recording)
        return work(recording, settings)

    monkeypatch.setattr(collecting, "prepare_recording", interrupted)
    with pytest.raises(KeyboardInterrupt):
        _collect(corpus)
    assert len((corpus / "manifests" / "journal-0-of-1.jsonl").read_text().splitlines()) == 3
    assert not (corpus / "manifests" / "rejected.jsonl").exists()
    monkeypatch.setattr(collecting, "prepare_recording", work)
    assert len(_collect(corpus).records) == 6 and not list((corpus / "manifests").glob("journal*"))


@pytest.mark.parametrize("marked", [".", "trainval/4xYzXyZxYzX"])
def test_a_corpus_marked_read_only_is_left_alone(corpus, marked):
    before = sorted(corpus.rglob("*"))
    (corpus / marked).chmod(0o555)
    try:
        with pytest.raises(ValueError, match="is read-only .*copy the corpus"):
            _collect(corpus)
    finally:
        (corpus / marked).chmod(0o755)
    assert sorted(corpus.rglob("*")) == before


def test_given_visemes_come_before_the_transcript(corpus):
    np.save(corpus / "pretrain" / "0Fi83BHQsMA" / "00007.npy", np.zeros(25, int))
    record = _collect(corpus).records[0]
    assert record["viseme_source"] == "npy" and record["visemes"].endswith("00007.npy")
    assert not list(corpus.rglob("*.visemes.npy"))


def test_without_a_way_to_say_words_transcripts_give_no_visemes(corpus, monkeypatch):
    def missing(*args):
        raise ValueError("the extra is missing")

    monkeypatch.setattr(labels, "visemes_from_words", missing)
    assert _collect(corpus).notes["visemes from none"] == 6


def test_heads_are_tracked_where_a_face_is_seen(tmp_path):
    make_corpus(tmp_path, num_identities=1, clips_per_identity=1, seconds=1.0, size=128, seed=1, workers=1)
    (video,) = tmp_path.rglob("*.mp4")
    truth = np.load(video.with_suffix(".truth.npz"))
    truth = {name: truth[name] for name in ("motion", "mouth_box", "face_box")}
    video.with_suffix(".truth.npz").unlink()
    write_disc(tmp_path / "trainval" / "disc" / "00001.mp4", 20)
    made = _collect(tmp_path, faces=True, look_every=4)
    by_person = {r["identity"]: r for r in made.records}
    assert by_person["disc"]["motion"] is None and made.notes["without a visible face"] == 1
    assert by_person["p0001"]["motion"].endswith("00001.face.npz") and made.notes["with head motion"] == 1
    tracked = np.load(tmp_path / by_person["p0001"]["boxes"])
    assert tracked["motion"].shape == (25, 7) and tracked["motion"].dtype == np.float32
    assert np.abs(tracked["motion"][:, :4] - truth["motion"][:, :4]).mean() < 0.03
    middle = (truth["mouth_box"][:, :2] + truth["mouth_box"][:, 2:]) / 2
    assert (tracked["mouth_box"][:, :2] < middle).all() and (middle < tracked["mouth_box"][:, 2:]).all()
    middle = (truth["face_box"][:, :2] + truth["face_box"][:, 2:]) / 2
    assert (tracked["face_box"][:, :2] < middle).all() and (middle < tracked["face_box"][:, 2:]).all()


def test_gaps_are_filled_in_a_straight_line_and_smoothed(tmp_path):
    line = np.linspace(0, 1, 41)[:, None] * np.arange(1, 8)
    seen = np.array([0, 7, 20, 40])
    full = fill(seen, line[seen], 41)
    np.testing.assert_allclose(full[6:-6], line[6:-6], atol=1e-5)
    jitter = np.random.default_rng(0).standard_normal((200, 7))
    assert fill(np.arange(200), jitter, 200).std() < 0.6 * jitter.std()
    constant = fill(np.array([5]), motion_of(1, 1), 9)
    np.testing.assert_allclose(constant, np.repeat(motion_of(1, 1), 9, 0), rtol=1e-5)
    assert MIN_SEEN == 0.5


def test_the_command_makes_a_corpus_that_trains(tmp_path, monkeypatch, capsys):
    """In this process; test_collect starts it with processes of its own."""
    sizes = ("num_identities=3", "clips_per_identity=1", "seconds=1.0", "size=64")
    given = ["source=synthetic", f"root={tmp_path}/c", "workers=0", *(f"source.{s}" for s in sizes)]
    code, said, errors = said_here("prepare", monkeypatch, capsys, tmp_path, *given)
    assert code == 0, errors
    assert "3 clips of 3 people" in said and "3 visemes from truth" in said
    data = ClipDataModule(tmp_path / "c", resolution=32, window=8)
    data.setup()
    clip = data.datasets["test"].whole_clip(0)
    assert clip.motion_known.all() and clip.mouth_open.isfinite().all() and clip.visemes.sum() > 0
    assert clip.mel.shape[1] == 4 * clip.frames.shape[1]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), "root"),
        (("root=/nowhere/at/all",), "error: /nowhere/at/all: no such folder"),
        (("root=/tmp", "rot=1"), "error: rot=1: unknown key; did you mean root?\n"),
        (("root=/tmp", "clips.sise=1"), "error: clips.sise=1: unknown key; did you mean size?\n"),
        (("root=/tmp", "source=hdtv"), "error: source=hdtv: must be one of folder, grid, hdtf, "),
        (("root=/tmp", "source=2"), "error: source=2: must be one of folder, grid, hdtf, "),
        (("root=/tmp", "hdtf"), "error: hdtf: is no key=value\n"),
        (("root=/tmp", "--source", "hdtf"), "error: --source: there is no such option; write source=<value>\n"),
    ],
)
def test_mistakes_on_the_command_line_are_one_clear_message(tmp_path, monkeypatch, capsys, arguments, words):
    code, message = run_here("prepare", monkeypatch, capsys, tmp_path, *arguments)
    assert code not in (0, None) and words in message and "Traceback" not in message
    assert list(tmp_path.iterdir()) == []


def test_user_errors_are_one_line_and_bugs_keep_their_traceback(capsys):
    def fail(error):
        raise error

    for error in (ValueError("a.png: no face"), FileNotFoundError("a.png: no face")):
        with pytest.raises(SystemExit) as stop:
            user_errors(fail)(error)
        assert stop.value.code == 2 and capsys.readouterr().err == "error: a.png: no face\n"
    with pytest.raises(SystemExit) as stop:
        user_errors(fail)(KeyboardInterrupt())
    assert stop.value.code == 130
    with pytest.raises(KeyError):
        user_errors(fail)(KeyError("bug"))
    assert user_errors(lambda: 3)() == 3


def test_manifests_of_a_prepared_corpus_can_be_read(corpus):
    prepare.run(composed("prepare", [f"root={corpus}", "clips.faces=false", "workers=0"]))
    splits = {s: read_manifest(manifest_path(corpus, s), corpus) for s in ("train", "val", "test")}
    assert sorted(len(entries) for entries in splits.values()) == [1, 1, 4] or len(splits["train"]) == 3
    people = [{e.identity for e in entries} for entries in splits.values()]
    assert sum(map(len, people)) == len(set.union(*people)) == 5
    for entries in splits.values():
        for entry in entries:
            assert video_info(entry.video).num_frames == entry.frames == len(read_frames(entry.video))
