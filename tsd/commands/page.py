"""A page for the browser in which a photograph speaks: ``python -m tsd.commands.page weights=people``."""

import tempfile
from pathlib import Path

import torch
from omegaconf import DictConfig, OmegaConf

from tsd.commands.compose import command_line
from tsd.commands.errors import refuse
from tsd.media import credentials
from tsd.runtime.talker import Talker
from tsd.weights import releases

STAGES = ("vae", "visemes", "student", "motion")


def check(cfg: DictConfig) -> None:
    """All bad arguments in one error."""
    wrong = []
    if not isinstance(cfg.port, int) or not 0 <= cfg.port <= 65535:
        wrong.append(f"port={cfg.port}: must be 0 (any that is free) to 65535")
    if not isinstance(cfg.threads, int) or cfg.threads < 1:
        wrong.append(f"threads={cfg.threads}: must be 1 or more")
    if not isinstance(cfg.mark, bool):
        wrong.append(f"mark={cfg.mark}: must be true or false")
    refuse(wrong)


def load(cfg: DictConfig) -> Talker:
    """The talker of ``cfg.export`` where that is given, else of ``cfg.weights``."""
    weights = {stage: cfg.weights[stage] for stage in STAGES}
    if not cfg.export:
        releases.check(weights)
    talker = Talker.load(cfg.export or weights, cfg.backend, cfg.threads)
    talker.require_stream()
    talker.marked = cfg.mark
    return talker


def run(cfg: DictConfig) -> None:
    """Serve the page until the process is ended; what visitors left is removed then."""
    try:
        from tsd.browser import app
    except ModuleNotFoundError as error:
        if error.name not in ("gradio", "uvicorn", "fastapi"):
            raise
        raise ValueError(f"{error.name} is not installed; run `pip install 'temposyncdiff[page]'`") from error
    from tsd.browser.limits import Limits
    from tsd.browser.samples import Studio

    check(cfg)
    limits, signer = Limits(**OmegaConf.to_container(cfg.limits)), credentials.load(**cfg.signing)
    torch.set_num_threads(cfg.threads)
    studio = Studio(load(cfg), limits, signer)
    with tempfile.TemporaryDirectory(prefix="tsd-page-") as folder:
        app.serve(studio, Path(folder), cfg.host, cfg.port)


@command_line("page")
def main(cfg: DictConfig) -> None:
    run(cfg)


if __name__ == "__main__":
    main()
