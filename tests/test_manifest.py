import json
import pickle
import subprocess
import sys
from itertools import islice

import numpy as np
import pytest

from tsd.data.datamodule import EndlessSampler
from tsd.data.manifest import fingerprint, manifest_path, read_manifest
from tsd.prepare.manifests import is_split_by_clips, split_names, write_jsonl, write_manifests


def _write(root, *lines) -> None:
    path = manifest_path(root, "train")
    path.parent.mkdir(exist_ok=True)
    path.write_text("\n".join(line if isinstance(line, str) else json.dumps(line) for line in lines))


def _line(**changes) -> dict:
    return {"video": "a.mp4", "identity": "p", "frames": 9, **changes}


def _read(root):
    return read_manifest(manifest_path(root, "train"), root)


def test_lines_become_entries(tmp_path):
    (tmp_path / "a.mp4").touch()
    (tmp_path / "v.npy").touch()
    _write(tmp_path, _line(visemes="v.npy", viseme_source="npy", motion=None, text="HI", added_later=1), "", _line())
    first, second = _read(tmp_path)
    assert (first.key, first.identity, first.frames, first.text) == ("a.mp4", "p", 9, "HI")
    assert first.visemes == tmp_path / "v.npy" and first.motion is None and second.viseme_source == "none"


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("{not json", "not JSON"),
        ("[1, 2]", "lacks video, identity, frames"),
        (_line(identity=None), "lacks identity"),
        (_line(frames="9"), "frames must be int"),
        (_line(frames=True), "frames must be int"),
        (_line(frames=0), "frames must be 1 or more"),
        (_line(video="gone.mp4"), "'gone.mp4' does not exist"),
        (_line(visemes="gone.npy"), "visemes 'gone.npy' does not exist"),
        (_line(video="../outside.mp4"), "points outside"),
        (_line(video="link.mp4"), "points outside"),
        (_line(motion="/etc/passwd"), "points outside"),
    ],
)
def test_a_bad_line_is_named_with_its_number(tmp_path, line, words):
    root = tmp_path / "root"
    root.mkdir()
    (root / "a.mp4").touch()
    (tmp_path / "outside.mp4").touch()
    (root / "link.mp4").symlink_to(tmp_path / "outside.mp4")
    _write(root, _line(), line)
    with pytest.raises(ValueError, match=words) as error:
        _read(root)
    assert "lrs3_train.jsonl, line 2" in str(error.value)


def test_a_missing_or_empty_manifest_says_which_command_makes_it(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"python -m tsd\.commands\.prepare"):
        _read(tmp_path)
    _write(tmp_path, "")
    with pytest.raises(ValueError, match="holds no clips"):
        _read(tmp_path)


def test_people_are_split_whole_and_the_same_every_time():
    people = [f"p{i}" for i in range(40)]
    split = split_names(people, 0.1, 0.2, seed=3)
    counts = {name: list(split.values()).count(name) for name in ("train", "val", "test")}
    assert counts == {"train": 28, "val": 4, "test": 8}
    assert split == split_names(people[::-1] * 2, 0.1, 0.2, seed=3)
    assert split != split_names(people, 0.1, 0.2, seed=4)
    assert "test" not in split_names(people, 0.1, 0.0, seed=0).values()
    assert set(split_names(["a", "b", "c"], 0.01, 0.01, seed=0).values()) == {"train", "val", "test"}


def test_splits_that_leave_nobody_are_refused():
    assert split_names(["a", "b"], 0.1, 0.1, 0) is None
    with pytest.raises(ValueError, match="val_ratio must lie in"):
        split_names(["a", "b"], 1.5, 0.1, 0)


def test_manifests_hold_every_clip_once(tmp_path):
    records = [_line(video=f"p{i % 5}/{i}.mp4", identity=f"p{i % 5}") for i in range(20)]
    assert write_manifests(tmp_path, records, 0.2, 0.2, seed=1) == {"train": 12, "val": 4, "test": 4}
    lines = {
        split: [json.loads(line) for line in manifest_path(tmp_path, split).read_text().splitlines()]
        for split in ("train", "val", "test")
    }
    assert sorted(r["video"] for rows in lines.values() for r in rows) == sorted(r["video"] for r in records)
    people = [{r["identity"] for r in rows} for rows in lines.values()]
    assert not (people[0] & people[1] or people[0] & people[2] or people[1] & people[2])
    assert not list((tmp_path / "manifests").glob(".*"))
    with pytest.raises(ValueError, match="no usable clips"):
        write_manifests(tmp_path, [])


