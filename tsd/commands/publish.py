"""The weights that are released, from a finished chain: ``python -m tsd.commands.publish finished=outputs/release``."""

import hashlib
import json
import logging
import shutil
import subprocess
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from tsd.commands.compose import command_line
from tsd.commands.errors import refuse
from tsd.data.manifest import manifest_path, read_manifest
from tsd.media.atomic import filling, replaceable
from tsd.runtime.graph_files import FOLDER
from tsd.runtime.graph_making import write as write_graphs
from tsd.training import run_record
from tsd.weights import checkpoint
from tsd.weights.releases import CARD, Finished, is_sibling, read_finished

log = logging.getLogger(__name__)
FORMAT = 1
APART = ("teacher", "lipreader", "sync", "mouth", "identity")
"""What can stay out of a release, the first first: what a face does not need to speak."""

SCORES = ("mouth_r", "mouth_r_shuffled", "viseme_ratio", "sync_in_step", "temporal_l1_ratio", "flicker_std_ratio")
SCORES += ("sharpness_ratio_end", "sharpness_end_to_recon", "id_cosine", "id_ratio_end")
"""Of speech from pure noise, for the card; the report has all."""


def check(cfg: DictConfig) -> None:
    """All bad arguments in one error."""
    wrong = [] if cfg.limit_mb > 0 else [f"limit_mb={cfg.limit_mb}: must be above 0"]
    if cfg.beside and not is_sibling(cfg.beside):
        wrong.append(f"beside={cfg.beside}: must be the name of a release's folder that lies beside out, such as drawn")
    if not replaceable(Path(cfg.out), CARD):
        wrong.append(f"out={cfg.out}: holds something else than released weights; give another folder")
    refuse(wrong)


def choose(sizes: dict[str, int], limit: float) -> list[str]:
    """The stages whose files {stage: bytes} go into a folder of ``limit`` bytes: all but as many of APART as must stay
    out. ValueError where what is needed is too large by itself."""
    chosen = list(sizes)
    for stage in (stage for stage in APART if stage in sizes):
        if sum(sizes[name] for name in chosen) <= limit:
            break
        chosen.remove(stage)
    if (total := sum(sizes[name] for name in chosen)) > limit:
        raise ValueError(
            f"limit_mb={limit / 1e6:g}: {', '.join(chosen)} alone have {total / 1e6:.1f} MB; "
            "raise it, or train smaller nets"
        )
    return chosen


def commit() -> str | None:
    """The commit of the checkout that publishes, with "+" where files differ from it; None outside of one."""
    here = Path(__file__).resolve().parents[2]
    try:
        said = [["git", "-C", here, *words] for words in (["rev-parse", "HEAD"], ["status", "--porcelain", "-uno"])]
        name, changes = (subprocess.run(s, capture_output=True, text=True, check=True).stdout.strip() for s in said)
    except (OSError, subprocess.CalledProcessError):
        return None
    return name + ("+" if changes else "")


def corpora(chain: Path) -> dict[str, dict]:
    """{corpus: how it was drawn, and its clips and people by split} of what lies in a chain's folder."""
    found = {}
    for folder in sorted(path.parent for path in chain.glob("*/manifests")):
        drawn = folder / "corpus.json"
        found[folder.name] = {"drawn": json.loads(drawn.read_text())} if drawn.is_file() else {}
        for split in ("train", "val", "test"):
            manifest = manifest_path(folder, split)
            if manifest.is_file() and manifest.stat().st_size:  # a corpus of held-out people has no one to validate on
                entries = read_manifest(manifest, folder)
                found[folder.name][split] = {"clips": len(entries), "people": len(entries.people)}
    return found


def released_before(out: Path) -> tuple[dict[str, dict], dict[str, dict]]:
    """Of the release in the folder to be written: {SHA-256 of a weights file: the configuration that made it}, and its
    corpora; both empty where none stands there that can be read."""
    try:
        card = json.loads((out / CARD).read_text())
        stages = [made for group in ("weights", "apart") for made in card[group].values()]
        return {made["sha256"]: made["config"] for made in stages if made["config"]}, dict(card["data"])
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return {}, {}


def stage_card(file: Path, stage: str, known: dict[str, dict]) -> dict[str, Any]:
    """What is known of one weights file: size, hash, how its net is built, and the run that made it, which ``known``
    tells of files that a chain took from a release."""
    header, run = checkpoint.read_header(file, stage), run_record.read(file.parent) or {}
    kept = ("steps", "seed", "score", "metrics", "stands_on", "schedules", "schedule_search")
    sha256 = hashlib.sha256(file.read_bytes()).hexdigest()
    return {
        "file": f"{stage}.safetensors",
        "bytes": file.stat().st_size,
        "sha256": sha256,
        "arguments": header["arguments"],
        **{name: header["card"][name] for name in kept if name in header["card"]},
        "config": run.get("values") or known.get(sha256),
    }


