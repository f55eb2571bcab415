"""Search the strengths of a student's steps: ``python -m tsd.commands.schedules weights=demo data.root=<corpus>``."""

import hashlib
import json
import logging
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import torch
from omegaconf import DictConfig
from tqdm import tqdm

from tsd.commands.compose import command_line
from tsd.commands.errors import below_one, refuse, unreadable
from tsd.data.dataset import ClipDataset
from tsd.data.manifest import fingerprint
from tsd.diffusion import Schedule
from tsd.evaluation.clips import Chain, Instruments
from tsd.evaluation.clips.choice import spread
from tsd.evaluation.loading import NEEDED, clip_of, load_chain, open_split
from tsd.evaluation.report import Parts, markdown_table, number, write_report
from tsd.evaluation.schedules.rollout import Probe, cost, mean_terms, roll_out
from tsd.evaluation.schedules.search import most_costs, search, uniform_schedule, usual_schedule
from tsd.weights import checkpoint

log = logging.getLogger(__name__)
VERSION = 1
"""Raise it when the cost changes: partial results of another version are not used."""


def check(cfg: DictConfig) -> dict[str, Schedule]:
    """The student's schedules that are to be searched, as it was trained with them; all bad arguments in one error."""
    wrong = [f"weights.{stage}=<file> is missing" for stage in NEEDED if not cfg.weights[stage]]
    wrong += unreadable((stage, cfg.weights[stage]) for stage in NEEDED)
    known = {} if wrong else trained(cfg.weights.student)
    if not wrong:
        holds = ", ".join(known) or "none"
        unknown = [name for name in cfg.schedules if name not in known]
        wrong += [f"schedules={name}: the student's weights hold {holds}" for name in unknown]
    wrong += ["schedules=[]: must name a schedule of the student, such as k2"] if not cfg.schedules else []
    wrong += below_one(cfg, "clips", "judged_clips", "workers")
    wrong += [] if str(cfg.out).endswith(".json") else [f"out={cfg.out}: must end in .json"]
    refuse(wrong)
    return {name: Schedule(tuple(known[name])) for name in cfg.schedules}


def trained(student: str) -> dict[str, list[float]]:
    """The schedules that a student was trained with, also where searched ones have taken their names."""
    card = checkpoint.read_header(student)["card"]
    return card.get("schedule_search", {}).get("trained") or card.get("schedules", {})


def split_clips(dataset: ClipDataset, clips: int, judged: int) -> tuple[list[int], list[int]]:
    """Numbers of the clips to search on and of others to judge by, alternately and evenly spread; as many as there
    are, in halves, where there are fewer."""
    chosen = spread(len(dataset.entries), clips + judged)
    if len(chosen) < 2:
        raise ValueError(
            f"{dataset.entries[0].where}: one validation clip is too few to search on one and judge by another"
        )
    first, second = chosen[::2][:clips], chosen[1::2][:judged]
    return first, second


class Costs:
    """What schedules cost on some clips, each kept on disk as soon as it is known."""

    def __init__(self, chain: Chain, probes: list[Probe], parts: Parts, name: str, known: Schedule, workers: int):
        self.chain, self.probes, self.parts, self.name = chain, probes, parts, name
        self.known, self.workers = known, workers

    def terms(self, schedule: Schedule, count: int) -> dict[str, float]:
        """``mean_terms`` over the first ``count`` clips."""
        digest = hashlib.sha256(json.dumps(schedule.strengths).encode()).hexdigest()[:16]
        name = f"{self.name}.{digest}"
        rows = (self.parts.read(name) or {"rows": []})["rows"]
        if len(rows) < count:
            with ThreadPoolExecutor(self.workers, initializer=torch.set_num_threads, initargs=(1,)) as pool:
                missing = self.probes[len(rows) : count]
                rows += list(pool.map(lambda probe: roll_out(self.chain, probe, schedule), missing))
            self.parts.write(name, {"rows": rows})
        return mean_terms(rows[:count])

    def __call__(self, schedule: Schedule, count: int) -> float:
        return cost(self.terms(schedule, count), self.terms(self.known, count))


def search_one(searched: Costs, judged: Costs, known: Schedule, bar: tqdm) -> dict:
    """The row of one K: strengths and terms of what was found, of what was trained and of the baselines, on the clips
    that were not searched on; ``better`` where what was found costs less there than what was trained."""

    def counted(schedule: Schedule, count: int) -> float:
        bar.update()
        return searched(schedule, count)

    found, count = search(known, counted, len(searched.probes)), len(judged.probes)
    named = {"found": found, "trained": known, "uniform": uniform_schedule(known.num_steps)}
    named["karras"] = usual_schedule(known.num_steps)
    rows = {
        name: {"strengths": list(schedule.strengths), "cost": judged(schedule, count), **judged.terms(schedule, count)}
        for name, schedule in named.items()
    }
    return {"better": rows["found"]["cost"] < rows["trained"]["cost"], "schedules": rows}


