"""A corpus is the same however often its making was killed, and over however many machines it was spread."""

import hashlib
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from command_lines import run_here
from jobs_apart import square
from mini_corpus import write_disc
from mixed_folder import People, encode
from tiny_runs import begun

from tsd.commands import prepare
from tsd.commands.compose import composed
from tsd.prepare.collect import Corpus, Splits, collect, parse_shard
from tsd.prepare.journal import Journal
from tsd.prepare.settings import Settings
from tsd.prepare.sources import folder
from tsd.prepare.workers import Lost, run_all

REPO = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    """Seven short videos, two of them unusable."""
    people, root = People(tmp_path_factory.mktemp("people"), seconds=1.0), tmp_path_factory.mktemp("videos")
    for number in range(5):
        who = number % 2
        encode(root / f"p{number}" / "a.mp4", people.scene(30, who=(who,)), people.sound(who), 30)
    (root / "p0" / "empty.mp4").touch()
    (root / "p0" / "text.mp4").write_text("no video")
    return root


def digest(root: Path) -> dict[str, str]:
    """Every file of a tree and what is in it."""
    files = sorted(path for path in root.rglob("*") if path.is_file())
    return {path.relative_to(root).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def arguments(videos: Path, root: Path, *more: str) -> list[str]:
    given = [f"videos={videos}", f"root={root}", "clips.size=64", "clips.look_every=25", *more]
    return ["source=folder", "source.identity=file", *given]


def start(videos: Path, root: Path, *more: str) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-m", "tsd.commands.prepare", *arguments(videos, root, *more)],
        cwd=REPO,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )


def killed_and_finished(videos: Path, root: Path, times: int, longest: float) -> int:
    """Start, kill at a random moment, and so on; then let it end. Returns how often it was killed before its end."""
    rng, kills = random.Random(), 0
    for _ in range(times):
        run = start(videos, root, "workers=2")
        try:
            run.wait(timeout=rng.uniform(0.3, 1.0) * longest)
        except subprocess.TimeoutExpired:
            run.send_signal(signal.SIGKILL)
            kills += 1
        run.communicate()
    run = start(videos, root, "workers=2")
    _, errors = run.communicate(timeout=300)
    assert run.returncode == 0, errors
    return kills


@pytest.mark.slow
def test_killed_at_ten_moments_the_result_is_byte_for_byte_the_same(videos, tmp_path):
    begun_at = time.monotonic()
    undisturbed = start(videos, tmp_path / "a", "workers=1")
    _, errors = undisturbed.communicate(timeout=300)
    assert undisturbed.returncode == 0, errors
    kills = killed_and_finished(videos, tmp_path / "b", times=10, longest=0.8 * (time.monotonic() - begun_at))
    plain, cut = digest(tmp_path / "a"), digest(tmp_path / "b")
    print(kills, "kills,", len(plain), "files")
    assert kills >= 2 and cut == plain and len([name for name in plain if name.endswith(".mp4")]) == 5


@pytest.fixture(scope="module")
def whole(videos, tmp_path_factory) -> tuple[Corpus, dict[str, str]]:
    """What is made at once by one process, and every file of it."""
    root = tmp_path_factory.mktemp("whole")
    corpus = collect(folder.find(videos, "file"), Settings(root, 64, look_every=25), workers=0, splits=Splits())
    return corpus, digest(root)


def test_killed_once_the_next_run_goes_on_and_nothing_differs(videos, whole, tmp_path):
    journal = tmp_path / "b" / "manifests" / "journal-0-of-1.jsonl"
    run = begun(prepare.run, composed("prepare", arguments(videos, tmp_path / "b", "workers=1")))
    while run.is_alive() and not (journal.is_file() and journal.read_bytes().count(b"\n") >= 3):
        time.sleep(0.02)
    assert run.is_alive()
    run.kill()
    run.join()
    done = journal.read_bytes()
    assert 3 <= done.count(b"\n") < 7
    journal.write_bytes(done[:-5])  # the last line cut off
    (tmp_path / "b" / "trainval" / ".half.mp4.x1.part").write_bytes(b"half")
    second = Settings(tmp_path / "b", 64, look_every=25)
    collect(folder.find(videos, "file"), second, workers=0, splits=Splits())
    assert digest(tmp_path / "b") == whole[1]


def test_shards_on_several_machines_make_the_corpus_of_one(videos, whole, tmp_path):
    recordings = folder.find(videos, "file")
    for index in (2, 0, 1):
        part = collect(
            recordings, Settings(tmp_path / "b", 64, look_every=25), shard=f"{index}/3", splits=Splits(), workers=0
        )
        assert (part.waiting == 0) == (index == 1)
        assert (tmp_path / "b/manifests/lrs3_train.jsonl").exists() == (index == 1)
    assert part.records == whole[0].records and digest(tmp_path / "b") == whole[1]


