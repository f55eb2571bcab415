"""Judge a chain of weights on held-out clips: ``python -m tsd.commands.evaluate`` (``make evaluate``)."""

import logging
import time
from collections.abc import Mapping
from pathlib import Path

from omegaconf import DictConfig

from tsd.commands.compose import command_line
from tsd.commands.errors import below_one, refuse
from tsd.data.manifest import fingerprint
from tsd.evaluation.clips import VERSION, Instruments, Judge, Plan, processor_seconds
from tsd.evaluation.clips.choice import spread
from tsd.evaluation.clips.long_run import WINDOW_SECONDS
from tsd.evaluation.loading import INSTRUMENTS, NEEDED, SPLITS, load_chain, load_instruments, open_split
from tsd.evaluation.page import write_page
from tsd.evaluation.page.runs import write_runs
from tsd.evaluation.pairs.report import to_markdown as pairs_markdown
from tsd.evaluation.pairs.run import Settings as PairSettings
from tsd.evaluation.pairs.run import compare_folders
from tsd.evaluation.report import Parts, add_frechet, nest, sheet, summarise_rows, to_markdown, verdicts, write_report
from tsd.evaluation.wild import fitting
from tsd.evaluation.wild import report as wild
from tsd.evaluation.wild.lips import READER
from tsd.evaluation.wild.run import VERSION as WILD_VERSION
from tsd.evaluation.wild.run import Run
from tsd.metrics.face_mesh import REMEDY, FaceMesh, installed
from tsd.metrics.lpips import find_weights
from tsd.runtime.talker import Talker
from tsd.weights import checkpoint, needs, releases

log = logging.getLogger(__name__)
OPTIONAL = ("sync", "sync_loss", "lipreader")
"""Stages that evaluation does without where the weights file does not exist."""
PAIR_STAGES = ("mouth", "identity", "sync")
"""What measures any videos: what was said, in visemes, is not known of them."""


def is_of_pairs(cfg: DictConfig) -> bool:
    """Whether two folders of videos are compared, instead of a chain that is judged on clips."""
    return bool(cfg.pairs or cfg.real)


def check(cfg: DictConfig) -> None:
    """All bad arguments in one error."""
    faults = (wild_faults if cfg.wild else pairs_faults if is_of_pairs(cfg) else clips_faults)(cfg)
    refuse(faults + shared_faults(cfg))


def chain_faults(cfg: DictConfig, stages: tuple[str, ...]) -> list[str]:
    """What is wrong with the weights of these stages and the schedules asked of the student."""
    wrong = [f"weights.{stage}=<file> is missing" for stage in NEEDED if not cfg.weights[stage]]
    for stage in stages:
        path = cfg.weights[stage]
        try:
            if path and (stage not in OPTIONAL or Path(path).is_file()):
                checkpoint.read_header(path, stage)
        except (ValueError, FileNotFoundError) as error:
            wrong.append(str(error))
    if not wrong:
        card = checkpoint.read_header(cfg.weights.student)["card"]
        known = card.get("schedules", {})
        wrong += [
            f"schedules={name}: the student's weights hold no such schedule; they hold {', '.join(known) or 'none'}"
            for name in cfg.schedules
            if name not in known
        ]
        if cfg.weights.get("sync_loss") and "sync_loss" in card.get("stands_on", {}):
            wrong += filter(None, [needs.not_apart(cfg.weights.sync_loss, cfg.weights.get("sync"))])
    if not cfg.schedules:
        wrong.append("schedules=[]: must name a schedule of the student, such as k2")
    return wrong


