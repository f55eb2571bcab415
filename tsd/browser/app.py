"""The page that computes on this machine: photograph and speech in, videos side by side out (Gradio).

Gradio keeps the files of visitors in one folder, which is private to this process and removed when it ends. Each result
lies in a folder there whose name nobody can guess. They are removed when a visitor leaves, and after some minutes
anyway. One sample is made at a time; other visitors wait in line.
"""

import logging
import os
import secrets
import shutil
from collections import defaultdict
from pathlib import Path
from threading import Event

os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"  # read when Gradio is imported: nothing leaves this machine

import fastapi
import gradio as gr
import uvicorn

from tsd.browser.doors import guard
from tsd.browser.figures import COLUMNS, REAL_TIME
from tsd.browser.limits import said
from tsd.browser.samples import Cancelled, Sample, Studio, Wish

log = logging.getLogger(__name__)

MOST = 4
"""Samples side by side."""

TITLE = "TempoSyncDiff: a photograph speaks"
INTRODUCTION = """# A photograph speaks

Give a photograph of one person who looks into the camera, and speech. Use it only with the consent of the person shown,
and say that the video is generated. Every video carries a signed manifest and an invisible mark that say so.
"""
MOTIONS = [("as recorded heads move", "natural"), ("still, only the lower face changes", "still")]
FRAMES = [("the whole photograph", "picture"), ("the square around the face", "face")]
LENGTHS = [("as long as the speech", "speech"), ("as long as the shorter one", "shorter"), ("as the video", "video")]
FACES = [("there is only one", ""), ("the largest", "largest"), ("on the left", "left"), ("on the right", "right")]
SIZES = [("as the photograph has it", "native"), ("128 pixels", 128), ("256 pixels", 256), ("512 pixels", 512)]
# The last line: Gradio's own colours have too little contrast there.
STYLE = (
    ".gradio-container{max-width:1100px!important;min-width:0!important;margin:auto!important} "
    "footer{display:none!important} "
    "time,button[role=tab],#speech span,#other span,.or{color:var(--body-text-color)!important}"
)


class Page:
    """The page of one studio. ``folder``: where files of visitors lie."""

    def __init__(self, studio: Studio, folder: Path):
        self.studio, self.folder = studio, folder
        self.cancelled: dict[str, Event] = {}
        """By the visitor's session, while something is made for them."""
        self.results: dict[str, list[Path]] = defaultdict(list)
        """Folders of a session's results."""

    def found(self, photograph: str | None) -> str:
        """What is seen in a photograph, as soon as it is given."""
        if photograph is None:
            return ""
        try:
            return "\n".join(f"- {sentence}" for sentence in self.studio.found(photograph))
        except (ValueError, OSError) as error:
            return f"**{said(error, {photograph: 'the photograph'})}**"

    def speak(self, photograph, speech, steps, size, frame, motion, seed, consent, label, request: gr.Request):
        """Videos of a photograph, one for each number of steps; yields what the page shows."""
        given = {"photograph": photograph, "speech": speech, "consent": consent, "label": label}
        given |= {"size": size, "frame": frame, "motion": motion, "seed": int(seed or 0)}
        missing = [name for name, file in (("photograph", photograph), ("speech", speech)) if not file]
        yield from self.samples(given, steps, missing, request.session_hash)

    def dub(self, video, speech, steps, face, length, seed, consent, label, request: gr.Request):
        """As ``speak``, for a video that says other words."""
        given = {"video": video, "speech": speech, "consent": consent, "label": label}
        given |= {"face": face or None, "length": length, "seed": int(seed or 0)}
        missing = [name for name, file in (("video", video), ("speech", speech)) if not file]
        yield from self.samples(given, steps, missing, request.session_hash)

    def samples(self, given: dict, steps: list[str], missing: list[str], session: str):
        """Sentence, table, files and MOST videos, after each sample."""
        made: dict[str, Sample] = {}
        if missing or not steps:
            missing += [] if steps else ["number of steps"]
            yield shown(f"**The {' and the '.join(missing)} is missing.**", made)
            return
        self.cancelled[session] = cancelled = Event()
        names = {given.get(kind): f"the {kind}" for kind in ("photograph", "video", "speech")}
        progress = gr.Progress()
        try:
            for number, name in enumerate(sorted(steps)[:MOST]):
                yield shown(f"Making {name.upper()} …", made)
                folder = self.folder / secrets.token_hex(16)
                folder.mkdir()
                self.results[session].append(folder)

                def watched(share: float, sentence: str, done: int = number) -> None:
                    progress((done + share) / len(steps), desc=sentence)

                made[name] = self.studio.make(
                    Wish(steps=name, **given), folder / f"generated_{name}.mp4", watched, cancelled
                )
            yield shown(finished(made), made)
        except Cancelled:
            yield shown("**Cancelled.** Nothing of it was kept.", {})
        except (ValueError, OSError) as error:
            yield shown(f"**{said(error, names)}**", made)
        finally:
            self.cancelled.pop(session, None)

    def cancel(self, request: gr.Request) -> None:
        if event := self.cancelled.get(request.session_hash):
            event.set()

    def leave(self, request: gr.Request) -> None:
        """The visitor closed the page: what is made for them is cancelled, and their results go."""
        self.cancel(request)
        for folder in self.results.pop(request.session_hash, []):
            shutil.rmtree(folder, ignore_errors=True)


