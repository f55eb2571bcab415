"""Manifests: valid, broken by a changed byte, absent after encoding again; and what verify says of any file."""

import json
import shutil
import stat
import subprocess
import sys
from hashlib import sha256
from pathlib import Path

import av
import numpy as np
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from fakes import PAYLOAD, busy
from PIL import Image

from tsd.media import credentials, provenance
from tsd.media.marking import detect
from tsd.media.marking.embed import Mark
from tsd.media.provenance import Origin
from tsd.media.verification import verify
from tsd.media.video import read_frames, write_video

pytestmark = pytest.mark.untraced
ORIGIN = Origin("ab" * 32, {"reference": "cd" * 32, "sound": "ef" * 32}, "Agreed on 1 May.", f"{PAYLOAD:08x}")


@pytest.fixture(scope="module")
def key() -> credentials.Credentials:
    return credentials.checked("here", *2 * [credentials.made()])


@pytest.fixture(scope="module")
def signed(tmp_path_factory, key) -> Path:
    path = tmp_path_factory.mktemp("signed") / "sample.mp4"
    write_video(path, Mark(PAYLOAD)(busy()), comment=ORIGIN.sentence)
    provenance.sign(path, ORIGIN, key)
    return path


def test_a_signed_video_says_how_it_was_made(signed):
    result = verify(signed)
    assert result["manifest"]["state"] == "valid" and not result["manifest"]["trusted"] and result["manifest"]["local"]
    said = result["manifest"]["said"]
    assert said["weights"] == ORIGIN.weights and said["inputs"] == ORIGIN.inputs and said["mark"] == f"{PAYLOAD:08x}"
    mark = result["mark"]
    assert mark["found"] and mark["payload"] == f"{PAYLOAD:08x}" and mark["weights"] + mark["run"] == mark["payload"]
    assert "not a trusted signer" in result["sentence"] and "Agreed on 1 May" in result["sentence"]
    assert json.loads(json.dumps(result)) == result
    with av.open(str(signed)) as container:
        assert container.metadata["comment"] == ORIGIN.sentence
    assert read_frames(signed).shape == (80, 128, 128, 3)


def test_a_manifest_has_the_source_type_of_the_standard_and_hashes_of_its_inputs():
    manifest = ORIGIN.manifest("a.mp4")
    action = manifest["assertions"][0]["data"]["actions"][0]
    assert action["digitalSourceType"].endswith("/trainedAlgorithmicMedia") and action["when"] == ORIGIN.when
    assert [one["title"] for one in manifest["ingredients"]] == ["reference", "sound"]
    assert all(digest in str(manifest["ingredients"]) for digest in ORIGIN.inputs.values())


def test_a_copy_stays_valid_and_a_changed_byte_breaks_it(signed, tmp_path):
    copy = tmp_path / "copy.mp4"
    shutil.copy(signed, copy)
    assert provenance.read(copy).state == "valid"
    content, rng = signed.read_bytes(), np.random.default_rng(0)
    start = content.index(b"mdat") + 4
    for at in rng.integers(start, len(content), 10):
        changed = bytearray(content)
        changed[at] ^= 1 << int(rng.integers(8))
        copy.write_bytes(changed)
        assert provenance.read(copy).state == "broken", at


def test_encoding_again_leaves_no_manifest_but_the_mark(signed, tmp_path):
    again = tmp_path / "again.mp4"
    write_video(again, read_frames(signed))
    result = verify(again)
    assert result["manifest"]["state"] == "absent" and result["mark"]["payload"] == f"{PAYLOAD:08x}"


def test_of_a_strangers_video_it_says_that_no_mark_is_found_and_no_more(tmp_path):
    path = tmp_path / "stranger.mp4"
    write_video(path, busy(30))
    result = verify(path)
    assert result["sentence"] == "stranger.mp4: no manifest; no mark found." and result["mark"] == {"found": False}


@pytest.mark.parametrize("ending", ["png", "jpg"])
def test_pictures_are_signed(tmp_path, key, ending):
    path = tmp_path / f"a.{ending}"
    Image.fromarray(busy(1)[0]).save(path)
    assert provenance.read(path).state == "absent"
    provenance.sign(path, ORIGIN, key)
    assert verify(path)["manifest"]["said"]["consent"] == "Agreed on 1 May."
    content = bytearray(path.read_bytes())
    content[len(content) - 40] ^= 1
    path.write_bytes(content)
    assert provenance.read(path).state == "broken"


