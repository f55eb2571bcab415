"""Several prepared corpora as one."""

import json

import pytest
from mini_corpus import disc_corpus

from tsd.data.datamodule import ClipDataModule
from tsd.data.manifest import manifest_path, read_manifest
from tsd.prepare.join import join


def entries(root, split):
    return list(read_manifest(manifest_path(root, split), root))


def test_clips_stay_where_and_in_which_split_they_are(tmp_path):
    few, many = disc_corpus(tmp_path / "few", num_people=3), disc_corpus(tmp_path / "many", num_people=5)
    assert join(tmp_path, ["few", "many"]) == {"train": 2 + 6, "val": 2 + 2, "test": 2 + 2}
    for split in ("train", "val", "test"):
        parts = [(name, entry) for name, root in (("few", few), ("many", many)) for entry in entries(root, split)]
        joined = entries(tmp_path, split)
        assert [entry.video for entry in joined] == [entry.video for _, entry in parts]
        assert [entry.motion for entry in joined] == [entry.motion for _, entry in parts]
        assert [entry.identity for entry in joined] == [f"{name}/{entry.identity}" for name, entry in parts]
    data = ClipDataModule(tmp_path, resolution=32, window=4, p_mismatch=0.5)
    data.setup("fit")
    assert len(data.datasets["train"].people) == 1 + 3, "the same name in two corpora is two people"


def test_a_corpus_of_held_out_people_alone_joins(tmp_path):
    disc_corpus(tmp_path / "a")
    held_out = disc_corpus(tmp_path / "b")
    for split in ("train", "val"):
        manifest_path(held_out, split).write_text("")
    assert join(tmp_path, ["a", "b"])["test"] == 4
    for split in ("train", "val", "test"):
        manifest_path(tmp_path / "a", split).write_text("")
    with pytest.raises(ValueError, match="none of a, b has clips in the train split"):
        join(tmp_path, ["a", "b"])


@pytest.mark.parametrize("name", ["../a", "/tmp", "", "..", "a/b"])
def test_names_stay_inside_the_root(tmp_path, name):
    disc_corpus(tmp_path / "a")
    with pytest.raises(ValueError, match="must be the name of a folder in root="):
        join(tmp_path, ["a", name])


def test_what_cannot_be_joined_is_said(tmp_path):
    disc_corpus(tmp_path / "a")
    for names in (["a"], ["a", "a"]):
        with pytest.raises(ValueError, match="must name two corpora or more, each once"):
            join(tmp_path, names)
    with pytest.raises(FileNotFoundError, match=r"b/manifests/lrs3_train.jsonl: no such manifest"):
        join(tmp_path, ["a", "b"])
    disc_corpus(tmp_path / "b")
    path = manifest_path(tmp_path / "b", "val")
    path.write_text(json.dumps({"video": "../a/trainval/p0/00000.mp4", "identity": "p", "frames": 30}) + "\n")
    with pytest.raises(ValueError, match="points outside"):
        join(tmp_path, ["a", "b"])
    assert not (tmp_path / "manifests").exists(), "nothing is written where one split has a fault"
