"""A real Chromium, driven by Playwright, that opens a page with a file as its microphone: for tests and studies."""

import base64
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
"""Debian's package, or what else is installed; None where there is none."""

PATIENCE = 300_000
"""Milliseconds that a busy machine may take for one step."""

KEEP = """(() => {
  window.drawn = [];
  const draw = CanvasRenderingContext2D.prototype.putImageData;
  CanvasRenderingContext2D.prototype.putImageData = function (image, ...at) {
    if (this.canvas.id === "frames") window.drawn.push(image);
    return draw.call(this, image, ...at);
  };
})();"""
READ = """(i) => {
  let text = "";
  for (const byte of window.drawn[i].data) text += String.fromCharCode(byte);
  return [window.drawn[i].width, window.drawn[i].height, btoa(text)];
}"""


@contextmanager
def chromium(microphone: Path) -> Iterator:
    """Playwright's browser. microphone: a wav that plays again and again. The camera shows Chromium's own test picture.
    ValueError where no Chromium is installed."""
    from playwright.sync_api import sync_playwright

    if CHROMIUM is None:
        raise ValueError("no Chromium is installed: apt-get install chromium")
    fakes = ["--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=CHROMIUM,
            args=[*fakes, f"--use-file-for-fake-audio-capture={microphone}", "--no-sandbox"],
            timeout=PATIENCE,
        )
        yield browser
        browser.close()


def visit(browser, address: str, wide: int = 1100, high: int = 1000, dark: bool = False):
    """A new visitor's page, and the errors that its console gets to hear."""
    scheme = "dark" if dark else "light"
    context = browser.new_context(viewport={"width": wide, "height": high}, color_scheme=scheme)
    page = context.new_page()
    page.set_default_timeout(PATIENCE)
    errors: list[str] = []
    page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.goto(address, timeout=PATIENCE)
    return page, errors


def faults(page) -> list[str]:
    """What axe finds against the rules of WCAG 2.1 A and AA: the rule, and the first element."""
    return [f"{fault['id']}: {fault['nodes'][0]['html'][:200]}" for fault in examined(page)["violations"]]


def examined(page) -> dict:
    """axe's whole answer: ``violations``, ``passes``, ``incomplete``, lists of rules with the elements of each."""
    from axe_playwright_python.sync_playwright import Axe

    rules = {"runOnly": {"type": "tag", "values": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa"]}}
    return Axe().run(page, options=rules).response


def says(page, text: str) -> None:
    """Wait until the site's status holds ``text``."""
    page.locator("#status", has_text=text).wait_for()


def keep_frames(page) -> None:
    """From its next load on the page keeps the frames that it draws."""
    page.add_init_script(KEEP)


def frames_of(page) -> np.ndarray:
    """uint8 [T, H, W, 3]: the frames that the page has drawn since it was loaded (``keep_frames``)."""
    made = []
    for number in range(page.evaluate("window.drawn.length")):
        width, height, text = page.evaluate(READ, number)
        made.append(np.frombuffer(base64.b64decode(text), np.uint8).reshape(height, width, 4)[..., :3])
    return np.stack(made)
