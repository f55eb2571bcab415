"""Where the numbers and pictures of a training go: a table, TensorBoard, Weights & Biases."""

import csv
import io
import logging
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from lightning.fabric.utilities.rank_zero import rank_zero_only
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.loggers.logger import Logger

from tsd.media.atomic import write_file

log = logging.getLogger(__name__)


class CSVLog(Logger):
    """``<folder>/metrics.csv``: a row per step that logged, a column per name, whole after every row."""

    name, version = "csv", ""

    def __init__(self, folder: str | Path):
        super().__init__()
        self.path = Path(folder) / "metrics.csv"
        self.rows: list[dict[str, str | float]] = []

    @rank_zero_only
    def rewind(self, step: int) -> None:
        """Forget the rows of ``step`` and later ones: the training goes on from there."""
        self.rows = [row for row in read_rows(self.path) if int(row["step"]) < step]

    @rank_zero_only
    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        self.rows.append({"step": step or 0, **{k: float(v) for k, v in metrics.items() if k != "epoch"}})
        names = sorted({name for row in self.rows for name in row} - {"step"})
        text = io.StringIO()
        writer = csv.DictWriter(text, ["step", *names])
        writer.writeheader()
        writer.writerows(self.rows)
        write_file(self.path, text.getvalue().encode())

    def log_hyperparams(self, *args, **kwargs) -> None:
        """The configuration lies beside the table in a file of its own."""


def read_rows(path: Path) -> list[dict[str, str]]:
    """The rows of a metrics.csv without their empty cells; none where there is no file."""
    if not path.is_file():
        return []
    with path.open(newline="") as file:
        return [{name: value for name, value in row.items() if value} for row in csv.DictReader(file)]


class TensorBoardLog(TensorBoardLogger):
    """TensorBoard's event files in ``folder``; those of steps that are trained again are hidden. No pictures: event
    files hold no mp4 that plays."""

    def __init__(self, folder: str | Path):
        super().__init__(folder, name="", version="")

    def rewind(self, step: int) -> None:
        self._kwargs["purge_step"] = step


class WandbLog(Logger):
    """A run of Weights & Biases, written to disk: no account, no server and no network is needed to train.

    With ``live`` another process (``tsd.training.upload``) sends it while it grows; a server that is down, slow or
    refusing meets that process and never the training. Otherwise ``make wandb-sync`` sends it whenever one likes. What
    W&B itself does wrong is said once and costs the chart, not the run.

    group: the sweep. A resumed run goes on in the same chart: its id comes from its folder and its hash.
    """

    name, version = "wandb", ""

    def __init__(self, folder: str, project: str, group: str, name: str, live: bool = False):
        super().__init__()
        self.folder, self.project, self.group, self.title, self.live = Path(folder), project, group, name, live
        self.run: Any = None
        self.broken = False
        self.config: dict[str, Any] = {}

    @property
    def experiment(self) -> Any:
        return self.run

    def guarded(self, act, *args, **kwargs) -> Any:
        """What ``act`` returns, or None where W&B fails."""
        if self.broken:
            return None
        try:
            return act(*args, **kwargs)
        except Exception as error:  # whatever it is, the training is worth more
            self.broken = True
            log.warning("W&B no longer shows this run (%s); the training goes on", error)
            return None

    @rank_zero_only
    def log_hyperparams(self, params: dict[str, Any], *args, **kwargs) -> None:
        """Begin the run with its configuration as plain values."""
        self.guarded(self.begin, params)

    def begin(self, config: dict[str, Any]) -> None:
        import wandb  # a second that only those who watch it pay

        self.folder.mkdir(parents=True, exist_ok=True)
        below = config["run"]["stands_on"]
        self.run = wandb.init(
            dir=str(self.folder),
            project=self.project,
            group=self.group,
            name=self.title,
            id=config["run"]["id"],
            resume="allow",
            job_type=config["stage"]["name"],
            config=config,
            notes="\n".join(
                f"{name}: [{stage['path']}](../runs/{stage.get('id', '')})" for name, stage in below.items()
            ),
            mode="offline",
            settings=wandb.Settings(console="off", silent=True, disable_git=True, x_disable_stats=True),
        )
        self.run.define_metric("trainer/step")
        self.run.define_metric("*", step_metric="trainer/step")
        if self.live:
            program = [sys.executable, "-m", "tsd.training.upload"]
            command = [*program, self.run.settings.sync_dir, "--while", str(os.getpid())]
            with (self.folder / "upload.log").open("a") as output:
                self.sender = subprocess.Popen(
                    command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True
                )

    @rank_zero_only
    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        if self.run is not None:
            self.guarded(
                self.run.log, {k: float(v) for k, v in metrics.items() if k != "epoch"} | {"trainer/step": step}
            )

    @rank_zero_only
    def log_pictures(self, sheet: Path, video: Path, step: int) -> None:
        """The contact sheet and an mp4 that plays."""
        if self.run is not None:
            self.guarded(self.show, sheet, video, step)

    def show(self, sheet: Path, video: Path, step: int) -> None:
        import wandb

        media = {"val/sheet": wandb.Image(str(sheet)), "val/video": wandb.Video(str(video), format="mp4")}
        self.run.log(media | {"trainer/step": step})

    @rank_zero_only
    def log_summary(self, values: dict[str, float]) -> None:
        """What the run came to: the numbers of its report, under the report's names."""
        if self.run is not None:
            self.guarded(self.run.summary.update, values)

    @rank_zero_only
    def close(self) -> None:
        """Several runs share one process in a sweep, so each one is closed."""
        if self.run is not None:
            self.guarded(self.run.finish)
            self.run = None