def search_all(cfg: DictConfig, known: dict[str, Schedule]) -> dict:
    """The report: a row for each K."""
    weights = {stage: cfg.weights[stage] for stage in (*NEEDED, "motion")} | {"teacher": None, "motion": None}
    chain = load_chain(weights, Instruments())
    # Nobody of the test split is ever looked at.
    dataset = open_split("val", chain.talker.vae.resolution, seed=cfg.seed, **cfg.data)
    clips = split_clips(dataset, cfg.clips, cfg.judged_clips)
    hashes = {stage: checkpoint.file_hash(cfg.weights[stage]) for stage in ("vae", "visemes")}
    hashes["student"] = tensors_hash(cfg.weights.student)
    depends_on = {"weights": hashes, "data": fingerprint(dataset.entries), "clips": clips, "seed": cfg.seed}
    parts = Parts(Path(cfg.out), depends_on | {"version": VERSION, "known": {k: s.strengths for k, s in known.items()}})
    total = sum(most_costs(schedule.num_steps) for schedule in known.values())
    rows, threads = {}, torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        read = tqdm([*clips[0], *clips[1]], desc="reading validation clips", unit="clip", delay=1)
        probes = [Probe.of(chain, clip_of(dataset, number_), cfg.seed) for number_ in read]
        halves = probes[: len(clips[0])], probes[len(clips[0]) :]
        with tqdm(total=total, desc="searching schedules", unit="try") as bar:
            for name, schedule in known.items():
                searched, judged = (
                    Costs(chain, some, parts, f"{name}.{what}", schedule, cfg.workers)
                    for what, some in zip(("searched", "judged"), halves, strict=True)
                )
                done = bar.n + most_costs(schedule.num_steps)
                rows[name] = search_one(searched, judged, schedule, bar)
                bar.update(done - bar.n)
    finally:
        torch.set_num_threads(threads)
    keys = [[dataset.entries[number_].key for number_ in half] for half in clips]
    return {"searched_on": keys[0], "judged_by": keys[1], "schedules": rows, "weights": hashes, "seed": cfg.seed}


def tensors_hash(path: str) -> str:
    """16 hex digits of a weights file's tensors: its card may change."""
    state, digest = checkpoint.load(path, "student").state_dict(), hashlib.sha256()
    for name in sorted(state):
        digest.update(name.encode() + state[name].numpy().tobytes())
    return digest.hexdigest()[:16]


def store(student: str, report: dict) -> dict[str, list[float]]:
    """Write what was found and is better into the student's weights, and what it was trained with beside it."""
    header = checkpoint.read_header(student, "student")
    before = trained(student)
    better = {
        name: row["schedules"]["found"]["strengths"] for name, row in report["schedules"].items() if row["better"]
    }
    notes = {"trained": before, "judged_by": len(report["judged_by"]), "searched_on": len(report["searched_on"])}
    notes["cost"] = {
        name: {k: r["cost"] for k, r in row["schedules"].items()} for name, row in report["schedules"].items()
    }
    card = header["card"] | {"schedules": before | better, "schedule_search": notes}
    checkpoint.save(student, "student", checkpoint.load(student, "student"), header["arguments"], card)
    return better


def to_markdown(report: dict) -> str:
    """A table for each K, on the clips that were judged by."""
    heads = {"rollout": "latents", "mouth": "mouth L1", "temporal_l1_ratio": "movement", "sharpness_ratio": "sharpness"}
    searched, judged = len(report["searched_on"]), len(report["judged_by"])
    rows = []
    for name, row in report["schedules"].items():
        for kind, schedule in row["schedules"].items():
            title = f"**{kind}**" if kind == ("found" if row["better"] else "trained") else kind
            cells = [*(number("", schedule[key]) for key in heads), number("", schedule["cost"])]
            strengths = ", ".join(f"{s:.4g}" for s in schedule["strengths"])
            rows.append([name[1:], title, *cells, strengths])
    return (
        f"# Schedules, searched on {searched} validation clips, judged by {judged} others\n\n"
        f"{markdown_table(['K', '', *heads.values(), 'cost', 'strengths'], rows)}\n\n"
        "Bold: what the student's weights hold. latents: pseudo-Huber distance from the clip's. movement and "
        "sharpness: over the reconstruction's, ideal 1. cost: docstring of `schedules.rollout.cost`.\n"
    )


def run(cfg: DictConfig) -> dict:
    """Search, report, store; returns the report."""
    known = check(cfg)
    report = search_all(cfg, known)
    report["stored"] = store(cfg.weights.student, report) if cfg.store else {}
    write_report(Path(cfg.out), report, None, to_markdown)
    Parts(Path(cfg.out), {}).remove()
    return report


@command_line("schedules")
def main(cfg: DictConfig) -> None:
    report = run(cfg)
    kept = f"{', '.join(report['stored']) or 'none'} stored in {cfg.weights.student}" if cfg.store else "nothing stored"
    log.info("\n%s\n%s; %s", to_markdown(report), kept, cfg.out)


if __name__ == "__main__":
    main()