def clips_faults(cfg: DictConfig) -> list[str]:
    """What is wrong with the arguments of an evaluation on clips."""
    wrong = chain_faults(cfg, tuple(cfg.weights))
    if cfg.split not in SPLITS:
        wrong.append(f"split={cfg.split}: must be one of {', '.join(SPLITS)}")
    counts = {key: cfg[key] for key in ("clips", "control_clips") if cfg[key] is not None}
    wrong += [f"{key}={count}: must be 1 or more, or null for all" for key, count in counts.items() if count < 1]
    if cfg.teacher_samples and (cfg.teacher_samples < 0 or not cfg.weights.teacher):
        wrong.append(f"teacher_samples={cfg.teacher_samples}: must be 0 or more, and 0 without weights.teacher")
    if cfg.long_seconds % WINDOW_SECONDS or not (cfg.long_seconds == 0 or cfg.long_seconds >= 2 * WINDOW_SECONDS):
        least = 2 * WINDOW_SECONDS
        wrong.append(f"long_seconds={cfg.long_seconds}: must be 0, or a multiple of {WINDOW_SECONDS} from {least} on")
    return wrong


def shared_faults(cfg: DictConfig) -> list[str]:
    """What is wrong with the arguments that all kinds of evaluation have."""
    wrong = []
    if cfg.lpips.weights:
        try:
            find_weights(cfg.lpips.weights, cfg.lpips.backbone)
        except (ValueError, FileNotFoundError) as error:
            wrong.append(str(error))
    given = {stage: cfg[stage].weights for stage in ("identity", "mouth")}
    wrong += [
        f"{stage}.weights={path}: no such file; null takes weights.{stage}"
        for stage, path in given.items()
        if path and not Path(path).is_file()
    ]
    wrong += below_one(cfg, "workers")
    if not str(cfg.out).endswith(".json"):
        wrong.append(f"out={cfg.out}: must end in .json")
    return wrong


DRAWN_JUDGES = {
    "sync": "it learned from drawn mouths and synthesised voices: on recorded people its control rows say that it is "
    "of no use",
    "identity": "an embedder of this project, not FaceNet: it tells drawn people apart, recorded ones less surely",
}
"""Trained judge -> what is known of it on people."""


def judges(cfg: DictConfig) -> dict[str, str | None]:
    """{stage: weights} of what measures any videos: those that are named, else those of the released drawn people."""
    released = releases.folder() / "drawn"
    found = {stage: cfg.weights.get(stage) or "" for stage in PAIR_STAGES}
    return {
        stage: path if Path(path).is_file() or not (file := released / f"{stage}.safetensors").is_file() else str(file)
        for stage, path in found.items()
    }


def instruments_of(
    cfg: DictConfig,
    stages: tuple[str, ...],
    weights: Mapping[str, str | None] | None = None,
    face_mesh: str | Path | None = None,
) -> tuple[Instruments, dict[str, str]]:
    """``load_instruments`` with what the configuration names, and what is given instead."""
    lpips = {"lpips_weights": cfg.lpips.weights, "lpips_backbone": cfg.lpips.backbone}
    face_mesh = face_mesh or cfg.mouth.weights
    return load_instruments(weights or cfg.weights, stages, cfg.identity.weights, face_mesh, **lpips)


def make_plan(cfg: DictConfig, num_clips: int) -> Plan:
    """What is done to which of the split's clips."""
    clips = spread(num_clips, cfg.clips)
    by_teacher = [clips[i] for i in spread(len(clips), cfg.teacher_samples)] if cfg.teacher_samples else []
    copied = {key: cfg[key] for key in ("noisy_psnr", "seed", "viseme_swap", "cross_identity", "long_seconds")}
    with_controls = [clips[i] for i in spread(len(clips), cfg.control_clips)]
    return Plan(clips, list(cfg.schedules), with_controls, by_teacher, **copied)


def pairs_faults(cfg: DictConfig) -> list[str]:
    """What is wrong with the arguments of a comparison of folders; weights that do not exist are not needed there."""
    wrong = [f"{key}=<folder> is missing: pairs= and real= go together" for key in ("pairs", "real") if not cfg[key]]
    for stage in PAIR_STAGES:
        try:
            if cfg.weights.get(stage) and Path(cfg.weights[stage]).is_file():
                checkpoint.read_header(cfg.weights[stage], stage)
        except ValueError as error:
            wrong.append(str(error))
    if cfg.length_tolerance < 0:
        wrong.append(f"length_tolerance={cfg.length_tolerance}: must be 0 or more seconds")
    return wrong