def shown(sentence: str, made: dict[str, Sample]) -> list:
    """Values of the outputs: sentence, table, files, then the videos."""
    rows = [[name.upper(), *sample.figures.row()] for name, sample in made.items()]
    videos = [gr.update(value=str(s.path), label=f"{n.upper()}, generated", visible=True) for n, s in made.items()]
    videos += [gr.update(value=None, visible=False)] * (MOST - len(videos))
    table = gr.update(value=rows, visible=bool(rows))
    files = gr.update(value=[str(sample.path) for sample in made.values()] or None, visible=bool(made))
    return [sentence, table, files, *videos]


def finished(made: dict[str, Sample]) -> str:
    marks = {sample.mark for sample in made.values() if sample.mark}
    said_of_marks = f" Invisible marks: {', '.join(sorted(marks))}." if marks else ""
    return f"Done. {REAL_TIME}{said_of_marks} `make verify VIDEO=<file>` reads where a video comes from."


def build(studio: Studio, folder: Path) -> gr.Blocks:
    """The page's parts and what they call."""
    page, keep = Page(studio, folder), studio.limits.keep_minutes * 60
    known = sorted(studio.talker.schedules, key=lambda name: int(name[1:]))
    with gr.Blocks(title=TITLE, analytics_enabled=False, delete_cache=(int(min(60, keep)), int(keep))) as blocks:
        gr.Markdown(INTRODUCTION)
        with gr.Tab("Photograph"):
            speak_tab(page, known)
        with gr.Tab("Dubbing"):
            dub_tab(page, known)
        blocks.unload(page.leave)
    return blocks


def options(known: list[str]) -> list:
    """Inputs that both tabs have: steps, and behind the others seed, consent and label."""
    choices = [(f"K = {name[1:]}", name) for name in known]
    first = next((name for name in ("k2", *known) if name in known), None)
    steps = gr.CheckboxGroup(choices, value=[first], label="Steps (several: side by side)")
    with gr.Accordion("Seed, consent and label", open=True):
        seed = gr.Number(0, label="Seed", precision=0, minimum=0, maximum=2**31 - 1)
        consent = gr.Textbox(label="What the person shown agreed to", placeholder="Agreed in writing on 1 May 2026")
        label = gr.Checkbox(True, label="Label every frame as AI-generated")
    return [steps, seed, consent, label]


