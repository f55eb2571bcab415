"""The graphs of released weights, beside them: ``python -m tsd.commands.graphs folder=weights/people``.

With them a face speaks on every backend, and without PyTorch. `make publish` makes them for what it publishes.
"""

from pathlib import Path

from omegaconf import DictConfig

from tsd.commands.compose import command_line
from tsd.media.atomic import filling
from tsd.runtime.card import NAME
from tsd.runtime.graph_files import FOLDER, opened
from tsd.runtime.graph_making import write
from tsd.runtime.loading import weights_in


def run(cfg: DictConfig) -> Path:
    """Write the folder of graphs, all of it or nothing, and return it."""
    weights = weights_in(Path(cfg.folder))
    folder = Path(cfg.folder) / FOLDER
    with filling(folder, NAME) as work:
        write(work, weights)
    opened(folder, weights)
    return folder


@command_line("graphs")
def main(cfg: DictConfig) -> None:
    out = run(cfg)
    print(f"{out}: {sum(path.stat().st_size for path in out.iterdir()) / 1e6:.2f} MB")


if __name__ == "__main__":
    main()