def evaluate_pairs(cfg: DictConfig) -> dict:
    """Score the videos of ``pairs`` against those of ``real`` and write the report; returns it."""
    instruments, hashes = instruments_of(cfg, PAIR_STAGES, judges(cfg), cfg.mouth.weights or installed())
    networks = {name: f"{judges(cfg)[name]}, hash {digest}" for name, digest in hashes.items() if name in PAIR_STAGES}
    if "lpips" in hashes:
        networks["lpips"] = f"{cfg.lpips.backbone}, hash {hashes['lpips']}"
    if instruments.mouth is not None:
        networks["mouth"] = instruments.mouth_reader
    if instruments.identity is not None:
        networks["identity"] = instruments.embedder
        networks["fvd"] = f"mean and std over time of {instruments.embedder}"
    known = {"sync": "sync" in networks, "identity": "identity" in networks and not cfg.identity.weights}
    networks |= {name: f"{networks[name]}; {DRAWN_JUDGES[name]}" for name, is_ours in known.items() if is_ours}
    settings = PairSettings(cfg.crop, cfg.length_tolerance, cfg.seed)
    folders = Path(cfg.pairs), Path(cfg.real)
    comparison = compare_folders(*folders, Path(cfg.out), instruments, networks, hashes, settings, cfg.workers)
    write_report(Path(cfg.out), comparison.report, comparison.sheet, pairs_markdown)
    write_page(Path(cfg.out), comparison.report, comparison.sheet)
    comparison.parts.remove()
    return comparison.report


def face_mesh_file(cfg: DictConfig) -> Path:
    """The landmark model that reads people's lips: the one that is named, else that of an installed mediapipe."""
    path = cfg.mouth.weights or installed()
    if path is None:
        raise FileNotFoundError(
            f"mouth.weights=<face_landmark.tflite> is missing, and mediapipe is not there: {REMEDY}"
        )
    return Path(path)


def wild_faults(cfg: DictConfig) -> list[str]:
    """What is wrong with the arguments of a look at real clips."""
    wrong = chain_faults(cfg, (*NEEDED, "motion"))
    if not Path(cfg.wild).is_dir():
        wrong.append(f"wild={cfg.wild}: no such folder; give one with videos of talking people")
    return wrong


def evaluate_wild(cfg: DictConfig) -> dict:
    """Let the first picture of every real clip speak its sound, and write the report; returns it."""
    begun = time.perf_counter()
    mesh, out = face_mesh_file(cfg), Path(cfg.out)
    weights = {stage: cfg.weights[stage] for stage in (*NEEDED, "motion") if cfg.weights[stage]}
    hashes = {stage: checkpoint.file_hash(path) for stage, path in weights.items()}
    reader = f"{READER}, hash {checkpoint.file_hash(mesh)}"
    settings = {"seed": cfg.seed, "schedules": list(cfg.schedules), "version": WILD_VERSION}
    depends_on = {
        "folder": str(Path(cfg.wild).resolve()),
        "reader": reader,
        "version": WILD_VERSION,
        "seconds": cfg.wild_seconds,
    }
    talker = Talker.load(weights, "torch")
    generated = Parts(out, depends_on | settings | {"weights": hashes})
    real = Parts(out.with_name("real.json"), depends_on | {"size": talker.vae.resolution})
    run = Run(
        talker,
        FaceMesh(mesh),
        list(cfg.schedules),
        generated,
        real,
        out.with_name("videos"),
        cfg.wild_seconds,
        cfg.seed,
    )
    parts = run.run(Path(cfg.wild))
    if not parts:
        raise ValueError(f"wild={cfg.wild}: no clip can be judged: {'; '.join(item.reason for item in run.left_out)}")
    report = wild.make_report(parts, run.left_out, run.schedules, cfg.seed)
    report |= {"networks": {"lips": reader}, "weights": hashes, "settings": settings | {"folder": str(cfg.wild)}}
    report["seconds"] = round(time.perf_counter() - begun, 1)
    picture = sheet(run.faces(parts), "real above, generated below", cell=96)
    write_report(out, report, picture, wild.to_markdown)
    write_page(out, report, picture)
    generated.remove()
    return report