@pytest.mark.parametrize("text", ["", "1", "1/1", "2/1", "-1/2", "a/b", "1/2/3", "0/0"])
def test_shards_that_cannot_be_are_refused(text):
    with pytest.raises(ValueError, match="shard must be i/n"):
        parse_shard(text)


def test_two_processes_on_one_shard_are_one_too_many(tmp_path):
    first = Journal(tmp_path, 0, 1)
    with pytest.raises(ValueError, match="another process prepares this shard"):
        Journal(tmp_path, 0, 1)
    Journal(tmp_path, 1, 2).close()
    first.close()
    Journal(tmp_path, 0, 1).close()
    assert not list(tmp_path.glob("journal*"))


def test_clips_are_not_taken_for_inputs(tmp_path, monkeypatch, capsys):
    write_disc(tmp_path / "in" / "a.mp4", 20)
    given = arguments(tmp_path / "in", tmp_path / "in" / "out")
    code, errors = run_here("prepare", monkeypatch, capsys, tmp_path, *given)
    assert code == 2 and "lies inside videos=" in errors and not (tmp_path / "in" / "out").exists()


def test_a_process_that_dies_or_hangs_costs_its_job_only():
    found = dict(run_all(square, range(6), workers=2, limit=1.5))
    assert {n: v for n, v in found.items() if not isinstance(v, Lost)} == {0: 0, 1: 1, 4: 16, 5: 25}
    assert "died twice" in str(found[2]) and "longer than 1.5 s" in str(found[3])
    with pytest.raises(KeyError, match="a bug"):
        list(run_all(square, [9], workers=1, limit=30.0))
    assert list(run_all(square, [4], workers=0, limit=1.0)) == [(4, 16)]


def ended(process: int) -> bool:
    state = Path(f"/proc/{process}/stat")
    return not state.exists() or state.read_text().split()[2] == "Z"


def test_workers_die_with_the_one_who_started_them(tmp_path):
    """After kill -9 nobody goes on writing into the corpus."""
    code = f"""
import sys
sys.path.insert(0, {str(Path(__file__).parent)!r})
from pathlib import Path
from jobs_apart import tell
from tsd.prepare.workers import run_all
if __name__ == "__main__":
    list(run_all(tell, [Path({str(tmp_path)!r})], 1, 60.0))
"""
    (tmp_path / "main.py").write_text(code)
    run = subprocess.Popen([sys.executable, str(tmp_path / "main.py")], env={**os.environ, "PYTHONPATH": str(REPO)})
    begun_at = time.monotonic()
    while not (tmp_path / "pid").exists() and time.monotonic() - begun_at < 60:
        time.sleep(0.02)
    worker = int((tmp_path / "pid").read_text())
    assert not ended(worker)
    run.send_signal(signal.SIGKILL)
    run.wait()
    killed_at = time.monotonic()
    while not ended(worker) and time.monotonic() - killed_at < 10:
        time.sleep(0.01)
    assert ended(worker), "it would have hung for a minute"


def test_one_person_is_in_one_split_only(tmp_path):
    """Over many corpora of random sizes: no identity in two splits, no clip twice, none lost."""
    from tsd.data.manifest import manifest_path, read_manifest
    from tsd.prepare.manifests import write_manifests

    rng = np.random.default_rng(0)
    for trial in range(20):
        root, people = tmp_path / str(trial), int(rng.integers(3, 40))
        names = [f"p{rng.integers(people)}/{i}.mp4" for i in range(int(rng.integers(60, 120)))]
        names += [f"p{i}/first.mp4" for i in range(people)]
        for name in names:
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).touch()
        records = [{"video": name, "identity": name.split("/")[0], "frames": 9} for name in names]
        rng.shuffle(records)
        write_manifests(root, records, rng.uniform(0, 0.3), rng.uniform(0, 0.3), seed=trial)
        parts = []
        for split in ("train", "val", "test"):
            if manifest_path(root, split).stat().st_size:
                parts.append(read_manifest(manifest_path(root, split), root))
        identities = [set(part.people) for part in parts]
        assert sum(map(len, identities)) == len(set.union(*identities)) == people
        assert sorted(e.key for part in parts for e in part) == sorted(names)
        assert all(part.people[part.person[i]] == e.identity for part in parts for i, e in enumerate(part))
