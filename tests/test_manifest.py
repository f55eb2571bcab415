import json

import numpy as np
import pytest

from tsd.data.manifest import fingerprint, manifest_path, read_manifest
from tsd.prepare.manifests import split_identities, write_jsonl, write_manifests


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
    with pytest.raises(FileNotFoundError, match=r"python -m tsd\.prepare"):
        _read(tmp_path)
    _write(tmp_path, "")
    with pytest.raises(ValueError, match="holds no clips"):
        _read(tmp_path)


def test_people_are_split_whole_and_the_same_every_time():
    people = [f"p{i}" for i in range(40)]
    split = split_identities(people, 0.1, 0.2, seed=3)
    counts = {name: list(split.values()).count(name) for name in ("train", "val", "test")}
    assert counts == {"train": 28, "val": 4, "test": 8}
    assert split == split_identities(people[::-1] * 2, 0.1, 0.2, seed=3)
    assert split != split_identities(people, 0.1, 0.2, seed=4)
    assert "test" not in split_identities(people, 0.1, 0.0, seed=0).values()
    assert set(split_identities(["a", "b", "c"], 0.01, 0.01, seed=0).values()) == {"train", "val", "test"}


def test_splits_that_leave_nobody_are_refused():
    with pytest.raises(ValueError, match="2 identities cannot be split"):
        split_identities(["a", "b"], 0.1, 0.1, 0)
    with pytest.raises(ValueError, match="val_ratio must lie in"):
        split_identities(["a", "b"], 1.5, 0.1, 0)


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
