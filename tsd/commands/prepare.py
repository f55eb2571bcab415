"""A corpus ready for training: ``python -m tsd.commands.prepare source=<one of conf/source> root=<folder>``.

``stream=<folder>`` writes a prepared corpus as shards, ``report=<corpus>`` a page about it.
"""

from pathlib import Path

from hydra.utils import instantiate
from omegaconf import DictConfig

from tsd.commands.compose import command_line
from tsd.data.manifest import manifest_path
from tsd.prepare.collect import Corpus, Splits, collect
from tsd.prepare.join import join
from tsd.prepare.manifests import is_split_by_clips
from tsd.prepare.motion_bank import write_motion_bank
from tsd.prepare.settings import Settings


def check(cfg: DictConfig) -> None:
    """All bad arguments in one error."""
    if not cfg.root and not cfg.report:
        raise ValueError("root= is missing: give the folder of the corpus, or report=<corpus> for its page")
    if cfg.root and cfg.videos and Path(cfg.root).resolve().is_relative_to(Path(cfg.videos).resolve()):
        raise ValueError(
            f"root={cfg.root} lies inside videos={cfg.videos}: clips would be taken for inputs; choose another"
        )


def prepare(cfg: DictConfig) -> None:
    """Clips where the source makes some, their tracks, manifests, and the motion bank; prints what came of it."""
    root = Path(cfg.root)
    recordings = instantiate(cfg.source, _convert_="all")
    corpus = collect(
        recordings,
        Settings(root=root, **instantiate(cfg.clips, _convert_="all")),
        folder=cfg.manifests,
        workers=cfg.workers,
        shard=cfg.shard,
        limit=cfg.limit_seconds,
        splits=Splits(cfg.val_ratio, cfg.test_ratio, cfg.seed),
    )
    folder = root / cfg.manifests
    if corpus.waiting:
        print(f"{folder}: shard {cfg.shard} is done; {corpus.waiting} recordings of other shards are not yet")
        return
    say(corpus, root, cfg.manifests)
    tracks = write_motion_bank(root, folder / "motion.safetensors", cfg.manifests)
    print(f"  {tracks} tracks in the motion bank")


def join_corpora(root: Path, names: list[str], folder: str) -> None:
    """The manifests and the motion bank of ``root`` from its corpora; prints what came of it."""
    counts = join(root, names, folder)
    print(f"{root / folder}: {sum(counts.values())} clips of {', '.join(names)}")
    print("  " + ", ".join(f"{split} {num}" for split, num in counts.items()))
    tracks = write_motion_bank(root, root / folder / "motion.safetensors", folder)
    print(f"  {tracks} tracks in the motion bank")


def say(corpus: Corpus, root: Path, folder: str) -> None:
    """The summary that people read."""
    people = len({record["identity"] for record in corpus.records})
    print(f"{root / folder}: {len(corpus.records)} clips of {people} people")
    counts = {
        split: sum(1 for line in manifest_path(root, split, folder).open(encoding="utf-8") if line.strip())
        for split in ("train", "val", "test")
    }
    print("  " + ", ".join(f"{split} {num}" for split, num in counts.items()))
    if is_split_by_clips(root, folder):
        print("  split by clips, for the people are too few: what is measured is of people who were trained on")
    if corpus.rejected:
        print(f"  {len(corpus.rejected)} rejected, see {root / folder / 'rejected.jsonl'}")
    for what, num in sorted(corpus.notes.items()):
        if num:
            print(f"  {num} {what}")


def stream(cfg: DictConfig) -> None:
    """The training and validation clips of a prepared corpus as shards; latents that are missing are encoded first."""
    from tsd.data.datamodule import ClipDataModule
    from tsd.data.latent_cache import cache_latents
    from tsd.prepare.shards import write_shards
    from tsd.training import run_record  # what follows needs the nets, which the workers of ``prepare`` do not
    from tsd.weights import checkpoint

    options = {"root": cfg.root, "manifests": cfg.manifests, "window": 1}
    if cfg.vae:
        vae, vae_hash = checkpoint.load(cfg.vae, "vae"), checkpoint.file_hash(cfg.vae)
        folder = Path(cfg.latents) / vae_hash
        options |= {"resolution": vae.resolution, "flip": cfg.flip}
        data = ClipDataModule(**options)
        data.setup("fit")
        with run_record.only_one(folder, wait=True):
            for split, dataset in data.datasets.items():
                cache_latents(vae.encode, dataset, folder, split, vae_hash, split == "train" and cfg.flip)
        options |= {"latents": str(folder), "vae_hash": vae_hash}
    data = ClipDataModule(**options)
    data.setup("fit")
    for split, dataset in data.datasets.items():
        done = write_shards(dataset, cfg.stream, split, cfg.mel, cfg.stream_frames, cfg.shard)
        missing = "" if done else f"; shard {cfg.shard} is done, chunks of other shards are not yet"
        print(f"{cfg.stream}/{split}: {len(dataset.entries)} clips{missing}")


def report(cfg: DictConfig) -> None:
    """A page about a prepared corpus."""
    from tsd.evaluation.page.corpus import write_corpus_page  # plots and metrics: workers import this file, not these

    print(write_corpus_page(Path(cfg.report), cfg.manifests))


def run(cfg: DictConfig) -> None:
    """Make a corpus, join some, write one as shards, or report on one."""
    check(cfg)
    if cfg.report:
        report(cfg)
    elif cfg.stream:
        stream(cfg)
    elif cfg.join:
        join_corpora(Path(cfg.root), list(cfg.join), cfg.manifests)
    else:
        prepare(cfg)


@command_line("prepare")
def main(cfg: DictConfig) -> None:
    run(cfg)


if __name__ == "__main__":
    main()
