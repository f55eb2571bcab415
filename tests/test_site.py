"""The static page in Chromium, below a path of a plain file server: its frames are Python's, it says what it must."""

import json
import shutil
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import av
import numpy as np
import pytest
from browsers import PATIENCE, chromium, faults, needs_chromium, visit
from fake_talkers import DENOISER, files, wave
from fakes import CONF, fake_motion
from hydra import compose, initialize_config_dir
from PIL import Image

from tsd.browser import site
from tsd.browser.limits import Limits
from tsd.commands import export
from tsd.export.face_finder import graphs_of_finder
from tsd.export.parity import largest_difference
from tsd.media.audio import load_audio, write_wav
from tsd.nets.motion import MotionBank
from tsd.runtime.card import Card
from tsd.runtime.talker import Talker
from tsd.weights import checkpoint
from tsd.weights.onnx import to_onnx

pytestmark = pytest.mark.untraced
FACE = Path(__file__).parents[1] / "experiments" / "quality" / "face.png"
needs_npm = pytest.mark.skipif(shutil.which("npm") is None, reason="npm is not installed: it builds the site's program")

KEEP_FRAMES = """
window.shown = [];
const draw = CanvasRenderingContext2D.prototype.putImageData;
CanvasRenderingContext2D.prototype.putImageData = function (image, ...at) {
  if (this.canvas.id === "frames") window.shown.push(image);
  return draw.call(this, image, ...at);
};
"""
READ_FRAME = """(i) => {
  let text = "";
  for (const byte of window.shown[i].data) text += String.fromCharCode(byte);
  return [window.shown[i].width, window.shown[i].height, btoa(text)];
}"""


def test_the_finders_graphs_are_its_nets():
    graphs = graphs_of_finder()
    assert list(graphs) == ["pnet", "rnet", "onet"]
    for name, graph in graphs.items():
        assert largest_difference(graph, to_onnx(graph), "onnxruntime") < 1e-5, name


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


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """An export of small nets that know motion."""
    root = tmp_path_factory.mktemp("export")
    (root / "weights").mkdir()
    small = DENOISER | {"causal": True, "channels": [8], "mean_reaches": [1, 3]}
    paths = files(root / "weights", student=small)
    bank = MotionBank(2, 10)
    bank.tracks.copy_(fake_motion(2, 10))
    checkpoint.save(paths["motion"], "motion", bank, {"num_tracks": 2, "num_frames": 10}, {})
    overrides = [f"weights.{stage}={path}" for stage, path in paths.items() if stage != "teacher"]
    with initialize_config_dir(str(CONF), version_base="1.3"):
        cfg = compose("export", [*overrides, "int8=false", f"out={root / 'out'}"])
    return export.run(cfg)


@pytest.fixture(scope="module")
def address(exported, tmp_path_factory):
    """The site of that export, served below a path."""
    root = tmp_path_factory.mktemp("host")
    folder = root / "any" / "path"
    folder.mkdir(parents=True)
    site.write_site(folder, Card.read(exported), Limits(seconds=30))
    handler = partial(SimpleHTTPRequestHandler, directory=str(root))
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/any/path/"
    server.shutdown()


