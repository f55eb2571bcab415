"""The page in which a photograph speaks: samples, refusals and limits by themselves, then all of it in Chromium."""

import json
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path
from types import SimpleNamespace

import av
import numpy as np
import pytest
from browsers import needs_chromium, served
from fake_talkers import talker, wave
from PIL import Image

from tsd.bench.chromium import chromium, faults, visit
from tsd.browser.limits import Limits, said
from tsd.browser.samples import Cancelled, Studio, Wish
from tsd.media import credentials, provenance
from tsd.media.audio import write_wav
from tsd.media.video import write_video

gradio = pytest.importorskip("gradio", reason="the extra `page` is not installed")
from tsd.browser import app  # noqa: E402

pytestmark = pytest.mark.untraced
FACE = Path(__file__).parents[1] / "experiments" / "quality" / "face.png"


@pytest.fixture(scope="module")
def studio():
    """A studio of small random nets whose frames are marked."""
    nets = talker()
    nets.marked, nets.weights = True, "ab" * 32
    return Studio(nets, Limits(seconds=70, face_pixels=256), credentials.load())


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Sounds, pictures and a video that visitors give."""
    folder = tmp_path_factory.mktemp("given")
    write_wav(folder / "short.wav", wave(16_000))
    write_wav(folder / "long.wav", wave(16_000 * 60))
    write_wav(folder / "longer.wav", wave(16_000 * 71))
    Image.new("RGB", (200, 200), "grey").save(folder / "wall.png")
    face = np.asarray(Image.open(FACE).convert("RGB"))
    write_video(folder / "clip.mp4", np.stack([face] * 30), wave(19_200))
    return folder


def made(studio, wish, path, cancelled=None):
    told = []
    sample = studio.make(wish, path, lambda share, text: told.append((share, text)), cancelled or threading.Event())
    return sample, told


def lengths(path) -> tuple[float, float]:
    """Seconds of picture and of sound."""
    with av.open(str(path)) as container:
        pictures = sum(1 for _ in container.decode(video=0)) / 25
    with av.open(str(path)) as container:
        samples = sum(frame.samples for frame in container.decode(audio=0))
        return pictures, samples / container.streams.audio[0].rate


def test_a_sample_is_signed_marked_and_says_how_it_was_made(studio, files, tmp_path):
    wish = Wish(files / "short.wav", FACE, steps="k1", frame="face", consent="She agreed.", label=False)
    sample, told = made(studio, wish, tmp_path / "sample.mp4")
    assert told[-1] == (1.0, "K1: frame 25 of 25") and [share for share, _ in told] == sorted(s for s, _ in told)
    manifest = provenance.read(sample.path)
    assert manifest.state == "valid" and manifest.said["consent"] == "She agreed."
    assert manifest.said["mark"] == sample.mark and sample.mark.startswith("abab")
    pictures, sound = lengths(sample.path)
    assert pictures == 1.0 and abs(sound - 1.0) < 0.07
    seconds, rate, moved, sharp = (float(value) for value in sample.figures.row())
    assert seconds > 0 and rate > 0 and moved > 0 and sharp > 0


def test_a_video_says_other_words(studio, files, tmp_path):
    sample, _ = made(studio, Wish(files / "short.wav", video=files / "clip.mp4", steps="k1"), tmp_path / "dub.mp4")
    assert lengths(sample.path)[0] == 1.0 and "video" in json.dumps(provenance.read(sample.path).said["inputs"])


def test_what_is_found_is_told_and_what_is_refused_says_why(studio, files, tmp_path):
    assert studio.found(FACE)[0].startswith("One face, 1")
    with pytest.raises(ValueError, match="no face found"):
        studio.found(files / "wall.png")
    with pytest.raises(ValueError, match="71.0 s long; this page takes 70 s"):
        made(studio, Wish(files / "longer.wav", FACE), tmp_path / "x.mp4")
    narrow = Studio(studio.talker, Limits(video_pixels=100), studio.signer)
    with pytest.raises(ValueError, match="128 x 128 pixels"):
        made(narrow, Wish(files / "short.wav", video=files / "clip.mp4"), tmp_path / "x.mp4")
    with pytest.raises(ValueError, match="limits.seconds=0: must be above 0"):
        Limits(seconds=0)
    assert not list(tmp_path.iterdir())


def test_a_cancelled_sample_leaves_nothing(studio, files, tmp_path):
    cancelled = threading.Event()
    cancelled.set()
    with pytest.raises(Cancelled):
        made(studio, Wish(files / "short.wav", FACE), tmp_path / "x.mp4", cancelled)
    assert not list(tmp_path.iterdir())


def test_errors_name_what_was_given_and_no_path():
    error = ValueError("/srv/tmp/abc/me.png: no face found; see /srv/other/place.txt")
    assert said(error, {"/srv/tmp/abc/me.png": "the photograph", None: "x"}) == (
        "The photograph: no face found; see place.txt."
    )


def test_a_visitor_who_leaves_takes_their_results_along(studio, tmp_path):
    page, visitor = app.Page(studio, tmp_path), SimpleNamespace(session_hash="a")
    (tmp_path / "r").mkdir()
    page.results["a"].append(tmp_path / "r")
    page.cancelled["a"] = running = threading.Event()
    page.leave(SimpleNamespace(session_hash="b"))
    assert (tmp_path / "r").is_dir() and not running.is_set()
    page.leave(visitor)
    assert not (tmp_path / "r").exists() and running.is_set() and not page.results


def status(address: str) -> int:
    try:
        return urllib.request.urlopen(address, timeout=60).status
    except urllib.error.HTTPError as error:
        return error.code


def test_no_path_of_the_server_can_be_named(studio, tmp_path):
    (tmp_path / "cache").mkdir()
    (tmp_path / "secret.txt").write_text("secret")
    with served(app.application(studio, tmp_path / "cache")) as address:
        doors = f"{address}gradio_api/"
        assert status(address) == 200
        for path in (tmp_path / "secret.txt", FACE, Path("/etc/hostname"), f"{tmp_path}/cache/../secret.txt"):
            assert status(f"{doors}file={path}") in (403, 404), path
        for door in ("proxy=http://127.0.0.1:1/", "file=http://127.0.0.1:1/", "info", "openapi.json"):
            assert status(doors + door) == 404, door
        answer = urllib.request.urlopen(address, timeout=60)
        assert "connect-src 'self'" in answer.headers["Content-Security-Policy"]
        named = {"data": [{"path": str(tmp_path / "secret.txt"), "meta": {"_type": "gradio.FileData"}}]}
        config = json.load(urllib.request.urlopen(address + "config", timeout=60))
        look = next(d["id"] for d in config["dependencies"] if any(t[1] == "change" for t in d["targets"]))
        body = json.dumps(named | {"fn_index": look, "session_hash": "evil"}).encode()
        asked = urllib.request.Request(doors + "queue/join", body, {"Content-Type": "application/json"})
        urllib.request.urlopen(asked, timeout=60)
        told = urllib.request.urlopen(f"{doors}queue/data?session_hash=evil", timeout=60).read().decode()
        assert '"success":false' in told.replace(" ", "") and "secret" not in told.replace("secret.txt", "")


def made_for(page) -> set[str]:
    """Addresses of the videos that a visitor sees."""
    return {video.get_attribute("src") for video in page.locator("video").all()} - {None}


@needs_chromium
def test_two_visitors_in_a_browser(studio, files, tmp_path, monkeypatch):
    monkeypatch.setenv("GRADIO_HEARTBEAT_INTERVAL", "0.5")  # seconds until a server knows that a visitor has left
    cache = tmp_path / "cache"
    cache.mkdir()
    with served(app.application(studio, cache)) as address, chromium(files / "long.wav") as browser:
        one, errors = visit(browser, address)
        two, more = visit(browser, address, 390, 844)
        for visitor, picture in ((one, FACE), (two, files / "wall.png")):
            visitor.locator("#photograph input[type=file]").set_input_files(picture)
        one.get_by_text("One face, ").wait_for()
        two.get_by_text("no face found; give a picture of one person").wait_for()
        two.screenshot(path=tmp_path / "refused.png", full_page=True)
        assert two.evaluate("document.documentElement.scrollWidth") <= 390, "nothing is cut off on a phone"

        two.locator("#photograph button[aria-label='Remove Image']").click()
        two.locator("#photograph input[type=file]").set_input_files(FACE)
        two.get_by_text("One face, ").wait_for()
        two.get_by_label("Record audio").first.click()
        two.get_by_role("button", name="Record", exact=True).click()
        two.wait_for_timeout(1500)
        two.get_by_role("button", name="Stop", exact=True).click()

        one.locator("#speech input[type=file]").set_input_files(files / "short.wav")
        for visitor in (one, two):
            visitor.locator("#speech").get_by_label("Play", exact=True).first.wait_for()
        one.get_by_label("K = 1").first.check()
        for visitor in (one, two):
            visitor.get_by_role("button", name="Let it speak").press("Enter")
        for visitor in (one, two):
            visitor.get_by_text("Done.").wait_for()
        assert len(made_for(two)) == 1 and not made_for(two) & made_for(one)
        videos = made_for(one)
        assert len(videos) == 2
        for number, source in enumerate(videos):
            path = tmp_path / f"{number}.mp4"
            path.write_bytes(urllib.request.urlopen(source, timeout=60).read())
            pictures, sound = lengths(path)
            assert pictures == 1.0 and abs(sound - 1.0) < 0.07 and provenance.read(path).state == "valid"
        one.screenshot(path=tmp_path / "done.png", full_page=True)
        assert errors == more == [] and not faults(one) and not faults(two)

        three, _ = visit(browser, address)
        three.locator("#photograph input[type=file]").set_input_files(FACE)
        three.get_by_text("One face, ").wait_for()
        three.locator("#speech input[type=file]").set_input_files(files / "long.wav")
        three.locator("#speech").get_by_label("Play", exact=True).first.wait_for()
        three.get_by_role("button", name="Let it speak").click()
        three.get_by_text("Making K2").wait_for()
        three.get_by_role("button", name="Cancel").first.click()
        three.get_by_text("Cancelled. Nothing of it was kept.").wait_for()
        for visitor, others in ((one, 1), (two, 0)):
            visitor.close()
            until = time.monotonic() + 60
            while len(list(cache.rglob("generated_*.mp4"))) > others and time.monotonic() < until:
                time.sleep(0.1)
            assert len(list(cache.rglob("generated_*.mp4"))) == others, "results go with their visitor alone"
