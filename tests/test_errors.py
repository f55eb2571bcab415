"""What the system refuses reaches the user as one sentence and an exit code; nothing half written stays."""

import errno
import os
import signal
import subprocess
import sys

import pytest

from tsd.commands.errors import user_errors
from tsd.media.atomic import write_file


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (errno.ENOSPC, "disk is full"),
        (errno.EACCES, "no permission"),
        (errno.EROFS, "read-only"),
        (errno.ENOTDIR, "is a file, not a folder"),
        (errno.ENOENT, "no such file or directory"),
        (errno.EMFILE, "too many files are open"),
        (errno.ENAMETOOLONG, "name is too long"),
        (errno.EBUSY, "busy"),
    ],
)
def test_errors_of_the_system_are_one_sentence(capsys, number, words):
    @user_errors
    def run():
        raise OSError(number, os.strerror(number), "some/file.mp4")

    with pytest.raises(SystemExit) as end:
        run()
    said = capsys.readouterr().err
    assert end.value.code == 2 and said.startswith("error: some/file.mp4: ") and words in said
    assert said.count("\n") == 1


def test_a_name_that_no_file_system_takes(tmp_path, capsys):
    with pytest.raises(SystemExit):
        user_errors(lambda: write_file(tmp_path / ("n" * 300), b"1"))()
    assert "name is too long" in capsys.readouterr().err and not list(tmp_path.iterdir())


def test_a_limit_of_open_files(tmp_path):
    code = """
import resource, sys
from tsd.commands.errors import user_errors
resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
user_errors(lambda: [open(sys.argv[1], "w") for _ in range(99)])()
"""
    run = subprocess.run([sys.executable, "-c", code, str(tmp_path / "a")], capture_output=True, text=True)
    assert run.returncode == 2 and "ulimit -n" in run.stderr and "Traceback" not in run.stderr


def test_sigterm_ends_with_one_sentence_and_leaves_no_part(tmp_path):
    code = """
import pathlib, sys, time
from tsd.commands.errors import user_errors
from tsd.media.atomic import replacing
def run():
    with replacing(pathlib.Path(sys.argv[1])) as part:
        part.write_bytes(b"half")
        print("begun", flush=True)
        time.sleep(60)
user_errors(run)()
"""
    arguments = [sys.executable, "-c", code, str(tmp_path / "a")]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "begun\n"
        process.send_signal(signal.SIGTERM)
        _, said = process.communicate(timeout=60)
    assert process.returncode == 143 and said.count("\n") == 1 and "SIGTERM" in said
    assert not [path for path in tmp_path.iterdir() if path.name == "a" or path.stat().st_size]
