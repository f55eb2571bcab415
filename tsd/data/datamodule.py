"""One LightningDataModule for every stage."""

import logging
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from itertools import count
from pathlib import Path

import lightning
import numpy as np
import torch
from torch.utils.data import DataLoader, Sampler
from tqdm import tqdm

from tsd.clip import Clip
from tsd.data.dataset import ClipDataset, collate
from tsd.data.latents import LatentCache
from tsd.data.manifest import Manifest, manifest_path, read_manifest
from tsd.data.memory import Memory
from tsd.data.shards import Shards
from tsd.data.sound import SoundDataset
from tsd.data.stream import StreamedClips, StreamOrder

log = logging.getLogger(__name__)
SPLITS = ("train", "val", "test")
PEOPLE = {"all": slice(None), "even": slice(0, None, 2), "odd": slice(1, None, 2)}
"""Which identities of the sorted ones of the training split."""


class EndlessSampler(Sampler):
    """Shuffled (epoch, number) pairs without end: what a window shows depends on the pair and the seed alone.

    length: items of the dataset; every ``length`` pairs are one epoch in an order of its own. start: pairs taken
    before, on all devices together, so that a resumed training goes on where it was. rank, world: this device takes
    every ``world``-th pair from ``start + rank`` on, so that all devices together take what one would.
    """

    def __init__(self, length: int, seed: int, start: int = 0, rank: int = 0, world: int = 1):
        self.length, self.seed, self.start, self.rank, self.world = length, seed, start, rank, world

    def __iter__(self) -> Iterator[tuple[int, int]]:
        @lru_cache(1)
        def order(epoch: int) -> list[int]:
            return torch.randperm(self.length, generator=torch.Generator().manual_seed(self.seed + epoch)).tolist()

        for position in count(self.start + self.rank, self.world):
            epoch, place = divmod(position, self.length)
            yield epoch, order(epoch)[place]


