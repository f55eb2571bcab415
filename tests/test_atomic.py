"""A file or a folder is there whole or not at all, whoever is killed and whoever else writes it."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tsd.media.atomic import filling, replaceable, replacing, write_array, write_arrays, write_file

REPO = Path(__file__).parents[1]


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def fill(folder: Path, text: str) -> None:
    with filling(folder, "card") as work:
        (work / "card").write_text(text)


def killed(code: str) -> None:
    """Run code that kills itself where it says ``die()``."""
    head = f"import os, signal\nfrom pathlib import Path\nfrom tsd.media.atomic import *\nos.chdir({os.getcwd()!r})\n"
    head += "def die(*_): os.kill(os.getpid(), signal.SIGKILL)\n"
    run = subprocess.run([sys.executable, "-c", head + code], env={**os.environ, "PYTHONPATH": str(REPO)})
    assert run.returncode == -signal.SIGKILL


def test_a_file_is_replaced_when_it_is_complete(tmp_path):
    path = tmp_path / "sub" / "a"
    write_file(path, b"one")
    with replacing(path) as temporary:
        temporary.write_bytes(b"two, longer")
        assert path.read_bytes() == b"one"
        write_file(path, b"another writer, meanwhile")
        assert path.read_bytes() == b"another writer, meanwhile"
    assert path.read_bytes() == b"two, longer" and path.stat().st_mode & 0o777 == 0o644
    with pytest.raises(KeyError), replacing(path) as temporary:
        temporary.write_bytes(b"half")
        raise KeyError
    assert path.read_bytes() == b"two, longer" and names(tmp_path / "sub") == ["a"]


def test_arrays_come_back(tmp_path):
    write_array(tmp_path / "a.npy", np.arange(3))
    write_arrays(tmp_path / "a.npz", {"x": np.arange(4)})
    assert np.load(tmp_path / "a.npy").tolist() == [0, 1, 2] and len(np.load(tmp_path / "a.npz")["x"]) == 4
    with pytest.raises(ValueError, match="allow_pickle"):
        write_array(tmp_path / "b.npy", np.array([{}]))
    assert names(tmp_path) == ["a.npy", "a.npz"]


def test_the_next_write_takes_over_what_a_kill_left(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    killed("with replacing('a') as temporary:\n    temporary.write_bytes(b'a long half of it')\n    die()")
    assert names(tmp_path) == [".a.part"]
    write_file("a", b"whole")
    assert names(tmp_path) == ["a"] and Path("a").read_bytes() == b"whole"
    killed("with filling('f', 'card') as work:\n    (work / 'half' ).mkdir()\n    die()")
    assert names(tmp_path) == [".f.part", "a"]
    fill(tmp_path / "f", "whole")
    assert names(tmp_path) == ["a", "f"] and names(tmp_path / "f") == ["card"]


def test_a_folder_is_replaced_whole(tmp_path):
    folder = tmp_path / "f"
    fill(folder, "one")
    (folder / "old").touch()
    fill(folder, "two")
    assert names(folder) == ["card"] and (folder / "card").read_text() == "two"
    with pytest.raises(KeyError), filling(folder, "card") as work:
        (work / "card").write_text("half")
        raise KeyError
    with filling(folder, "card"), pytest.raises(ValueError, match="f: another process writes it"):
        fill(folder, "three")
    assert names(tmp_path) == ["f"] and names(folder) == []  # the outer block wrote nothing


def test_no_empty_folder_is_left_by_what_failed(tmp_path):
    """Folders that were made on the way go again, those that were there or hold something stay."""
    (tmp_path / "there").mkdir()
    for way, left in (("a/b/f", ["there"]), ("there/c/f", ["there"]), ("f", ["there"])):
        with pytest.raises(KeyError), filling(tmp_path / way, "card"):
            raise KeyError
        assert names(tmp_path) == left and names(tmp_path / "there") == []
    with pytest.raises(KeyError), filling(tmp_path / "a/b/f", "card"):
        fill(tmp_path / "a" / "other", "whole")
        raise KeyError
    assert names(tmp_path / "a") == ["other"]
    fill(tmp_path / "a/b/f", "whole")
    assert names(tmp_path / "a/b") == ["f"]


def test_a_kill_between_the_two_renames_loses_nothing(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    fill(Path("f"), "one")
    killed("with filling('f', 'card') as work:\n    work.__class__.rename = lambda a, b: (os.rename(a, b), die())")
    assert names(tmp_path) == [".f.old.part", ".f.part"]
    with pytest.raises(KeyError), filling("f", "card"):
        raise KeyError
    assert names(tmp_path) == ["f"] and Path("f/card").read_text() == "one"


def test_folders_of_others_are_left_alone(tmp_path):
    (tmp_path / "mine").mkdir()
    fill(tmp_path / "mine", "into an empty folder")
    (tmp_path / "mine" / "card").rename(tmp_path / "mine" / "diary")
    assert not replaceable(tmp_path / "mine", "card") and replaceable(tmp_path / "new", "card")
    with pytest.raises(ValueError, match="mine: holds something else"):
        fill(tmp_path / "mine", "again")
    assert names(tmp_path) == ["mine"] and names(tmp_path / "mine") == ["diary"]
