"""Every corpus as its owners lay it out becomes the same records."""

import pytest

from tsd.prepare.recording import Recording
from tsd.prepare.sources import folder, grid, hdtf, lrs3, voxceleb2


def _touch(root, *names: str) -> None:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")


def test_grid_has_speakers_and_word_times(tmp_path):
    _touch(tmp_path, "s1/bbaf2n.mpg", "s1/bbaf3s.mpg", "video/s26/lbbo3n.mpg", "s2/broken.mpg")
    for place in ("align/s1/bbaf2n.align", "s26/align/lbbo3n.align", "align/s2/broken.align"):
        (tmp_path / place).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / place).write_text("0 23750 sil\n23750 29500 bin\n29500 30000 sp\n30000 34000 blue\n")
    (tmp_path / "align/s2/broken.align").write_text("0 soon bin\n")
    found = {r.name: r for r in grid.find(tmp_path)}
    assert set(found) == {"s1/bbaf2n.mpg", "s1/bbaf3s.mpg", "video/s26/lbbo3n.mpg", "s2/broken.mpg"}
    first = found["s1/bbaf2n.mpg"]
    assert (first.identity, first.text, first.framing) == ("s1", "bin blue", "faces")
    assert first.words == (("bin", 0.95, 1.18), ("blue", 1.2, 1.36))
    assert found["video/s26/lbbo3n.mpg"].identity == "s26" and found["video/s26/lbbo3n.mpg"].words
    assert found["s1/bbaf3s.mpg"].note == "without transcript"
    assert found["s2/broken.mpg"].note == "with unreadable transcript"


def test_hdtf_names_its_people_in_its_files(tmp_path):
    _touch(tmp_path, "RD_Radio1_000.mp4", "WDA_BarackObama_000.mp4", "WDA_BarackObama_001.mp4", "sub/WRA_TomCotton.mp4")
    people = {r.name: r.identity for r in hdtf.find(tmp_path)}
    assert people["WDA_BarackObama_000.mp4"] == people["WDA_BarackObama_001.mp4"] == "WDA_BarackObama"
    assert people["RD_Radio1_000.mp4"] == "RD_Radio1" and people["sub/WRA_TomCotton.mp4"] == "WRA_TomCotton"
    assert {r.framing for r in hdtf.find(tmp_path)} == {"middle"}


def test_voxceleb2_names_its_people_in_its_folders(tmp_path):
    _touch(tmp_path, "dev/mp4/id00012/21Uxsk56VDQ/00001.mp4", "id00015/abc/00002.mp4")
    assert [r.identity for r in voxceleb2.find(tmp_path)] == ["id00012", "id00015"]
    _touch(tmp_path, "id1/00002.mp4")
    with pytest.raises(ValueError, match="lies too high.*source=folder"):
        voxceleb2.find(tmp_path)


def test_a_folder_has_a_person_per_folder_or_per_file(tmp_path):
    _touch(tmp_path, "anna/one.mp4", "anna/two.MOV", "alone.webm", ".hidden/a.mp4", "anna/notes.pdf")
    (tmp_path / "anna/one.txt").write_text("maybe five\n people\n")
    (tmp_path / "anna/two.txt").write_bytes(b"\x00\xff\xfe")
    found = {r.name: r for r in folder.find(tmp_path)}
    assert {name: r.identity for name, r in found.items()} == {
        "alone.webm": "alone",
        "anna/one.mp4": "anna",
        "anna/two.MOV": "anna",
    }
    assert found["anna/one.mp4"].text == "maybe five people"
    assert found["anna/two.MOV"].note == "with unreadable transcript"
    assert {r.identity for r in folder.find(tmp_path, "file")} == {"alone", "anna-one", "anna-two"}
    with pytest.raises(ValueError, match="source.identity must be folder or file"):
        folder.find(tmp_path, "voice")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="holds no videos"):
        folder.find(tmp_path / "empty")


def test_links_beside_a_video_are_not_followed(tmp_path):
    _touch(tmp_path, "root/t/00001.mp4")
    (tmp_path / "secret.txt").write_text("Text:  SECRET\n")
    (tmp_path / "root/t/00001.txt").symlink_to(tmp_path / "secret.txt")
    (found,) = lrs3.find(tmp_path / "root")
    assert not found.text and found.note == "without transcript" and not found.beside


def test_a_stamp_changes_with_what_a_recording_depends_on(tmp_path):
    _touch(tmp_path, "a.mp4", "a.txt")
    (first,) = folder.find(tmp_path)
    assert first.stamp() == folder.find(tmp_path)[0].stamp()
    (tmp_path / "a.txt").write_text("other words")
    (second,) = folder.find(tmp_path)
    (tmp_path / "a.mp4").write_bytes(b"longer")
    stamps = {first.stamp(), second.stamp(), Recording(first.video, "a.mp4", "someone else").stamp()}
    assert len(stamps) == 3
