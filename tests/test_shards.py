"""Shards give the windows of the corpus, to any devices, workers and resumptions, and run nobody's code."""

import json
import os
import pickle
import shutil
import signal
import threading
from collections import Counter
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch
from fakes import fake_encode
from mini_corpus import disc_corpus
from safetensors.numpy import load, save
from tiny_runs import STEPS, assert_identical, begun, config, ground, killed

from tsd.clip import Clip
from tsd.commands.compose import composed
from tsd.commands.prepare import stream as stream_command
from tsd.commands.train import run as train
from tsd.data import shards as shards_module
from tsd.data.datamodule import ClipDataModule
from tsd.data.dataset import collate
from tsd.data.flows import compute_flows
from tsd.data.latent_cache import cache_latents
from tsd.data.manifest import manifest_path
from tsd.data.shards import CARD, INDEX, LAYOUT, TABLE, Shards, pack_chunk, read_card
from tsd.data.stream import StreamOrder
from tsd.media.video import read_frames
from tsd.prepare.shards import write_shards
from tsd.weights import checkpoint

pytestmark = pytest.mark.untraced

OPTIONS = {"resolution": 32, "window": 6, "batch_size": 2, "windows_per_clip": 2, "flip": True, "p_mismatch": 0.5}


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """Discs; the first clip has stored flow, the last one neither motion nor visemes."""
    root = disc_corpus(tmp_path_factory.mktemp("corpus"), num_people=5)
    path = manifest_path(root, "train")
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    lines[0]["flow"] = lines[0]["video"].replace(".mp4", ".flow.npz")
    (root / lines[0]["flow"]).write_bytes(compute_flows(read_frames(root / lines[0]["video"])).to_bytes())
    lines[-1] |= {"motion": None, "visemes": None}
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return root


@pytest.fixture(scope="module")
def latents(root, tmp_path_factory):
    folder = tmp_path_factory.mktemp("latents")
    for split, dataset in module(root, flip=True).datasets.items():
        cache_latents(fake_encode, dataset, folder, split, "vae1", flip=split == "train")
    return str(folder)


@pytest.fixture(scope="module")
def stream(root, latents, tmp_path_factory):
    """Shards of all that there is, two clips a chunk."""
    folder = tmp_path_factory.mktemp("stream")
    for split, dataset in module(root, latents=latents).datasets.items():
        assert write_shards(dataset, folder, split, mel=split == "train", chunk_frames=60)
    return folder


@pytest.fixture
def copy(stream, tmp_path):
    """A stream that may be damaged."""
    return Path(shutil.copytree(stream, tmp_path / "stream"))


def module(root, **changes) -> ClipDataModule:
    data = ClipDataModule(str(root), **OPTIONS | changes)
    data.setup("fit")
    return data


def streamed(stream, tmp_path, **changes) -> ClipDataModule:
    return module("nowhere", stream=str(stream), stream_cache=str(tmp_path / "cache"), **{"vae_hash": "vae1"} | changes)


def same(a: dict, b: dict) -> bool:
    return a.keys() == b.keys() and all(np.array_equal(a[name], b[name], equal_nan=name != "key") for name in a)


def places(order: StreamOrder, num: int) -> list[tuple[int, int]]:
    return [(epoch, number) for epoch, number, _ in islice(order, num)]


def batches(data: ClipDataModule, taken: int, num: int) -> list[Clip]:
    data.load_state_dict({"batches_taken": taken})
    return list(islice(data.train_dataloader(), num))


def equal(a: Clip, b: Clip) -> bool:
    return a.key == b.key and all(
        torch.equal(torch.nan_to_num(value), torch.nan_to_num(getattr(b, name)))
        for name, value in vars(a).items()
        if isinstance(value, torch.Tensor)
    )


@pytest.mark.parametrize("memory", [0, 500])
@pytest.mark.parametrize("prefix", ["", "local:"])
def test_every_window_is_that_of_the_corpus(root, latents, stream, tmp_path, prefix, memory):
    changes = {"flow": True, "mel": True, "cache_mb": memory}
    ours = streamed(f"{prefix}{stream}", tmp_path, **changes).datasets
    theirs = module(root, latents=latents, **changes).datasets
    seen = Counter()
    for epoch in range(2):
        for number in range(len(theirs["train"])):
            window = theirs["train"][epoch, number]
            assert same(ours["train"][epoch, number, -1], window), (epoch, number)
            seen["mismatch"] += bool(window["mismatch"])
            seen["stored flow"] += window["key"] == theirs["train"].entries[0].key
    assert min(seen["mismatch"], seen["stored flow"]) > 0 and len(ours["val"]) == len(theirs["val"])
    assert all(same(ours["val"][item], theirs["val"][item]) for item in range(len(theirs["val"])))
    whole, expected = ours["val"].whole_clip(1), theirs["val"].whole_clip(1)
    assert equal(whole, expected) and whole.mel is not None


