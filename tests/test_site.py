"""The static page in Chromium, below a path of a plain file server: its frames are Python's, it says what it must."""

import json
import re
import shutil
from functools import partial
from pathlib import Path

import av
import numpy as np
import pytest
from browsers import needs_chromium
from fake_talkers import wave
from PIL import Image

from tsd.bench.chromium import PATIENCE, chromium, faults, frames_of, keep_frames, says, visit
from tsd.bench.static_host import hosted
from tsd.browser import site
from tsd.browser.limits import Limits
from tsd.media.audio import load_audio, write_wav
from tsd.runtime import graph_files
from tsd.runtime.loading import weights_in
from tsd.runtime.talker import Talker

pytestmark = pytest.mark.untraced
ROOT = Path(__file__).parents[1]
FACE, WEIGHTS = ROOT / "experiments" / "quality" / "face.png", ROOT / "weights" / "people"
FRAMES = 15
"""Of the speech that is held against Python's, 0.6 s."""

needs_npm = pytest.mark.skipif(shutil.which("npm") is None, reason="npm is not installed: it builds the site's program")


def test_without_npm_it_is_said_what_is_missing(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ValueError, match=r"install Node.js 20"):
        site.build_program(tmp_path, "ab" * 32)


def test_the_settings_are_those_that_the_program_declares():
    declared = (site.PROGRAM / "src" / "settings.ts").read_text()
    given = site.settings("ab" * 32, Limits())
    json.dumps(given)
    for group, values in given.items():
        assert f"{group}:" in declared, group
        for key in values if isinstance(values, dict) else ():
            assert f"{key}:" in declared, f"{group}.{key}"


def quickly_packed(content: bytes, level: int, mtime: int, compress) -> bytes:
    return compress(content, 1, mtime=mtime)


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    """The site of the released nets, served below a path."""
    root = tmp_path_factory.mktemp("host")
    folder = root / "any" / "path"
    folder.mkdir(parents=True)
    with pytest.MonkeyPatch.context() as patch:  # no test asks how small files become: half of the time
        patch.setattr(site.gzip, "compress", partial(quickly_packed, compress=site.gzip.compress))
        site.write_site(folder, graph_files.find(weights_in(WEIGHTS)), Limits(seconds=30))
    with hosted(root, "any/path/") as host:
        yield host.address