@pytest.mark.parametrize("count", [150, pytest.param(1000, marks=pytest.mark.slow)])
def test_mutated_files_never_crash_it(signed, tmp_path, count):
    """In a process of its own: a crash of a decoder would end the tests."""
    program = """
import sys
import numpy as np
from pathlib import Path
from tsd.media.marking import detect
from tsd.media.verification import verify
searched, search = [], detect.find_in_sums
detect.find_in_sums = lambda *given: searched.append(search(*given)) or searched[-1]
short, long = (Path(name).read_bytes() for name in sys.argv[1:3])
path, rng = Path(sys.argv[3]), np.random.default_rng(0)
states = set()
for number in range(int(sys.argv[4])):
    content = long if number % 20 < 2 else short  # a search takes 0.2 s
    changed = bytearray(content)
    kind, at = number % 5, int(rng.integers(len(content)))
    if kind == 0:
        changed = changed[:at]
    elif kind == 1:
        changed[at : at + 64] = rng.bytes(64)
    elif kind == 2:
        del changed[at : at + int(rng.integers(1, 5000))]
    elif kind == 3:
        for place in rng.integers(0, min(8000, len(changed)), 20):
            changed[place] = int(rng.integers(256))
    else:
        changed[at:at] = changed[: int(rng.integers(1, 2000))]
    path.write_bytes(changed)
    states.add(verify(path)["manifest"]["state"])
print(len(searched), *sorted(states))
"""
    key = credentials.checked("here", *2 * [credentials.made()])
    for name, frames in {"short.mp4": 2, "long.mp4": 2 * detect.SHORTEST}.items():
        write_video(tmp_path / name, busy(frames, 32, 32))
        provenance.sign(tmp_path / name, ORIGIN, key)
    given = [
        sys.executable,
        "-c",
        program,
        *(str(tmp_path / name) for name in ("short.mp4", "long.mp4", "mutated.mp4")),
        str(count),
    ]
    done = subprocess.run(given, capture_output=True, text=True, cwd=Path(__file__).parents[1])
    assert done.returncode == 0, done.stderr[-2000:]
    searched, *states = done.stdout.split()
    assert {"absent", "broken"} <= set(states) and int(searched) > count / 50


def test_names_do_not_matter(signed, tmp_path, key):
    """A picture that is called a video is valid, and not searched as one; the other way round, too."""
    picture = tmp_path / "a.png"
    Image.fromarray(busy(1)[0]).save(picture)
    provenance.sign(picture, ORIGIN, key)
    for source, name in [(picture, "b.mp4"), (picture, "b"), (signed, "c.png"), (signed, "c.mov"), (signed, "c d")]:
        shutil.copy(source, tmp_path / name)
        result = verify(tmp_path / name)
        assert result["manifest"]["state"] == "valid", name
        assert result["mark"]["found"] is (source is signed), name
        assert ("looked for in videos only" in result["sentence"]) is (source is picture), name


def test_a_mark_that_cannot_be_read_is_told_without_its_payload(signed, monkeypatch):
    monkeypatch.setattr(detect, "READABLE", 1.1)
    result = verify(signed)
    assert result["mark"]["found"] and not result["mark"]["readable"] and 0.9 < result["mark"]["certainty"] <= 1
    assert "a mark is found (too weak to read its payload" in result["sentence"]


def test_files_that_are_no_videos(tmp_path):
    for name, content in {"a.mp4": b"", "b.mp4": b"hello", "c.txt": b"jumb c2pa", "d.png": b"\x89PNG\r\n"}.items():
        (tmp_path / name).write_bytes(content)
        assert not verify(tmp_path / name)["mark"]["found"]
    with pytest.raises(FileNotFoundError, match="no such file"):
        verify(tmp_path / "none.mp4")
    with pytest.raises(ValueError, match="is a folder"):
        verify(tmp_path)


def test_a_key_is_made_once_and_is_its_owners_alone(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    first = credentials.load()
    assert credentials.load() == first and first.algorithm == "es256"
    path = credentials.local_file()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600 and [p.name for p in path.parent.iterdir()] == ["signing.pem"]
    path.write_text("broken")
    with pytest.raises(ValueError, match="remove .*signing.pem"):
        credentials.load()


def test_a_key_of_the_users(tmp_path, key):
    private, chain = tmp_path / "key.pem", tmp_path / "chain.pem"
    private.write_bytes(key.key)
    chain.write_bytes(key.certificates)
    assert credentials.load(private, chain) == key
    other = ec.generate_private_key(ec.SECP256R1())
    private.write_bytes(other.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    for given, words in {
        (private, None): "give both",
        (private, chain): "belongs to another key",
        (chain, chain): "not a PEM key",
    }.items():
        with pytest.raises(ValueError, match=words):
            credentials.load(*given)
    with pytest.raises(FileNotFoundError):
        credentials.load(private, tmp_path / "none.pem")


def test_consent_is_one_sentence():
    assert provenance.consent_of(" She agreed. ") == "She agreed." and provenance.consent_of("") is None
    for wrong in ("a\nb", " ", 5, "x" * 501):
        with pytest.raises(ValueError, match="consent"):
            provenance.consent_of(wrong)
    assert provenance.NO_CONSENT in Origin("", {}).sentence


def test_a_file_is_hashed_as_a_whole(tmp_path):
    (tmp_path / "a").write_bytes(b"x" * 3_000_000)
    assert provenance.file_digest(tmp_path / "a") == sha256(b"x" * 3_000_000).hexdigest()
