"""``python -m tsd.prepare source=synthetic|lrs3 root=...``: a corpus, its tracks and its manifests."""

from pathlib import Path

import hydra
from hydra.utils import instantiate
from omegaconf import DictConfig

from tsd.command import user_errors
from tsd.prepare.lrs3 import collect
from tsd.prepare.manifests import write_manifests
from tsd.prepare.motion_bank import write_motion_bank


def prepare(cfg: DictConfig) -> None:
    """The corpus where the source makes one, tracks, manifests, and the motion bank; prints what came of it."""
    root = Path(cfg.root)
    instantiate(cfg.source, _convert_="all")
    records, counts = collect(
        root,
        folder=cfg.manifests,
        min_frames=cfg.min_frames,
        language=cfg.language,
        motion=cfg.motion,
        motion_every=cfg.motion_every,
        workers=cfg.workers,
    )
    splits = write_manifests(root, records, cfg.val_ratio, cfg.test_ratio, cfg.seed, cfg.manifests)
    people = len({record["identity"] for record in records})
    print(f"{root / cfg.manifests}: {counts.pop('clips')} clips of {people} people")
    print("  " + ", ".join(f"{split} {num}" for split, num in splits.items()))
    if rejected := counts.pop("rejected"):
        print(f"  {rejected} clips rejected, see {root / cfg.manifests / 'rejected.jsonl'}")
    for what, num in sorted(counts.items()):
        if num:
            print(f"  {num} {what}")
    tracks = write_motion_bank(root, root / cfg.manifests / "motion.safetensors", cfg.manifests)
    print(f"  {tracks} tracks in the motion bank")


@hydra.main(version_base="1.3", config_path="../../conf", config_name="prepare")
@user_errors
def main(cfg: DictConfig) -> None:
    prepare(cfg)


if __name__ == "__main__":
    main()
