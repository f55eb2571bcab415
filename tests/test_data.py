import pickle
import shutil
import time
from dataclasses import replace
from itertools import islice

import cv2
import numpy as np
import pytest
import torch
from mini_corpus import disc_corpus, motion_of, write_disc

from tsd.clip import EYES_OPEN, Clip, flip_motion, viseme_windows
from tsd.data.datamodule import ClipDataModule
from tsd.data.dataset import REFERENCE_GAP, ClipDataset, collate
from tsd.data.manifest import manifest_path, read_manifest
from tsd.data.memory import Memory
from tsd.data.tracks import load_tracks
from tsd.flow import optical_flow
from tsd.prepare.manifests import write_jsonl


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return disc_corpus(tmp_path_factory.mktemp("corpus"))


@pytest.fixture
def entries(root):
    return read_manifest(manifest_path(root, "train"), root)


def _epoch(loader, epoch: int) -> list[Clip]:
    loader.sampler.start = epoch * len(loader.dataset)
    return list(islice(loader, len(loader.dataset) // loader.batch_size))


def _same(a: Clip, b: Clip) -> bool:
    return a.key == b.key and all(
        torch.equal(value, getattr(b, name)) for name, value in vars(a).items() if isinstance(value, torch.Tensor)
    )


def test_a_batch_holds_what_its_window_shows(root, entries):
    data = ClipDataModule(root, resolution=32, window=6, batch_size=4, mel=True)
    data.setup("fit")
    (clip,) = _epoch(data.train_dataloader(), 0)
    clip = clip.in_unit()
    dataset = data.datasets["train"]
    assert len(clip) == 4 and sorted(clip.key) == sorted(e.key for e in entries)
    assert clip.frames.shape == (4, 6, 3, 32, 32) and -1 <= clip.frames.min() < clip.frames.max() <= 1
    for i, key in enumerate(clip.key):
        number = [e.key for e in entries].index(key)
        whole, start = dataset.whole_clip(number), int(clip.start[i])
        window = slice(start, start + 6)
        assert torch.equal(clip.frames[i], whole.frames[0, window])
        assert torch.equal(clip.mel[i], whole.mel[0, 4 * start : 4 * (start + 6)])
        person = int(key.split("/")[1][1])
        np.testing.assert_array_equal(clip.motion[i], motion_of(30, person)[window])
        labels = torch.eye(15)[torch.arange(30) % 15]
        assert torch.equal(clip.viseme_labels[i], labels[window])
        assert torch.equal(clip.visemes[i], viseme_windows(labels)[window])
        distance = (whole.frames[0] - clip.reference[i]).abs().flatten(1).sum(1)
        reference = int(distance.argmin())
        assert distance[reference] == 0 and not start - REFERENCE_GAP < reference < start + 5 + REFERENCE_GAP
        np.testing.assert_array_equal(clip.reference_motion[i], motion_of(30, person)[reference])
    assert clip.motion_known.all() and not clip.mismatch.any() and clip.mouth_open is None


def test_windows_depend_on_seed_and_epoch_and_not_on_workers(root):
    def epochs(**changes):
        data = ClipDataModule(root, resolution=32, window=6, batch_size=2, flip=True, p_mismatch=0.5, **changes)
        loader = data.train_dataloader()
        return [_epoch(loader, epoch) for epoch in (0, 1)]

    first, second = epochs(), epochs(num_workers=2)
    assert all(_same(a, b) for x, y in zip(first, second, strict=True) for a, b in zip(x, y, strict=True))
    assert not all(_same(a, b) for a, b in zip(*first, strict=True))
    assert not all(_same(a, b) for a, b in zip(first[0], epochs(seed=1)[0], strict=True))


def test_validation_is_fixed_and_covers_clips_before_windows(root):
    data = ClipDataModule(root, resolution=32, window=6, val_batch_size=8, val_windows=3, p_mismatch=1.0, flip=True)
    data.setup("validate")
    (clip,) = data.val_dataloader()
    assert len(clip) == 6 and clip.key[:2] == clip.key[2:4] and clip.key[0] != clip.key[1]
    assert clip.start.tolist() == [4, 4, 12, 12, 20, 20]
    assert not clip.mismatch.any()
    assert _same(clip, next(iter(data.val_dataloader())))


def test_mismatch_takes_reference_and_its_motion_of_another_person(entries):
    dataset = ClipDataset(entries, 32, 6, train=True, p_mismatch=1.0)
    clip = collate([dataset[epoch, i] for epoch in range(3) for i in range(4)])
    assert clip.mismatch.all()
    people = [int(p[1:]) for p in dataset.people]
    for person, motion in zip(clip.identity.tolist(), clip.reference_motion, strict=True):
        other = people[1 - person]
        assert np.isin(motion.numpy(), motion_of(30, other)).all()
    half = ClipDataset(entries, 32, 6, train=True, p_mismatch=0.5)
    share = np.mean([half[e, i]["mismatch"] for e in range(30) for i in range(4)])
    assert 0.3 < share < 0.7
    with pytest.raises(ValueError, match="needs two identities"):
        ClipDataset(entries[:1], 32, 6, p_mismatch=0.5)


def test_mirrored_windows_mirror_everything(entries):
    straight = ClipDataset(entries, 32, 6, train=True)
    mirrored = ClipDataset(entries, 32, 6, train=True, flip=True)
    turned = 0
    for epoch in range(8):
        b = mirrored[epoch, 0]
        a = straight._sample(0, b["start"], 6, 0, 20, False, None)
        if (a["frames"] != b["frames"]).any():
            turned += 1
            np.testing.assert_array_equal(a["frames"][:, :, ::-1], b["frames"])
            expected = flip_motion(torch.from_numpy(a["motion"]))
            np.testing.assert_array_equal(expected, b["motion"])
    assert 0 < turned < 8


def test_windows_around_blinks_show_shut_eyes(monkeypatch, entries):
    """All windows of a clip that has a blink, where they are asked for always; other clips' windows stay."""
    motion = motion_of(30, 0)
    motion[:, EYES_OPEN] = 1
    blinking = motion.copy()
    blinking[20:22, EYES_OPEN] = 0.1
    real = ClipDataset.tracks
    monkeypatch.setattr(
        ClipDataset, "tracks", lambda self, clip: replace(real(self, clip), motion=motion if clip else blinking)
    )

    def windows(p_blink: float, clip: int) -> list[dict]:
        data = ClipDataset(entries, 32, 2, windows_per_clip=40, train=True, p_blink=p_blink)
        return [data[0, len(entries) * nth + clip] for nth in range(40)]

    def shut(p_blink: float) -> float:
        return float(np.mean([w["motion"][:, EYES_OPEN].min() < 0.5 for w in windows(p_blink, 0)]))

    assert shut(1.0) == 1 and 0 < shut(0.0) < 0.4
    assert {w["start"] for w in windows(1.0, 0)} == {19, 20, 21}
    assert len({w["start"] for w in windows(1.0, 1)}) > 10


def test_flow_points_to_the_previous_frame():
    rng = np.random.default_rng(0)
    picture = cv2.GaussianBlur(rng.integers(0, 256, (72, 72, 3), np.uint8), (0, 0), 2)
    picture = cv2.normalize(picture, None, 0, 255, cv2.NORM_MINMAX)
    now, before = picture[4:68, 4:68], picture[4:68, 1:65]  # now(x) = before(x + 3)
    flow, visible = optical_flow(np.ascontiguousarray(now), np.ascontiguousarray(before))
    assert flow.shape == (2, 64, 64) and visible.shape == (1, 64, 64)
    middle = flow[:, 8:56, 8:56]
    assert abs(np.median(middle[0]) - 3) < 0.3 and abs(np.median(middle[1])) < 0.3
    assert visible[0, 8:56, 8:56].mean() > 0.9 and visible[0, :, -2:].max() == 0  # came from outside the picture
    still, seen = optical_flow(np.ascontiguousarray(now), np.ascontiguousarray(now))
    assert np.abs(still).max() < 0.1 and seen.all()


def test_flow_comes_with_its_pair(root):
    data = ClipDataModule(root, resolution=32, window=6, batch_size=4, flow=True)
    (clip,) = _epoch(data.train_dataloader(), 0)
    assert clip.flow.shape == (4, 2, 32, 32) and set(clip.visible.unique().tolist()) <= {0.0, 1.0}
    assert ((clip.pair >= 1) & (clip.pair < 6)).all()


def test_truth_of_drawn_clips_is_given_and_mirrored(tmp_path, entries):
    boxes = np.tile(np.float32([0.2, 0.6, 0.5, 0.8]), (30, 1))
    truth = {"visemes": np.eye(15, dtype=np.float16)[np.arange(30) % 15], "motion": motion_of(30, 1)}
    np.savez(tmp_path / "a.truth.npz", mouth_open=np.linspace(0, 0.1, 30), mouth_box=boxes, **truth)
    write_disc(tmp_path / "a.mp4", 30)
    write_disc(tmp_path / "b.mp4", 30)
    files = dict.fromkeys(("visemes", "motion", "truth"), "a.truth.npz")
    lines = [
        {"video": "a.mp4", "identity": "p", "frames": 30, **files},
        {"video": "b.mp4", "identity": "p", "frames": 30},
    ]
    write_jsonl(manifest_path(tmp_path, "train"), lines)
    dataset = ClipDataset(read_manifest(manifest_path(tmp_path, "train"), tmp_path), 32, 6)
    clip = collate([dataset[0], dataset[1]])
    assert torch.allclose(clip.mouth_open[0], torch.linspace(0, 0.1, 30)[12:18], atol=1e-6)
    assert clip.mouth_open[1].isnan().all() and clip.mouth_box[1].isnan().all()
    assert clip.motion_known.tolist() == [True, False]
    assert clip.motion[1].abs().sum() == 0 and clip.visemes[1].abs().sum() == 0
    box = dataset._sample(0, 12, 6, 0, 0, True, None)["mouth_box"]
    np.testing.assert_allclose(box[0], [0.5, 0.6, 0.8, 0.8], atol=1e-6)


def _track(tmp_path, entry, **arrays):
    for name, array in arrays.items():
        np.save(tmp_path / f"{name}.npy", array, allow_pickle=True)
    return replace(entry, **{name: tmp_path / f"{name}.npy" for name in arrays})


def test_tracks_of_nearly_the_right_length_are_fitted(tmp_path, entries):
    tracks = load_tracks(_track(tmp_path, entries[0], visemes=np.full(28, 3), motion=motion_of(32, 0)))
    assert tracks.labels.shape == (30, 15) and tracks.labels[-1, 3] == 1 and len(tracks.motion) == 30


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        ({"visemes": np.full(20, 3)}, "has 20 frames but its video has 30"),
        ({"visemes": np.full(30, 15)}, "must lie in 0..14"),
        ({"visemes": np.zeros((30, 14))}, r"floats \[T, 15\]"),
        ({"motion": np.zeros((30, 6))}, r"motion must be floats \[T, 7\]"),
        ({"visemes": np.array([{"a": 1}])}, "no readable array"),
    ],
)
def test_tracks_that_do_not_fit_are_named(tmp_path, entries, arrays, words):
    with pytest.raises(ValueError, match=words) as error:
        load_tracks(_track(tmp_path, entries[0], **arrays))
    assert f"{next(iter(arrays))}.npy" in str(error.value)