@pytest.fixture(scope="module")
def sounds(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sounds")
    write_wav(folder / "short.wav", wave(16_000))
    write_wav(folder / "long.wav", wave(16_000 * 29))
    write_wav(folder / "longer.wav", wave(16_000 * 31))
    write_wav(folder / "silent.wav", np.zeros(16_000, np.float32))
    Image.new("RGB", (200, 200), "grey").save(folder / "wall.png")
    return folder


def frames_of(page) -> np.ndarray:
    """uint8 [T, H, W, 3]: what the page has drawn."""
    import base64

    made = []
    for number in range(page.evaluate("window.shown.length")):
        width, height, text = page.evaluate(READ_FRAME, number)
        made.append(np.frombuffer(base64.b64decode(text), np.uint8).reshape(height, width, 4)[..., :3])
    return np.stack(made)


def says(page, text: str) -> None:
    page.locator("#status", has_text=text).wait_for()


@needs_npm
@needs_chromium
@pytest.mark.slow
def test_a_photograph_speaks_in_the_browser_as_in_python(exported, address, sounds, tmp_path):
    with chromium(sounds / "long.wav") as browser:
        page, errors = visit(browser, address)
        says(page, "Ready.")
        page.add_init_script(KEEP_FRAMES)
        page.reload()
        says(page, "Ready.")
        assert page.evaluate("self.crossOriginIsolated") and int(page.evaluate("document.body.dataset.threads")) >= 1
        page.locator("#photograph").set_input_files(FACE)
        says(page, "The photograph can speak.")
        page.locator("#speech").set_input_files(sounds / "short.wav")
        says(page, "1.0 s of speech.")
        page.locator("#consent").fill("She agreed.")
        page.locator("#seed").fill("3")
        page.locator("#label").uncheck()
        page.locator("#speak").click()
        says(page, "Done.")

        talker = Talker.load(exported, "onnxruntime", threads=1)
        talker.marked = False
        talker.set_reference(FACE)
        ours, theirs = talker.video(load_audio(sounds / "short.wav"), "k2", seed=3), frames_of(page)
        assert theirs.shape == ours.shape == (25, 128, 128, 3)
        worst = np.abs(theirs.astype(int) - ours).max()
        assert worst <= 2, f"frames differ by up to {worst} levels"

        with page.expect_download() as download:
            page.locator("#download").click()
        path = tmp_path / download.value.suggested_filename
        download.value.save_as(path)
        said_in_file_and_lengths(path)
        page.screenshot(path=tmp_path / "done.png", full_page=True)
        assert not faults(page)

        page.context.set_offline(True)
        page.reload()
        says(page, "Ready.")
        page.context.set_offline(False)
        assert errors == []


def said_in_file_and_lengths(path: Path) -> None:
    with av.open(str(path)) as container:
        words = " ".join(container.metadata.values())
        assert "Generated by an algorithm" in words and "consent: She agreed" in words and "Not signed" in words
        assert sum(1 for _ in container.decode(video=0)) == 25
    with av.open(str(path)) as container:
        samples = sum(frame.samples for frame in container.decode(audio=0))
        assert abs(samples / container.streams.audio[0].rate - 1) < 0.07


@needs_npm
@needs_chromium
@pytest.mark.slow
def test_refusals_cancelling_the_microphone_and_keys(address, sounds, tmp_path):
    with chromium(sounds / "long.wav") as browser:
        page, errors = visit(browser, address, 390, 844)
        says(page, "Ready.")
        assert page.evaluate("document.documentElement.scrollWidth") <= 390, "nothing is cut off on a phone"
        page.locator("#speak").click()
        says(page, "The photograph is missing.")
        page.locator("#photograph").set_input_files(sounds / "wall.png")
        says(page, "No face found")
        page.screenshot(path=tmp_path / "refused.png", full_page=True)
        page.locator("#photograph").set_input_files(FACE)
        says(page, "The photograph can speak.")
        for name, words in (("longer.wav", "30 s are the most"), ("silent.wav", "The sound is silent")):
            page.locator("#speech").set_input_files(sounds / name)
            says(page, "s of speech.")
            page.locator("#speak").click()
            says(page, words)
        page.locator("#speech").set_input_files(sounds / "long.wav")
        says(page, "29.0 s of speech.")
        page.locator("#speak").click()
        page.locator("#cancel:enabled").click()
        says(page, "Cancelled. Nothing was kept.")

        page.locator("#record").click()
        page.wait_for_timeout(1500)
        page.locator("#record").click()
        says(page, "s of speech.")
        page.locator("#live").click()
        page.locator("#numbers", has_text="ms after its sound").wait_for(timeout=PATIENCE)
        page.screenshot(path=tmp_path / "live.png", full_page=True)
        page.locator("#cancel:enabled").click()
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