def results(call, inputs: list, page: Page, word: str) -> None:
    """Buttons, and what is shown of samples."""
    with gr.Row():
        start = gr.Button(word, variant="primary")
        stop = gr.Button("Cancel")
    sentence = gr.Markdown(f"“{word}” begins as soon as everything is given.", container=True)
    with gr.Row():
        videos = [gr.Video(visible=False, interactive=False, min_width=240, buttons=["download"]) for _ in range(MOST)]
    table = gr.Dataframe(headers=["steps", *COLUMNS], visible=False, interactive=False, label="Figures")
    files = gr.File(label="Download", visible=False, interactive=False, file_count="multiple")
    outputs = [sentence, table, files, *videos]
    start.click(
        call,
        inputs,
        outputs,
        concurrency_limit=1,
        concurrency_id="nets",
        show_progress_on=sentence,
        api_visibility="private",
    )
    stop.click(page.cancel, queue=False, show_progress="hidden", api_visibility="private")


def sound(label: str, name: str) -> gr.Audio:
    """Speech from a file or the microphone; without Gradio's button that would send it elsewhere."""
    sources = ["upload", "microphone"]
    return gr.Audio(type="filepath", sources=sources, buttons=["download"], label=label, elem_id=name)


def speak_tab(page: Page, known: list[str]) -> None:
    with gr.Row():
        with gr.Column():
            photograph = gr.Image(
                type="filepath",
                image_mode=None,
                buttons=["fullscreen"],
                sources=["upload", "webcam"],
                label="Photograph",
                height=320,
                elem_id="photograph",
            )
            found = gr.Markdown()
        with gr.Column():
            speech = sound("Speech", "speech")
            size = gr.Dropdown(SIZES, value="native", label="Size of the face")
            frame = gr.Radio(FRAMES, value="picture", label="Shown")
            motion = gr.Radio(MOTIONS, value="natural", label="Motion of the head")
    steps, seed, consent, label = options(known)
    photograph.change(page.found, photograph, found, concurrency_limit=2, api_visibility="private")
    results(page.speak, [photograph, speech, steps, size, frame, motion, seed, consent, label], page, "Let it speak")


def dub_tab(page: Page, known: list[str]) -> None:
    with gr.Row():
        video = gr.Video(sources=["upload", "webcam"], label="Video of one person", height=320, buttons=[])
        with gr.Column():
            speech = sound("Other speech", "other")
            face = gr.Dropdown(FACES, value="", label="Which face speaks")
            length = gr.Radio(LENGTHS, value="speech", label="Length")
    steps, seed, consent, label = options(known)
    results(page.dub, [video, speech, steps, face, length, seed, consent, label], page, "Dub it")


def application(studio: Studio, folder: Path) -> fastapi.FastAPI:
    """The whole server. ``folder`` is Gradio's cache."""
    os.environ["GRADIO_TEMP_DIR"] = str(folder)
    blocks = build(studio, folder).queue(max_size=studio.limits.waiting)
    app = fastapi.FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    guard(app)
    return gr.mount_gradio_app(
        app,
        blocks,
        path="/",
        max_file_size=f"{studio.limits.upload_mb}mb",
        allowed_paths=[],
        show_error=False,
        enable_monitoring=False,
        ssr_mode=False,
        footer_links=[],
        css=STYLE,
        theme=theme(),
    )


def theme() -> gr.themes.Base:
    """Gradio's, in fonts that are there already and with buttons whose words can be read."""
    plain = gr.themes.Default(font=["system-ui", "sans-serif"], font_mono=["ui-monospace", "monospace"])
    shades = {"": "*primary_700", "_hover": "*primary_800"}
    fills = {f"button_primary_background_fill{state}": shade for state, shade in shades.items()}
    return plain.set(**fills, **{f"{name}_dark": shade for name, shade in fills.items()})


def serve(studio: Studio, folder: Path, host: str, port: int) -> None:
    """Serve until the process is ended."""
    server = uvicorn.Server(uvicorn.Config(application(studio, folder), host, port, log_level="warning"))
    log.info("open http://%s:%d in a browser; Ctrl-C ends it", "127.0.0.1" if host == "0.0.0.0" else host, port)
    server.run()