def test_clips_that_do_not_fit_are_named(tmp_path, root, entries):
    with pytest.raises(ValueError, match=r"line 1: .* has 30 frames, fewer than the window of 31"):
        ClipDataset(entries, 32, 31)
    write_disc(tmp_path / "mute.mp4", 20, sound=False)
    write_jsonl(manifest_path(tmp_path, "train"), [{"video": "mute.mp4", "identity": "p", "frames": 20}])
    mute = read_manifest(manifest_path(tmp_path, "train"), tmp_path)
    assert ClipDataset(mute, 32, 8).whole_clip(0).mel is None
    with pytest.raises(ValueError, match=r"mute\.mp4 has no sound"):
        ClipDataset(mute, 32, 8, mel=True)[0]
    write_jsonl(manifest_path(tmp_path, "train"), [{"video": "mute.mp4", "identity": "p", "frames": 25}])
    with pytest.raises(ValueError, match="has 20 frames but .*line 1 says 25"):
        ClipDataset(read_manifest(manifest_path(tmp_path, "train"), tmp_path), 32, 8)[0]


def test_missing_tracks_are_reported_once(tmp_path, caplog):
    root = disc_corpus(tmp_path)
    path = manifest_path(root, "train")
    path.write_text(path.read_text().replace('"visemes": "', '"unused": "', 1))
    data = ClipDataModule(root, resolution=32, window=6)
    data.setup("fit")
    data.setup("fit")
    next(iter(data.train_dataloader()))
    assert [r.message for r in caplog.records] == ["train: 1 of 4 clips have no visemes: their visemes are zeros"]