@pytest.fixture(scope="module")
def sounds(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sounds")
    write_wav(folder / "short.wav", wave(640 * FRAMES))
    write_wav(folder / "long.wav", wave(16_000 * 29))
    write_wav(folder / "longer.wav", wave(16_000 * 31))
    write_wav(folder / "silent.wav", np.zeros(16_000, np.float32))
    Image.new("RGB", (200, 200), "grey").save(folder / "wall.png")
    return folder


@pytest.fixture(scope="module")
def started(sounds):
    with chromium(sounds / "long.wav") as browser:
        yield browser


@pytest.fixture
def browser(started):
    """One for all tests: every visitor has their own cache, storage and service worker, and leaves after their test."""
    yield started
    for visitor in started.contexts:
        visitor.close()


def visit_that_keeps_frames(browser, address: str):
    """A page that keeps the frames that it draws, and what its console gets to hear."""
    page, errors = visit(browser, "about:blank")
    keep_frames(page)
    page.goto(address)
    says(page, "Ready.")
    return page, errors


def takes(page, photograph: Path, speech: Path) -> None:
    """Gives the page both, short speech, and waits until it has looked at them."""
    page.locator("#photograph").set_input_files(photograph)
    says(page, "The photograph can speak.")
    page.locator("#speech").set_input_files(speech)
    says(page, f"{FRAMES / 25:.1f} s of speech.")


@needs_npm
@needs_chromium
def test_photographs_speak_in_the_browser_as_in_python(browser, address, sounds, tmp_path):
    page, errors = visit_that_keeps_frames(browser, address)
    assert page.evaluate("self.crossOriginIsolated") and int(page.evaluate("document.body.dataset.threads")) >= 1
    takes(page, FACE, sounds / "short.wav")
    page.locator("#consent").fill("She agreed.")
    page.locator("#seed").fill("3")
    page.locator("#label").uncheck()
    page.locator("#speak").click()
    says(page, "Done.")

    talker = Talker.load(WEIGHTS, "onnxruntime", threads=1)
    talker.marked = False
    drawn_as_by(talker, FACE, sounds, page, 128)

    with page.expect_download() as download:
        page.locator("#download").click()
    path = tmp_path / download.value.suggested_filename
    download.value.save_as(path)
    said_in_file_and_lengths(path)
    page.screenshot(path=tmp_path / "done.png", full_page=True)
    assert not faults(page)

    # Where its pixels are smaller than the decoder's, also what is painted over loses the same fine detail.
    large = tmp_path / "large.png"
    Image.open(FACE).convert("RGB").resize((224, 224), Image.Resampling.BICUBIC).save(large)
    page.evaluate("() => { window.drawn.length = 0; }")
    page.locator("#photograph").set_input_files(large)
    says(page, "The photograph can speak.")
    page.locator("#speak").click()
    says(page, "Done.")
    drawn_as_by(talker, large, sounds, page, 224)

    page.context.set_offline(True)
    page.reload()
    says(page, "Ready.")
    page.context.set_offline(False)
    assert errors == []


def drawn_as_by(talker: Talker, photograph: Path, sounds: Path, page, side: int) -> None:
    """The frames that the page has drawn are Python's."""
    talker.set_reference(photograph)
    ours, theirs = talker.video(load_audio(sounds / "short.wav"), "k2", seed=3), frames_of(page)
    assert theirs.shape == ours.shape == (FRAMES, side, side, 3)
    worst = np.abs(theirs.astype(int) - ours).max()
    assert worst <= 2, f"frames differ by up to {worst} levels"


def said_in_file_and_lengths(path: Path) -> None:
    with av.open(str(path)) as container:
        words = " ".join(container.metadata.values())
        assert "Generated by an algorithm" in words and "consent: She agreed" in words and "Not signed" in words
        assert sum(1 for _ in container.decode(video=0)) == FRAMES
    with av.open(str(path)) as container:
        samples = sum(frame.samples for frame in container.decode(audio=0))
        assert abs(samples / container.streams.audio[0].rate - FRAMES / 25) < 0.07


@needs_npm
@needs_chromium
def test_refusals_cancelling_and_live_speech_by_keys_alone(browser, address, sounds, tmp_path):
    page, errors = visit(browser, address, 390, 844)
    says(page, "Ready.")
    assert page.evaluate("document.documentElement.scrollWidth") <= 390, "nothing is cut off on a phone"
    page.locator("#speak").press("Enter")
    says(page, "The photograph is missing.")
    page.locator("#photograph").set_input_files(sounds / "wall.png")
    says(page, "No face found")
    page.screenshot(path=tmp_path / "refused.png", full_page=True)
    page.locator("#photograph").set_input_files(FACE)
    says(page, "The photograph can speak.")
    for name, words in (("longer.wav", "30 s are the most"), ("silent.wav", "The sound is silent")):
        page.locator("#speech").set_input_files(sounds / name)
        says(page, "s of speech.")
        page.locator("#speak").press("Enter")
        says(page, words)
    page.locator("#speech").set_input_files(sounds / "long.wav")
    says(page, "29.0 s of speech.")
    page.locator("#speak").press("Enter")
    page.locator("#cancel:enabled").press("Space")
    says(page, "Cancelled. Nothing was kept.")

    page.locator("#live").press("Enter")
    numbers = page.locator("#numbers", has_text="ms after its sound")
    numbers.wait_for(timeout=PATIENCE)
    page.screenshot(path=tmp_path / "live.png", full_page=True)
    delay, most = map(int, re.findall(r"(-?\d+) ms", numbers.inner_text()))
    assert most >= delay >= 247, "no frame comes before the sound that it needs"
    page.locator("#cancel:enabled").press("Enter")
    says(page, "Stopped after")

    page.locator("#photograph").focus()
    reached = []
    for _ in range(24):
        page.keyboard.press("Tab")
        reached.append(page.evaluate("document.activeElement.id"))
    assert {"camera", "speech", "record", "steps", "frame", "motion", "seed", "consent", "speak", "live"} <= set(
        reached
    )
    assert errors == []


@needs_npm
@needs_chromium
def test_camera_and_microphone_given_and_refused(browser, address, sounds):
    page, errors = visit(browser, address)
    says(page, "Ready.")
    page.locator("#photograph").set_input_files(FACE)
    says(page, "The photograph can speak.")
    page.locator("#camera").click()
    page.get_by_role("button", name="Take the picture").click()
    says(page, "No face found")  # in Chromium's test picture
    page.locator("#photograph").set_input_files(FACE)
    says(page, "The photograph can speak.")
    page.locator("#record").click()
    page.get_by_role("button", name="Stop recording").wait_for()
    page.wait_for_timeout(1500)
    page.locator("#record").click()
    says(page, "s of speech.")
    assert page.evaluate("document.getElementById('heard').src").startswith("blob:")

    page.evaluate("() => { navigator.mediaDevices.getUserMedia = () => Promise.reject(new Error('denied')); }")
    for button, name in (("#live", "microphone"), ("#record", "microphone"), ("#camera", "camera")):
        page.locator(button).click()
        says(page, f"The {name} cannot be used")
        assert page.locator("#speak").is_enabled()
        page.locator("#status").evaluate("status => { status.textContent = ''; }")
    assert errors == []