class ClipDataModule(lightning.LightningDataModule):
    """Clips of a corpus with manifests, as batches of ``tsd.clip.Clip``.

    Args:
        root: the corpus; ``<root>/<manifests>/lrs3_{train,val,test}.jsonl`` name its clips.
        resolution: side of the frames in pixels.
        window: frames per window.
        batch_size, val_batch_size: windows per batch.
        windows_per_clip: random windows of every clip in one epoch of training.
        val_windows: fixed windows of every clip in validation and test.
        p_mismatch, flip, p_blink, flow, mel, hears: see ``ClipDataset``; the first three touch training only.
        people: of the training split's sorted identities "all", or those at "even" or "odd" places (from 0). Validation
            and test are whole.
        latents: folder of cached latents (``tsd.data.latent_cache``), or None to give frames only.
        vae_hash: refuse latents of another VAE; with ``stream``: train on its latents.
        stream: folder or address (``s3://...``) of shards (``tsd.prepare.shards``), read instead of ``root``, or None.
        stream_cache, stream_gb: where the chunks of an address are kept, and how many GB of them.
        pictures: show the frames of training windows although their latents are cached: a term compares with them.
        cache_mb: memory for decoded clips, all workers together.
        preload: decode every clip before training begins, on all processors, and let workers share what is decoded:
            each would decode all of it for itself, while a GPU waits. Wants room in ``cache_mb``.
        listen: give windows of sound alone (``SoundDataset``), distorted in training (``distort``) and drawn from the
            corpora of a joined one by ``shares``. Files of sound have no pictures, so no other stage can use them.
        memory: of another DataModule, whose clips are then not decoded again.
        decoder: see ``ClipDataset``.
        seed: of windows, references, mirroring and order.

    ``datasets`` maps a split to its ``ClipDataset`` after ``setup``. Training batches have no end, and the position
    in them is part of a checkpoint. ``batch_size`` counts per device.
    """

    def __init__(
        self,
        root: str,
        manifests: str = "manifests",
        resolution: int = 64,
        window: int = 8,
        batch_size: int = 8,
        val_batch_size: int = 8,
        windows_per_clip: int = 1,
        val_windows: int = 1,
        p_mismatch: float = 0.0,
        flip: bool = False,
        p_blink: float = 0.0,
        flow: bool = False,
        mel: bool = False,
        hears: str = "visemes",
        people: str = "all",
        latents: str | None = None,
        vae_hash: str | None = None,
        stream: str | None = None,
        stream_cache: str = "outputs/streams",
        stream_gb: float = 50,
        pictures: bool = False,
        cache_mb: int = 1500,
        preload: bool = False,
        num_workers: int = 0,
        decoder: str = "auto",
        seed: int = 0,
        listen: bool = False,
        distort: bool = True,
        shares: dict[str, float] | None = None,
        memory: Memory | None = None,
    ):
        super().__init__()
        if listen and stream:
            raise ValueError("data.listen=true reads files of sound: leave out data.stream, or data.listen")
        self.listening = {"distort": distort, "shares": shares} if listen else None
        sizes = {
            "resolution": resolution,
            "window": window,
            "batch_size": batch_size,
            "val_batch_size": val_batch_size,
            "windows_per_clip": windows_per_clip,
            "val_windows": val_windows,
        }
        if wrong := {name: value for name, value in sizes.items() if value < 1}:
            raise ValueError(f"data: must be 1 or more: {', '.join(f'{k}={v}' for k, v in wrong.items())}")
        if flow and window < 2:
            raise ValueError(f"data.flow=true needs neighbouring frames: data.window must be 2 or more, got {window}")
        if people not in PEOPLE:
            raise ValueError(f"data.people must be {', '.join(PEOPLE)}, got {people!r}")
        if stream and (people != "all" or latents):
            raise ValueError(
                f"data.stream={stream} holds its people and latents: leave out data.people={people} and "
                f"data.latents={latents}, or data.stream"
            )
        self.stream, self.stream_cache, self.stream_bytes = stream, stream_cache, int(stream_gb * 2**30)
        self.root, self.manifests, self.people = Path(root), manifests, people
        self.batch_size, self.val_batch_size = batch_size, val_batch_size
        self.windows_per_clip, self.val_windows = windows_per_clip, val_windows
        self.shared = {"resolution": resolution, "window": window, "flow": flow, "mel": mel, "hears": hears}
        self.shared |= {"decoder": decoder, "seed": seed}
        self.training = {"p_mismatch": p_mismatch, "flip": flip, "p_blink": p_blink}
        self.latents, self.vae_hash, self.pictures = latents, vae_hash, pictures
        self.num_workers, self.seed = num_workers, seed
        self.preload = preload
        self.memory = memory or Memory(cache_mb * 2**20 // (1 if preload else max(1, num_workers)))
        self.datasets: dict[str, ClipDataset] = {}
        self.batches_taken = 0

    def setup(self, stage: str | None = None) -> None:
        """Read the manifests or shards that ``stage`` needs; says once what the clips lack."""
        wanted = {"fit": ("train", "val"), "validate": ("val",), "test": ("test",), "predict": ("test",)}
        for split in wanted.get(stage, SPLITS):
            if split not in self.datasets:
                self.datasets[split] = self._streamed(split) if self.stream else self._dataset(split)

    def _dataset(self, split: str) -> ClipDataset:
        entries = read_manifest(manifest_path(self.root, split, self.manifests), self.root)
        if split == "train":
            entries = of_people(entries, self.people)
        if self.listening is not None:
            return self._listening(entries, split)
        if silent := [entry.key for entry in entries.look() if not entry.pictures]:
            raise ValueError(
                f"{entries.path}: {silent[0]} ({len(silent)} such lines) has no pictures: only stage=visemes with "
                "data.listen=true can train on it; name a corpus of videos"
            )
        for field, meaning in (("visemes", "visemes are zeros"), ("motion", "head motion is zeros")):
            found = [getattr(entry, field) is None for entry in entries.look()]
            if any(found):
                log.warning("%s: %d of %d clips have no %s: their %s", split, sum(found), len(found), field, meaning)
        latents = None
        if self.latents is not None:
            flip = split == "train" and self.training["flip"]
            latents = LatentCache(self.latents, split, entries, self.shared["resolution"], flip, self.vae_hash)
        return ClipDataset(entries, latents=latents, **self._options(split, latents is not None))

    def _listening(self, entries: Manifest, split: str) -> SoundDataset:
        train, window = split == "train", self.shared["window"]
        if train:
            windows = {"windows_per_clip": self.windows_per_clip, "train": True, **self.listening}
        else:
            windows = {"windows_per_clip": 1}
        return SoundDataset(entries, window, **windows, memory=self.memory, seed=self.seed)

    def _streamed(self, split: str) -> StreamedClips:
        shards = Shards(self.stream, split, self.stream_cache, self.stream_bytes)
        return StreamedClips(shards, vae_hash=self.vae_hash, **self._options(split, self.vae_hash is not None))

    def _options(self, split: str, on_latents: bool) -> dict:
        """What the dataset of a split is told beside where its clips come from."""
        train = split == "train"
        return {
            "train": train,
            "windows_per_clip": self.windows_per_clip if train else self.val_windows,
            "pictures": self.pictures or not (train and on_latents),
            "memory": self.memory,
            **self.shared,
            **(self.training if train else {}),
        }

    def _loader(self, split: str, batch_size: int, **options) -> DataLoader:
        if split not in self.datasets:
            self.datasets[split] = self._streamed(split) if self.stream else self._dataset(split)
        return DataLoader(
            self.datasets[split],
            batch_size=batch_size,
            collate_fn=collate,
            num_workers=self.num_workers,
            persistent_workers=self.num_workers > 0,  # their memories of decoded clips outlive the epoch
            pin_memory=torch.cuda.is_available(),
            # Its own, so that the training's random numbers are the same for any number of workers.
            generator=torch.Generator().manual_seed(self.seed),
            **options,
        )

    def decode_all(self) -> None:
        """Every clip of the splits that are set up, into the memory."""
        for split, dataset in self.datasets.items():
            if dataset.num_bytes > self.memory.max_bytes:
                raise ValueError(
                    f"data.preload=true: the {split} split takes {dataset.num_bytes / 2**20:.0f} MiB decoded and "
                    f"data.cache_mb={self.memory.max_bytes // 2**20}; raise it, or set data.preload=false"
                )
            with ThreadPoolExecutor(os.cpu_count()) as pool:
                clips = pool.map(dataset.remember, range(len(dataset.entries)))
                total = len(dataset.entries)
                for _ in tqdm(clips, total=total, desc=f"decoding {split}", unit="clip", delay=2, leave=False):
                    pass

    def on_after_batch_transfer(self, batch: Clip, dataloader_idx: int) -> Clip:
        return batch.in_unit()

    def train_dataloader(self) -> DataLoader:
        self.setup("fit")
        if self.preload and not self.stream:
            self.decode_all()
        trainer = self.trainer
        world, rank = (trainer.world_size, trainer.global_rank) if trainer else (1, 0)
        dataset, taken = self.datasets["train"], self.batches_taken * self.batch_size
        if self.stream:
            node, nodes = (trainer.node_rank, trainer.num_nodes) if trainer else (0, 1)
            local = world // nodes
            bounds = dataset.shards.bounds
            sampler = StreamOrder(
                bounds, self.windows_per_clip, self.seed, taken * local, rank % local, local, node, nodes
            )
        else:
            sampler = EndlessSampler(len(dataset), self.seed, taken * world, rank, world)
        return self._loader("train", self.batch_size, sampler=sampler)

    def state_dict(self) -> dict[str, int]:
        """Batches that the training has taken on every device."""
        return {"batches_taken": self.trainer.fit_loop.total_batch_idx + 1 if self.trainer else self.batches_taken}

    def load_state_dict(self, state: dict[str, int]) -> None:
        self.batches_taken = int(state["batches_taken"])

    def val_dataloader(self) -> DataLoader:
        return self._loader("val", self.val_batch_size)

    def test_dataloader(self) -> DataLoader:
        return self._loader("test", self.val_batch_size)


def of_people(entries: Manifest, people: str) -> Manifest:
    """The clips of the identities that ``people`` (a key of PEOPLE) names."""
    chosen = np.arange(len(entries.people))[PEOPLE[people]]
    if not len(chosen):
        raise ValueError(f"data.people={people} leaves nobody: {entries.path} has one identity only")
    return entries[np.flatnonzero(np.isin(entries.person, chosen))]