def test_memory_forgets_the_oldest_and_counts_bytes():
    made = []

    def make(n, size=10):
        return lambda: made.append(n) or np.zeros(size, np.uint8)

    memory = Memory(25)
    for n in (1, 2, 1, 3, 1, 2):
        memory.get(n, make(n))
    assert made == [1, 2, 3, 2] and memory.num_bytes == 20
    memory.get(4, make(4, 100))
    assert memory.num_bytes == 20


def test_a_small_memory_gives_the_same_windows(entries):
    for i in range(len(entries)):
        large, small = ClipDataset(entries, 32, 6), ClipDataset(entries, 32, 6, memory=Memory(1000))
        np.testing.assert_array_equal(large[i]["frames"], small[i]["frames"])
    assert small.memory.num_bytes <= 1000


def test_wrong_settings_name_their_keys(root):
    with pytest.raises(ValueError, match="window=0, batch_size=-1|batch_size=-1.*window=0"):
        ClipDataModule(root, window=0, batch_size=-1)
    with pytest.raises(ValueError, match=r"data\.window must be 2 or more"):
        ClipDataModule(root, window=1, flow=True)
    with pytest.raises(ValueError, match="p_mismatch must lie in"):
        ClipDataModule(root, resolution=32, window=6, p_mismatch=2.0).setup("fit")
    with pytest.raises(FileNotFoundError, match=r"lrs3_train\.jsonl: no such manifest"):
        ClipDataModule(root / "nowhere").setup("fit")