def test_the_fingerprint_follows_clips_and_their_order(tmp_path):
    for name in ("a.mp4", "b.mp4"):
        (tmp_path / name).touch()
    prints = []
    for lines in ([_line(), _line(video="b.mp4")], [_line(video="b.mp4"), _line()], [_line(frames=8)], [_line()]):
        write_jsonl(manifest_path(tmp_path, "train"), lines)
        prints.append(fingerprint(_read(tmp_path)))
    assert len(set(prints)) == 4
    write_jsonl(manifest_path(tmp_path, "train"), [_line(text="other words")])
    assert fingerprint(_read(tmp_path)) == prints[-1]
    assert np.all([len(p) == 16 for p in prints])


def _large(root, num_clips: int) -> None:
    """A manifest of clips that are not there, as ``tsd.prepare`` writes its lines."""
    path = manifest_path(root, "train")
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        for i in range(num_clips):
            stem, person = f"trainval/p{i % 20_000:05d}/{i:07d}", f"p{i % 20_000:05d}"
            line = {
                "video": f"{stem}.mp4",
                "identity": person,
                "frames": 75 + i % 100,
                "text": "LAY BLUE BY R ONE AGAIN",
            }
            line |= {"viseme_source": "aligned", "visemes": f"{stem}.visemes.npy", "motion": f"{stem}.face.npz"}
            file.write(json.dumps(line | {"boxes": f"{stem}.face.npz", "flow": None, "truth": None}) + "\n")


def test_a_large_manifest_is_scanned_and_its_lines_are_read_when_used(tmp_path):
    _large(tmp_path, 50_000)
    with manifest_path(tmp_path, "train").open("a") as file:
        file.write('\n{"frames": 80, "identity": "ö", "video": "a.mp4"}\n')  # another order of keys, a blank line
    (tmp_path / "a.mp4").touch()
    manifest = _read(tmp_path)
    assert len(manifest) == 50_001 and len(manifest.people) == 20_001
    assert manifest.frames[123] == 98 and manifest.people[manifest.person[123]] == "p00123"
    last = manifest[-1]
    assert (last.identity, last.frames) == ("ö", 80) == (manifest.people[manifest.person[-1]], manifest.frames[-1])
    assert last.where.endswith("line 50002")
    with pytest.raises(ValueError, match=r"line 124: video 'trainval/p00123/0000123\.mp4' does not exist"):
        manifest[123]
    part = manifest[np.array([50_000, 3])]
    assert len(part) == 2 and part.people == ["p00003", "ö"] and part[0] == last and part.frames.tolist() == [80, 78]
    assert len(manifest[::1000]) == 51 and pickle.loads(pickle.dumps(part))[0] == last


@pytest.mark.slow
def test_a_million_clips_open_in_three_seconds_and_300_mb(tmp_path):
    _large(tmp_path, 1_000_000)
    code = f"""
import time
from tsd.data.manifest import read_manifest
begun = time.process_time()
manifest = read_manifest({str(manifest_path(tmp_path, "train"))!r}, {str(tmp_path)!r})
spent = time.process_time() - begun
peak = int(next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM"))) / 1024
print(len(manifest), len(manifest.people), spent, peak)
"""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    clips, people, spent, peak = map(float, run.stdout.split())
    print(f"{spent:.2f} s of processor time, {peak:.0f} MB")
    assert (clips, people) == (1_000_000, 20_000) and spent < 3 and peak < 300
    orders = [list(islice(EndlessSampler(1_000_000, seed), 1000)) for seed in (0, 0, 1)]
    assert orders[0] == orders[1] != orders[2]


@pytest.mark.parametrize("people", [1, 2])
def test_of_too_few_people_the_clips_are_split_and_the_lines_say_so(tmp_path, people):
    records = [{"video": f"{i:02d}.mp4", "identity": str(i % people), "frames": 9} for i in range(12)]
    assert write_manifests(tmp_path, records, 0.1, 0.2) == {"train": 9, "val": 1, "test": 2}
    lines = [json.loads(line) for path in tmp_path.rglob("*.jsonl") for line in path.read_text().splitlines()]
    assert len({line["video"] for line in lines}) == 12 and {line["split_by"] for line in lines} == {"clips"}
    assert is_split_by_clips(tmp_path)
    with pytest.raises(ValueError, match="2 clips of 1 people are too few .* clips.max_seconds"):
        write_manifests(tmp_path, [r for r in records if r["identity"] == "0"][:2], 0.1, 0.1)


def test_enough_people_are_split_by_people(tmp_path):
    records = [{"video": f"{i:02d}.mp4", "identity": str(i % 4), "frames": 9} for i in range(12)]
    write_manifests(tmp_path, records, 0.1, 0.1)
    assert not is_split_by_clips(tmp_path)
    with pytest.raises(ValueError, match="leave nobody to train on"):
        write_manifests(tmp_path, records, 0.5, 0.6)