def scores(report: dict) -> dict[str, Any]:
    """What the evaluation said, in short."""
    denoise = {name: row for name, row in report["denoise"].get("student", {}).items()}
    denoise |= {"teacher": report["denoise"]["teacher"]} if "teacher" in report["denoise"] else {}
    return {
        "clips": report["clips"],
        "identities": report["identities"],
        "split": report["split"],
        "vae": {"psnr_db": report["real"].get("psnr_db")},
        "denoise": {name: {"psnr_gain_db": row.get("psnr_gain_db")} for name, row in denoise.items()},
        "generate": {name: {key: row[key] for key in SCORES if key in row} for name, row in report["generate"].items()},
        **{name: report[name] for name in ("mouth_reader", "cross_identity", "viseme_swap") if name in report},
        "long": {k: {key: run[key] for key in run if "ratio" in key} for k, run in report.get("long", {}).items()},
    }


def of_release(folder: Path, weights: dict[str, Path]) -> dict[str, str]:
    """{stage: SHA-256} of those weights that the released folder has, too. ValueError where it has none of them."""
    same = {}
    for stage, file in weights.items():
        theirs = folder / f"{stage}.safetensors"
        if theirs.is_file() and checkpoint.file_hash(theirs) == checkpoint.file_hash(file):
            same[stage] = hashlib.sha256(file.read_bytes()).hexdigest()
    if not same:
        raise ValueError(f"beside={folder.name}: {folder} has none of these weights; beside=null copies them all")
    return same


def make_card(chain: Finished, chosen: list[str], shared: dict[str, str], cfg: DictConfig) -> dict[str, Any]:
    """Everything that made the weights, what they reach, and what not. Of nets that the chain took from the release
    whose place this one takes, what made them is kept, and the corpora that only they have seen."""
    known, data_before = released_before(Path(cfg.out))
    stages = {stage: stage_card(file, stage, known) for stage, file in chain.weights.items()}
    data = corpora(chain.folder)
    if any(made["sha256"] in known for made in stages.values()):
        data = data_before | data
    return {
        "format": FORMAT,
        "licence": cfg.licence,
        "attribution": list(cfg.attribution),
        "limits": list(cfg.limits),
        "commit": commit(),
        "resolution": stages["vae"]["arguments"]["resolution"],
        "schedules": stages["student"].get("schedules", {}),
        "data": data,
        "scores": scores(chain.report),
        "seconds": chain.report["seconds"],
        "weights": {stage: stages[stage] for stage in chosen},
        "apart": {stage: made for stage, made in stages.items() if stage not in (*chosen, *shared)},
        **({"beside": {"release": cfg.beside, "sha256": shared}} if shared else {}),
    }


def run(cfg: DictConfig) -> Path:
    """Write the folder ``cfg.out``, all of it or nothing, and return it."""
    check(cfg)
    chain = read_finished(cfg.finished)
    out = Path(cfg.out)
    shared = of_release(out.parent / cfg.beside, chain.weights) if cfg.beside else {}
    sizes = {stage: file.stat().st_size for stage, file in chain.weights.items() if stage not in shared}
    chosen = choose(sizes, 1e6 * cfg.limit_mb)
    card = make_card(chain, chosen, shared, cfg)
    with filling(out, CARD) as work:
        for stage in chosen:
            shutil.copyfile(chain.weights[stage], work / f"{stage}.safetensors")
            copied = hashlib.sha256((work / f"{stage}.safetensors").read_bytes()).hexdigest()
            if copied != card["weights"][stage]["sha256"]:
                raise ValueError(f"{chain.weights[stage]} changed while it was copied: start again")
        if cfg.graphs:
            (work / FOLDER).mkdir()
            write_graphs(work / FOLDER, chain.weights)
        (work / CARD).write_text(json.dumps(card, indent=1, allow_nan=False) + "\n")
    return out


@command_line("publish/drawn")
def main(cfg: DictConfig) -> None:
    out = run(cfg)
    card = json.loads((out / CARD).read_text())
    for stage, made in card["weights"].items():
        log.info("%-10s %5.2f MB", stage, made["bytes"] / 1e6)
    total = sum(path.stat().st_size for path in out.rglob("*") if path.is_file()) / 1e6
    apart = f"; apart: {', '.join(card['apart'])}" if card["apart"] else ""
    log.info("%s: %.1f MB%s", out, total, apart)


if __name__ == "__main__":
    main()