def test_batches_from_memory_are_quick(root):
    data = ClipDataModule(root, resolution=64, window=8, batch_size=8, windows_per_clip=8, mel=True)
    loader = data.train_dataloader()
    _epoch(loader, 0)
    quickest = min(_timed(lambda: _epoch(loader, 1)) for _ in range(5)) / (len(loader.dataset) // 8)
    assert quickest < 0.02, f"{quickest * 1000:.1f} ms a batch"


def _timed(run) -> float:
    begin = time.perf_counter()
    run()
    return time.perf_counter() - begin


def test_datasets_reach_workers_that_are_spawned(root, entries):
    dataset = ClipDataset(entries, 32, 6)
    copy = pickle.loads(pickle.dumps(dataset))
    np.testing.assert_array_equal(copy[0]["frames"], dataset[0]["frames"])


def test_a_broken_clip_is_named_with_its_remedy(tmp_path, root):
    shutil.copytree(root, tmp_path / "c")
    video = next(e for e in read_manifest(manifest_path(tmp_path / "c", "val"), tmp_path / "c")).video
    data = bytearray(video.read_bytes())
    data[len(data) // 4 : len(data) // 2] = bytes(len(data) // 2 - len(data) // 4)
    video.write_bytes(data)
    module = ClipDataModule(tmp_path / "c", resolution=32, window=6)
    with pytest.raises(ValueError, match=r"\.mp4: .*(prepare|convert)"):
        list(module.val_dataloader())
