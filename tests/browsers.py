"""A real Chromium (Debian's) that opens a page, with a file as its microphone."""

import shutil
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed: apt-get install chromium")
PATIENCE = 300_000
"""Milliseconds that a busy machine may take for one step."""


@contextmanager
def chromium(microphone: Path) -> Iterator:
    """Playwright's browser. microphone: a wav that plays again and again."""
    from playwright.sync_api import sync_playwright

    fakes = ["--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=CHROMIUM,
            args=[*fakes, f"--use-file-for-fake-audio-capture={microphone}", "--no-sandbox"],
            timeout=PATIENCE,
        )
        yield browser
        browser.close()


def visit(browser, address: str, wide: int = 1100, high: int = 1000):
    """A new visitor's page, and the errors that its console gets to hear."""
    context = browser.new_context(viewport={"width": wide, "height": high}, accept_downloads=True)
    page = context.new_page()
    page.set_default_timeout(PATIENCE)
    errors: list[str] = []
    page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.goto(address, timeout=PATIENCE)
    return page, errors


def faults(page) -> list[str]:
    """What axe finds against the rules of WCAG 2.1 A and AA."""
    from axe_playwright_python.sync_playwright import Axe

    rules = {"runOnly": {"type": "tag", "values": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa"]}}
    found = Axe().run(page, options=rules).response["violations"]
    return [f"{fault['id']}: {fault['nodes'][0]['html'][:200]}" for fault in found]


@contextmanager
def served(application) -> Iterator[str]:
    """The address of an ASGI application that a thread of this process serves."""
    import uvicorn

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server = uvicorn.Server(uvicorn.Config(application, "127.0.0.1", port, log_level="warning"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        assert thread.is_alive()
        time.sleep(0.05)
    yield f"http://127.0.0.1:{port}/"
    server.should_exit = True
    thread.join(20)
