"""Static files in which a photograph speaks by itself: ``python -m tsd.commands.site weights=people``."""

import logging
from pathlib import Path

from omegaconf import DictConfig

from tsd.commands.compose import command_line
from tsd.media.atomic import filling
from tsd.runtime.card import Card
from tsd.runtime.loading import graphs_for
from tsd.weights import releases

log = logging.getLogger(__name__)
STAGES = ("vae", "visemes", "student", "motion")


def nets(cfg: DictConfig) -> Card:
    """The graphs of ``cfg.export`` where that is given, else of ``cfg.weights``: made once where there are none."""
    if cfg.export:
        return Card.read(cfg.export)
    weights = {stage: cfg.weights[stage] for stage in STAGES}
    releases.check(weights)
    return graphs_for(weights, "onnxruntime")


def run(cfg: DictConfig) -> Path:
    """Write the site to ``cfg.out``, all of it or nothing, and return the folder."""
    from tsd.browser import site
    from tsd.browser.limits import Limits

    card, out = nets(cfg), Path(cfg.out)
    with filling(out, site.MARKER) as work:
        site.write_site(work, card, Limits(**cfg.limits))
    size = sum(path.stat().st_size for path in out.rglob("*") if path.is_file())
    log.info(
        "%s: %.1f MB, all of them loaded at the first visit. Copy it to any host, or try it here:\n"
        "python3 -m http.server --bind 127.0.0.1 --directory %s",
        out,
        size / 1e6,
        out,
    )
    return out


@command_line("site")
def main(cfg: DictConfig) -> None:
    run(cfg)


if __name__ == "__main__":
    main()