def test_latents_are_left_out_where_none_are_wanted(root, stream, tmp_path):
    clip = collate([streamed(stream, tmp_path, vae_hash=None).datasets["train"][0, 0, -1]])
    expected = collate([module(root).datasets["train"][0, 0]])
    assert clip.latents is None and equal(clip, expected) and clip.frames.abs().max() > 0.5


@pytest.mark.parametrize(("nodes", "world"), [(1, 1), (1, 2), (2, 1), (3, 2)])
def test_a_pass_visits_every_clip_once_on_all_devices_together(nodes, world):
    bounds, clips, passes = np.array([0, 3, 5, 6, 10, 11, 14, 18]), 18, 6
    seen, chunks = Counter(), []
    for node in range(nodes):
        places_of = [
            places(StreamOrder(bounds, 3, 7, 0, rank, world, node, nodes, mixed=2), 200) for rank in range(world)
        ]
        together = [item for step in zip(*places_of, strict=True) for item in step]
        assert together == places(StreamOrder(bounds, 3, 7, 0, 0, 1, node, nodes, mixed=2), 200 * world)
        wanted = [(e, n) for e, n in together if 3 * e + n // clips < passes]
        assert len(wanted) < len(together)
        seen.update(wanted)
        chunks.append({int(np.searchsorted(bounds, n % clips, "right")) for e, n in wanted if e == n // clips == 0})
    assert seen == Counter((e, n) for e in range(passes // 3) for n in range(3 * clips))
    assert sum(map(len, chunks)) == 7, "a node reads its own chunks only"


def test_the_order_is_seeded_and_goes_on_anywhere():
    bounds = np.array([0, 3, 5, 6, 10])
    whole = places(StreamOrder(bounds, 2, 1, mixed=2), 90)
    assert whole != places(StreamOrder(bounds, 2, 2, mixed=2), 90) and whole[:10] != whole[20:30]
    for start in (1, 9, 10, 11, 47):
        assert places(StreamOrder(bounds, 2, 1, start, mixed=2), 90 - start) == whole[start:]
        assert places(StreamOrder(bounds, 2, 1, start, 1, 2, mixed=2), 10) == whole[start + 1 : start + 21 : 2]


def test_chunks_are_named_before_they_are_needed():
    bounds = np.arange(0, 41, 4)
    fetched, late = set(), []
    for epoch, number, ahead in islice(StreamOrder(bounds, 1, 0, mixed=3), 40):
        chunk = (number % 40) // 4
        late += [chunk] if epoch == 0 and chunk not in fetched else []
        fetched |= {ahead}
    assert len(set(late)) == 3, "those of the first group"


def test_batches_are_the_same_for_any_workers_and_go_on_where_they_were(stream, tmp_path):
    whole = batches(streamed(stream, tmp_path), 0, 9)
    workers = batches(streamed(f"local:{stream}", tmp_path, num_workers=2, cache_mb=0), 0, 9)
    assert all(map(equal, whole, workers))
    assert all(map(equal, whole[4:], batches(streamed(stream, tmp_path, num_workers=1), 4, 5)))
    assert not equal(whole[0], batches(streamed(stream, tmp_path, seed=1), 0, 1)[0])


def test_an_address_is_downloaded_chunk_by_chunk_and_forgotten_again(stream, tmp_path):
    cached = streamed(f"local:{stream}", tmp_path)
    shards, chunks = cached.datasets["train"].shards, sorted((stream / "train").glob("*.bin"))
    assert [path.name for path in shards.folder.iterdir()] == [INDEX]
    shards.cache_bytes = 2 * chunks[0].stat().st_size + 1000
    for number in (0, 1, 0, 2):
        shards.bring(number)
        os.utime(shards.folder / chunks[number].name, ns=(number, [7, 5, 9][number] * 10**9))
    left = sorted(path.name for path in shards.folder.glob("*.bin"))
    assert left == [chunks[0].name, chunks[2].name]
    shards.bring_later(1)
    shards._ahead.shutdown()
    assert (shards.folder / chunks[1].name).read_bytes() == chunks[1].read_bytes()


class Store(SimpleHTTPRequestHandler):
    """An object store of one bucket on this machine: whole objects and ranges of them."""

    asked: list[tuple[str, str | None]] = []

    def do_GET(self):
        path, wanted = Path(self.translate_path(self.path)), self.headers.get("Range")
        if not path.is_file():
            return self.send_error(404)
        content, status = path.read_bytes(), 200
        self.asked.append((path.name, wanted))
        if wanted:
            first, last = wanted.removeprefix("bytes=").split("-")
            whole, status, content = len(content), 206, content[int(first) : int(last or len(content)) + 1]
        self.send_response(status)
        if wanted:
            self.send_header("Content-Range", f"bytes {first}-{int(first) + len(content) - 1}/{whole}")
        for name, value in (("Content-Length", len(content)), ("ETag", '"1"'), ("Accept-Ranges", "bytes")):
            self.send_header(name, str(value))
        self.send_header("Last-Modified", self.date_time_string(path.stat().st_mtime))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(content)

    do_HEAD = do_GET

    def log_message(self, *_):
        pass


@pytest.fixture
def store(stream, monkeypatch):
    """The stream as an address of an object store."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Store, directory=str(stream.parent)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    for name, value in {
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{server.server_port}",
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
    }.items():
        monkeypatch.setenv(name, value)
    Store.asked.clear()
    yield f"s3://{stream.name}"
    server.shutdown()
    server.server_close()


def test_an_object_store_gives_chunks_and_single_clips(store, stream, tmp_path):
    dataset, expected = (streamed(name, tmp_path).datasets["train"] for name in (store, stream))
    assert {name for name, _ in Store.asked} == {CARD, TABLE, INDEX}
    Store.asked.clear()
    assert same(dataset.record(5), expected.record(5))
    assert len(Store.asked) == 2 and all(wanted for _, wanted in Store.asked), "one clip: its place and its bytes"
    for number in range(4):
        assert same(dataset[0, number, -1], expected[0, number, -1])
    assert [path.name for path in dataset.shards.folder.glob("*.bin")], "the windows' own chunks"
    with pytest.raises(FileNotFoundError, match=r"nowhere/train/card\.json: no shards of the train split"):
        streamed("s3://nowhere", tmp_path)


def test_workers_read_from_an_object_store(store, stream, tmp_path):
    ours = batches(streamed(store, tmp_path, num_workers=2), 0, 4)
    assert all(map(equal, ours, batches(streamed(stream, tmp_path), 0, 4)))


def test_datasets_reach_workers_that_are_spawned(stream, tmp_path):
    dataset = streamed(f"local:{stream}", tmp_path).datasets["train"]
    window = dataset[0, 3, 0]
    assert same(pickle.loads(pickle.dumps(dataset))[0, 3, 1], window)


def test_writing_goes_on_chunk_by_chunk_and_appears_when_it_is_whole(root, latents, stream, tmp_path, monkeypatch):
    dataset, packed = module(root, latents=latents).datasets["train"], []
    real = pack_chunk

    def stop_later(clips):
        if len(packed) == 1:
            raise KeyboardInterrupt
        packed.append(len(clips))
        return real(clips)

    monkeypatch.setattr("tsd.prepare.shards.pack_chunk", stop_later)
    with pytest.raises(KeyboardInterrupt):
        write_shards(dataset, tmp_path, "train", mel=True, chunk_frames=60)
    assert len(list((tmp_path / "train").iterdir())) == 1
    with pytest.raises(FileNotFoundError, match="no shards of the train split"):
        Shards(str(tmp_path), "train", tmp_path / "cache")
    monkeypatch.setattr("tsd.prepare.shards.pack_chunk", lambda clips: packed.append(len(clips)) or real(clips))
    assert not write_shards(dataset, tmp_path, "train", mel=True, chunk_frames=60, shard="1/2")
    assert not (tmp_path / "train" / CARD).exists(), "other machines are not done"
    assert write_shards(dataset, tmp_path, "train", mel=True, chunk_frames=60, shard="0/2") and packed == [2, 2, 2]
    names = sorted(path.name for path in (stream / "train").iterdir())
    assert sorted(path.name for path in (tmp_path / "train").iterdir()) == names and len(names) == 6
    assert all((tmp_path / "train" / n).read_bytes() == (stream / "train" / n).read_bytes() for n in names)
    assert write_shards(dataset, tmp_path, "train", mel=True, chunk_frames=60) and len(packed) == 3


def test_chunks_of_another_vae_go_before_new_ones_come(root, latents, copy, tmp_path):
    for split, dataset in module(root, flip=True).datasets.items():
        cache_latents(lambda x: 2 * fake_encode(x), dataset, tmp_path / "l", split, "vae2", flip=split == "train")
    dataset = module(root, latents=str(tmp_path / "l")).datasets["train"]
    assert not write_shards(dataset, copy, "train", chunk_frames=60, shard="1/3")
    assert len(list((copy / "train").iterdir())) == 1
    assert write_shards(dataset, copy, "train", chunk_frames=60) and read_card(str(copy), "train").vae == "vae2"
    assert len(list((copy / "train").iterdir())) == 6


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"vae_hash": "vae2"}, "vae vae1 instead of vae2"),
        ({"resolution": 64}, "resolution 32 instead of 64"),
        ({"people": "even"}, "leave out data.people=even"),
    ],
)
def test_streams_of_something_else_are_refused(stream, tmp_path, changes, words):
    with pytest.raises(ValueError, match=words):
        streamed(stream, tmp_path, **changes)


def test_streams_without_the_latents_wanted_are_refused(root, tmp_path):
    write_shards(module(root).datasets["train"], tmp_path / "a", "train")
    with pytest.raises(ValueError, match="the stream has no latents"):
        streamed(tmp_path / "a", tmp_path)
    for split, dataset in module(root, flip=False).datasets.items():
        cache_latents(fake_encode, dataset, tmp_path / "l", split, "vae1")
    for split, dataset in module(root, latents=str(tmp_path / "l"), flip=False).datasets.items():
        write_shards(dataset, tmp_path / "b", split)
    with pytest.raises(ValueError, match="no latents of mirrored frames"):
        streamed(tmp_path / "b", tmp_path)
    assert streamed(tmp_path / "b", tmp_path, flip=False).datasets["train"].latents is not None


class Evil:
    """Touches a file when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


def poison(stream: Path, path: Path, config: dict) -> None:
    """A chunk full of pickles that create ``path``, under an index that says so."""
    (chunk,) = sorted((stream / "train").glob("*.bin"))[:1]
    item = pickle.dumps(Evil(path))
    chunk.write_bytes(pack_chunk([item, item]))
    index = json.loads((stream / "train" / INDEX).read_text())
    index["chunks"][0]["chunk_bytes"] = chunk.stat().st_size
    (stream / "train" / INDEX).write_text(json.dumps(index | {"config": LAYOUT | config}))


@pytest.mark.parametrize("prefix", ["", "local:"])
def test_shards_of_a_stranger_run_no_code(copy, tmp_path, prefix, monkeypatch):
    from litdata import StreamingDataset

    path, name = tmp_path / "touched", f"imported_by_name_{len(prefix)}"
    module_file = tmp_path / f"{name}.py"
    module_file.write_text(f"from pathlib import Path\nPath({str(tmp_path / 'ran')!r}).touch()\nfactory = dict\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    names = {"default_factory_module": name, "default_factory_name": "factory", "dict_context": []}
    spec = [1, {"type": "collections.defaultdict", "context": names, "children_spec": []}]
    for layout in ({"data_format": ["pickle"]}, {"data_spec": json.dumps(spec)}, {"compression": "zstd"}):
        poison(copy, path, layout)
        with pytest.raises(ValueError, match="is not the index of these shards"):
            streamed(f"{prefix}{copy}", tmp_path)
    poison(copy, path, {})
    data = streamed(f"{prefix}{copy}", tmp_path)
    with pytest.raises(ValueError, match="clip 0: cannot be read"):
        data.datasets["train"].record(0)
    assert not path.exists() and not (tmp_path / "ran").exists()
    poison(copy, path, {"data_format": ["pickle"]})  # the same by litdata's own way: the test can fail
    StreamingDataset(str(copy / "train"))[0]
    assert path.exists()
    poison(copy, path, {"data_spec": json.dumps(spec)})
    StreamingDataset(str(copy / "train"))[0]
    assert (tmp_path / "ran").exists()


def test_names_in_an_index_lead_nowhere(copy, tmp_path):
    index = json.loads((copy / "train" / INDEX).read_text())
    index["chunks"][0]["filename"] = "../../outside.bin"
    (copy / "train" / INDEX).write_text(json.dumps(index))
    with pytest.raises(ValueError, match="is not the index of these shards"):
        streamed(f"local:{copy}", tmp_path)


def changed(copy: Path, **values) -> None:
    """The first clip of the training split with other arrays."""
    chunk = sorted((copy / "train").glob("*.bin"))[0]
    first, second = (Shards(str(copy), "train", copy).read(clip) for clip in range(2))
    first = {name: value for name, value in (first | values).items() if value is not None}
    chunk.write_bytes(pack_chunk([save(first), save(second)]))


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"latents": np.zeros((30, 4, 8, 9), np.float16)}, "latents: not as the card says"),
        ({"flipped": None}, "flipped: not as the card says"),
        ({"labels": np.zeros((29, 15), np.float32)}, "labels: not as the card says"),
        ({"key": np.frombuffer(b"../../x.mp4", np.uint8)}, "key: not as the card says"),
        ({"more": np.zeros(3)}, "more: not as the card says"),
    ],
)
def test_clips_that_do_not_fit_are_named(copy, tmp_path, values, words):
    changed(copy, **values)
    with pytest.raises(ValueError, match=f"clip 0: {words}"):
        streamed(copy, tmp_path).datasets["train"].record(0)


def test_damaged_files_are_named(copy, tmp_path):
    chunk = sorted((copy / "train").glob("*.bin"))[0]
    whole = chunk.read_bytes()
    for prefix in ("", "local:"):
        data = streamed(f"{prefix}{copy}", tmp_path / (prefix or "folder"))
        for damaged in (whole[:5000], b"", whole[:8] + b"\xff" * 8 + whole[16:]):
            chunk.write_bytes(damaged)
            with pytest.raises(ValueError, match="clip [01]: cannot be read"):
                data.datasets["train"].shards.read(0), data.datasets["train"].shards.read(1)
    for name, content, words in (
        (TABLE, save({"frames": np.zeros(3, np.int32)}), "is not the table"),
        (CARD, b"[" * 100_000, "not a card of shards"),
        (CARD, b'{"split": "train"}', "not a card of shards"),
        (CARD, (copy / "train" / CARD).read_bytes().replace(b'"format": 1', b'"format": 2'), "format 1"),
        (INDEX, b"{}", "not an index"),
    ):
        before = (copy / "train" / name).read_bytes()
        (copy / "train" / name).write_bytes(content)
        with pytest.raises(ValueError, match=words):
            Shards(str(copy), "train", tmp_path / "cache")
        (copy / "train" / name).write_bytes(before)


def test_a_missing_package_says_what_to_do(stream, tmp_path, monkeypatch):
    def missing(name):
        raise ImportError(f"No module named {name!r}")

    monkeypatch.setattr(shards_module, "import_module", missing)
    for prefix in ("", "s3://"):
        with pytest.raises(ValueError, match=r"data\.stream needs litdata: pip install .*No module named 'litdata"):
            streamed(f"{prefix}{stream}", tmp_path)


def test_litdata_reads_them_by_itself(stream):
    from litdata import StreamingDataset

    dataset = StreamingDataset(str(stream / "train"))
    table = load((stream / "train" / TABLE).read_bytes())
    assert len(dataset) == len(table["frames"]) == 6
    assert sorted(load(bytes(dataset[3]))) == sorted(Shards(str(stream), "train", "unused").read(3))


@pytest.fixture(scope="module")
def ground_streamed(tmp_path_factory):
    """A corpus and weights to train on, and the corpus as shards by the command."""
    root = ground(tmp_path_factory.mktemp("ground"))
    vae = f"vae={root / 'vae' / 'weights.safetensors'}"
    argv = ["root=" + str(root / "corpus"), f"stream={root / 'shards'}", vae, f"latents={root / 'latents'}"]
    stream_command(composed("prepare", [*argv, "stream_frames=60"], []))
    return root


def training(root: Path, out: Path, *extra: str):
    stream = [f"data.stream=local:{root / 'shards'}", f"data.stream_cache={out}-cache", "data.root=nowhere"]
    return config(root, out, "stage=teacher", *stream, *extra)


def test_a_training_on_a_stream_goes_on_bit_for_bit(ground_streamed, tmp_path):
    short = [f"trainer.max_steps={STEPS // 2}"]
    train(training(ground_streamed, tmp_path / "whole", *short))
    assert 0 < killed(training(ground_streamed, tmp_path / "cut", *short), signal.SIGKILL, at_step=3) < STEPS // 2
    process = begun(train, training(ground_streamed, tmp_path / "cut", *short, "data.num_workers=2"))
    process.join()
    assert process.exitcode == 0
    assert_identical(tmp_path / "cut", tmp_path / "whole")
    assert not list((ground_streamed / "latents").glob("*/train-*/*.part"))


def test_a_training_refuses_a_stream_of_another_vae(ground_streamed, tmp_path):
    other = tmp_path / "vae.safetensors"
    net = checkpoint.load(ground_streamed / "vae" / "weights.safetensors", "vae")
    arguments = checkpoint.read_header(ground_streamed / "vae" / "weights.safetensors")["arguments"]
    checkpoint.save(other, "vae", net, arguments, {"another": 1})
    with pytest.raises(ValueError, match="latents were made from vae .* instead of .*; write it again with"):
        train(training(ground_streamed, tmp_path / "out", f"weights.vae={other}"))
