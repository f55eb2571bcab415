"""What a trained student comes to on test clips: the evaluation's report beside its weights, and its numbers flat."""

import json
from pathlib import Path
from typing import Any

from tsd import record
from tsd.check.values import nodes
from tsd.preflight import composed, override

ROWS = ("generate.", "follow.", "denoise.student.", "real.", "cross_identity.", "viseme_swap.")
CLOCKS = ("ms_per_frame", "fps")
"""What a busy machine changes: not part of a result."""


def numbers(report: dict[str, Any]) -> dict[str, float]:
    """The report's own names, such as "generate.k2.mouth_r", of the rows that tell students apart."""
    flat = {path: value for path, value in nodes(report) if isinstance(value, float) and path.startswith(ROWS)}
    return {path: value for path, value in flat.items() if not path.endswith(CLOCKS)}


def write_report(config: dict[str, Any], below: dict[str, Path]) -> dict[str, float]:
    """Evaluate the student in ``config["out"]`` on ``config["evaluate"]`` clips: report.json, tables and sheet, and the
    numbers in run.json. Instruments without weights are left out; a report that is there is read."""
    from tsd.evaluate import evaluate  # only here: its imports take a second that trainings can do without

    out = Path(config["out"])
    if not (out / "report.json").is_file():
        weights = {name: str(path) for name, path in config["weights"].items() if path and Path(path).is_file()}
        weights |= {name: str(path) for name, path in below.items()} | {"student": str(out / "weights.safetensors")}
        given = {f"weights.{name}": weights.get(name) for name in config["weights"]}
        given |= {f"data.{key}": config["data"][key] for key in ("root", "manifests")}
        # The folder is named after overrides, commas and all.
        given |= {"out": out / "report.json"}
        overrides = [override(key, value) for key, value in given.items()]
        evaluate(composed("evaluate", [*overrides, f"clips={config['evaluate']}"], []))
    values = numbers(json.loads((out / "report.json").read_text()))
    record.update(out, report=values)
    return values