def fit_loudness(cfg: DictConfig) -> None:
    """The control ``loudness`` from the training people of a prepared corpus, written beside the program."""
    mesh = face_mesh_file(cfg)
    made = fitting.fit(Path(cfg.loudness), FaceMesh(mesh), cfg.loudness_clips)
    log.info("%s: fitted on %s", fitting.FILE, made)


def evaluate_clips(cfg: DictConfig) -> dict:
    """Run every protocol over the clips and write the report; returns it. Finished clips of a cut run are kept."""
    begun = time.perf_counter()
    instruments, hashes = instruments_of(cfg, tuple(INSTRUMENTS))
    chain = load_chain(cfg.weights, instruments)
    dataset = open_split(cfg.split, chain.talker.vae.resolution, seed=cfg.seed, **cfg.data)
    plan = make_plan(cfg, len(dataset.entries))
    others = (stage for stage in (*NEEDED, "teacher", "motion") if cfg.weights[stage])
    hashes |= {stage: checkpoint.file_hash(cfg.weights[stage]) for stage in others}
    settings = {"split": cfg.split, "version": VERSION} | vars(plan)
    data = [str(cfg.data.root), fingerprint(dataset.entries)]
    parts = Parts(Path(cfg.out), settings | {"data": data, "weights": hashes})
    judge = Judge(chain, dataset, plan, parts, cfg.workers)
    clips, long_runs = judge.run()

    rows = [clip["rows"] for clip in clips]
    statistics = summarise_rows(rows, cfg.seed)
    features = [parts.read_arrays(f"{clip:06d}.features") for clip in plan.clips]
    add_frechet(statistics, features)
    tree = nest(statistics)
    report = {
        "clips": len(clips),
        "identities": len({int(dataset.person[clip]) for clip in plan.clips}),
        "split": cfg.split,
        "denoise": {"strength": judge.strength} | tree.pop("denoise"),
        **tree,
        "long": long_runs,
        "controls": verdicts(rows, statistics, cfg.seed, features),
        "unavailable": instruments.unavailable,
        "mouth_seen": sum(dataset.entries[clip].truth is None for clip in plan.clips) if instruments.mouth else 0,
        "mouth_reader": instruments.mouth_reader,
        "features": f"mean and std over time of {instruments.embedder}",
        "statistics": statistics,
        "weights": hashes,
        "settings": settings,
        "processor_seconds": processor_seconds(clips),
        "seconds": time.perf_counter() - begun,
    }
    picture = judge.sheet()
    write_report(Path(cfg.out), report, picture)
    write_page(Path(cfg.out), report, picture)
    parts.remove()
    return report


def run(cfg: DictConfig) -> dict:
    """The report on clips of a chain, on two folders of videos where ``pairs`` and ``real`` name them, or on real
    clips where ``wild`` does."""
    check(cfg)
    return (evaluate_wild if cfg.wild else evaluate_pairs if is_of_pairs(cfg) else evaluate_clips)(cfg)


MARKDOWN = {"pairs": pairs_markdown, "wild": wild.to_markdown}
"""Kind of a report -> its tables; any other is a chain's."""


@command_line("evaluate")
def main(cfg: DictConfig) -> None:
    if cfg.runs:
        return log.info("%s", write_runs(Path(cfg.runs)))
    if cfg.loudness:
        return fit_loudness(cfg)
    report = run(cfg)
    text = MARKDOWN.get(report.get("kind"), to_markdown)(report)
    log.info("\n%s\n%s, tables, page and sheet.png beside it", text, cfg.out)


if __name__ == "__main__":
    main()
