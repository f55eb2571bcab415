"""Where the numbers of a training go."""

import csv
import io
import os
from pathlib import Path

from lightning.fabric.utilities.rank_zero import rank_zero_only
from lightning.pytorch.loggers.logger import Logger


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
        self.path.parent.mkdir(parents=True, exist_ok=True)
        temporary = self.path.with_suffix(".part")
        temporary.write_text(text.getvalue())
        os.replace(temporary, self.path)

    def log_hyperparams(self, *args, **kwargs) -> None:
        """The configuration lies beside the table in a file of its own."""


def read_rows(path: Path) -> list[dict[str, str]]:
    """The rows of a metrics.csv without their empty cells; none where there is no file."""
    if not path.is_file():
        return []
    with path.open(newline="") as file:
        return [{name: value for name, value in row.items() if value} for row in csv.DictReader(file)]
