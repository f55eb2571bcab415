"""The door between stages: what goes in comes out; what is not ours is refused in one sentence."""

import json
import pickle
import struct
from pathlib import Path

import pytest
import torch
from fakes import awake, fake_denoiser, fake_vae
from safetensors.torch import save_file
from torch import nn

from tsd.nets.denoiser import Denoiser
from tsd.nets.identity import IdentityNet
from tsd.nets.lipreader import LipReader
from tsd.nets.motion import MotionBank
from tsd.nets.mouth import MouthNet
from tsd.nets.sync import SyncNet
from tsd.nets.vae import VAE
from tsd.nets.visemes import VisemeNet
from tsd.weights import checkpoint
from tsd.weights.files import STAGES

DENOISER = {"latent_channels": 4, "latent_size": 8, "channels": [8, 16], "blocks": 1, "reference_channels": 8}
DENOISER |= {"emb_channels": 16}
ARGUMENTS = {
    "vae": {"resolution": 32, "latent_channels": 4, "channels": [8, 16], "decoder_blocks": 1},
    "visemes": {"channels": 16, "blocks": 2, "look_ahead": 2},
    "identity": {"dim": 8, "channels": 8},
    "teacher": DENOISER | {"causal": False},
    "student": DENOISER | {"causal": True},
    "mouth": {"channels": 8},
    "sync": {"dim": 8, "channels": 8, "field": 5},
    "sync_loss": {"dim": 8, "channels": 8, "field": 5},
    "lipreader": {"channels": 8},
    "motion": {"num_tracks": 3, "num_frames": 5},
}


def written(folder: Path, stage: str = "vae", **changed) -> Path:
    """A good weights file of a stage, its arguments or header changed afterwards."""
    path = folder / f"{stage}.safetensors"
    net = awake(checkpoint.NETS[stage](**ARGUMENTS[stage]))
    checkpoint.save(path, stage, net, ARGUMENTS[stage], {"steps": 5})
    if changed:
        header = {"stage": stage, "arguments": ARGUMENTS[stage], "card": {}} | changed
        tensors = {name: tensor.contiguous() for name, tensor in net.state_dict().items()}
        save_file(tensors, path, metadata={"tsd": json.dumps(header)})
    return path


def refused(path: Path, stage: str = "vae") -> str:
    """The one clear sentence with which loading is refused."""
    with pytest.raises(ValueError) as error:
        checkpoint.load(path, stage)
    message = str(error.value)
    assert str(path) in message and "\n" not in message and len(message) < 600
    return message


@pytest.mark.parametrize("stage", sorted(checkpoint.NETS))
def test_round_trip(tmp_path, stage):
    net = awake(checkpoint.NETS[stage](**ARGUMENTS[stage]))
    if stage == "motion":
        net.tracks.normal_()
    path = tmp_path / "made" / "on" / "the" / "way" / "weights.safetensors"
    name = checkpoint.save(path, stage, net, ARGUMENTS[stage], {"steps": 5, "schedules": {"k2": [80.0, 1.0]}})
    loaded = checkpoint.load(path, stage)
    assert type(loaded) is type(net) and not loaded.training
    assert {k: v.tolist() for k, v in loaded.state_dict().items()} == {
        k: v.tolist() for k, v in net.state_dict().items()
    }
    header = checkpoint.read_header(path)
    assert header == {
        "stage": stage,
        "arguments": ARGUMENTS[stage],
        "card": {"steps": 5, "schedules": {"k2": [80.0, 1.0]}},
    }
    assert name == checkpoint.file_hash(path) and len(name) == 16
    assert [p.name for p in path.parent.iterdir()] == ["weights.safetensors"]


def test_a_loaded_net_computes_what_the_saved_one_did_and_can_be_trained_on(tmp_path):
    net = fake_vae()
    arguments = {"resolution": 32, "latent_channels": 4, "channels": [8, 16], "decoder_blocks": 1}
    checkpoint.save(tmp_path / "v.safetensors", "vae", net, arguments, {})
    loaded, frames = checkpoint.load(tmp_path / "v.safetensors", "vae"), torch.rand(2, 3, 32, 32)
    assert torch.equal(loaded.encode(frames), net.eval().to(memory_format=checkpoint.MEMORY_FORMAT).encode(frames))
    loaded.encode(frames).sum().backward()
    assert next(loaded.parameters()).grad is not None


def test_loading_leaves_the_random_numbers_alone(tmp_path):
    path = written(tmp_path)
    torch.manual_seed(0)
    expected = torch.rand(1)
    torch.manual_seed(0)
    checkpoint.load(path, "vae")
    assert torch.rand(1) == expected


def test_weights_of_half_precision_are_read_as_the_net_computes(tmp_path):
    net = fake_vae()
    header = json.dumps({"stage": "vae", "arguments": ARGUMENTS["vae"], "card": {}})
    save_file({k: v.half() for k, v in net.state_dict().items()}, tmp_path / "h.safetensors", metadata={"tsd": header})
    assert {t.dtype for t in checkpoint.load(tmp_path / "h.safetensors", "vae").state_dict().values()} == {
        torch.float32
    }


def test_a_failed_save_leaves_the_old_file(tmp_path):
    path = written(tmp_path)
    before = path.read_bytes()

    class Tied(nn.Module):
        def state_dict(self, *args, **kwargs):
            weight = torch.zeros(4)
            return {"one": weight, "another": weight}

    with pytest.raises(RuntimeError, match="share memory"):
        checkpoint.save(path, "vae", Tied(), {}, {})
    assert path.read_bytes() == before and [p.name for p in tmp_path.iterdir()] == [path.name]


@pytest.mark.parametrize(
    ("stage", "command"), [("vae", "make train-vae"), ("motion", "make prepare"), (None, "tsd.commands.train")]
)
def test_missing_weights_name_the_command_that_makes_them(tmp_path, stage, command):
    with pytest.raises(FileNotFoundError, match=command):
        checkpoint.read_header(tmp_path / "none.safetensors", stage)
    with pytest.raises(FileNotFoundError):
        checkpoint.read_header(tmp_path, stage)


def test_weights_of_another_stage(tmp_path):
    path = written(tmp_path, "teacher")
    assert "holds weights of stage 'teacher', but stage 'student' is needed" in refused(path, "student")


@pytest.mark.parametrize("keep", [0, 4, 7, 8, 100, 0.5, -1])
def test_truncated_weights(tmp_path, keep):
    path = written(tmp_path)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(keep * len(whole)) if isinstance(keep, float) else keep])
    assert "not a readable weights file" in refused(path)


def test_weights_with_one_byte_too_many(tmp_path):
    path = written(tmp_path)
    path.write_bytes(path.read_bytes() + b"x")
    assert "not a readable weights file" in refused(path)


class Bomb:
    def __reduce__(self):
        return (Path.touch, (Path(self.path),))


@pytest.mark.parametrize("writer", [torch.save, lambda thing, path: path.write_bytes(pickle.dumps(thing))])
def test_pickles_under_our_name_are_refused_and_never_run(tmp_path, writer):
    bomb, path = Bomb(), tmp_path / "weights.safetensors"
    bomb.path = tmp_path / "it ran"
    writer({"state_dict": bomb}, path)
    assert "not a readable weights file" in refused(path)
    assert not bomb.path.exists()
    pickle.loads(pickle.dumps(bomb))
    assert bomb.path.exists(), "the bomb must be live, or this test could not fail"


def test_training_checkpoints_are_told_apart(tmp_path):
    path = tmp_path / "last.ckpt"
    torch.save({}, path)
    assert "give the weights.safetensors" in refused(path)


def test_weights_of_other_projects(tmp_path):
    path = tmp_path / "foreign.safetensors"
    for metadata in (None, {"format": "pt"}, {"tsd": "null"}, {"tsd": "[]"}, {"tsd": '{"stage": "vae"}'}):
        save_file({"weight": torch.zeros(3)}, path, metadata=metadata)
        assert "carries no card of this project" in refused(path)
    for stage in ("os.system", ["vae"], None):
        save_file({"weight": torch.zeros(3)}, path, metadata={"tsd": json.dumps({"stage": stage, "arguments": {}})})
        assert "carries no card of this project" in refused(path)


@pytest.mark.parametrize("text", ["{", "[" * 100_000, "\\ud800"])
def test_cards_that_are_not_json(tmp_path, text):
    save_file({"weight": torch.zeros(3)}, tmp_path / "x.safetensors", metadata={"tsd": text})
    assert "not a readable weights file" in refused(tmp_path / "x.safetensors")


@pytest.mark.parametrize(
    "changed",
    [
        {"latent_channels": 10**9},
        {"latent_channels": 10**30},
        {"decoder_blocks": 10**9},
        {"channels": [8] * 10**5},
        {"channels": [8, 10**6]},
        {"channels": []},
        {"channels": [[8]]},
        {"channels": "os"},
        {"channels": {"a": 8}},
        {"channels": None},
        {"latent_channels": -1},
        {"latent_channels": 0},
        {"latent_channels": 4.5},
        {"latent_channels": float("nan")},
        {"latent_channels": 8},
        {"decoder_blocks": 2},
        {"resolution": 33},
    ],
    ids=str,
)
def test_arguments_that_do_not_fit_are_refused_before_memory_is_taken(tmp_path, changed):
    path = written(tmp_path, arguments={**ARGUMENTS["vae"], **changed})
    assert "does not fit its own card" in refused(path)


def test_a_huge_recording_of_motion_is_refused(tmp_path):
    path = written(tmp_path, "motion", arguments={"num_tracks": 1000, "num_frames": 1000})
    assert "does not fit its own card" in refused(path, "motion")


def test_huge_shapes_in_the_file_are_refused(tmp_path):
    """A header that promises a tensor of a terabyte over a file of a few bytes."""
    metadata = json.dumps({"stage": "vae", "arguments": ARGUMENTS["vae"], "card": {}})
    shape = {"dtype": "F32", "shape": [2**38], "data_offsets": [0, 2**40]}
    text = json.dumps({"__metadata__": {"tsd": metadata}, "latent_mean": shape}).encode()
    path = tmp_path / "huge.safetensors"
    path.write_bytes(struct.pack("<Q", len(text)) + text + b"\0" * 64)
    assert "not a readable weights file" in refused(path)


def test_arguments_no_net_has(tmp_path):
    path = written(tmp_path, arguments={**ARGUMENTS["vae"], "_target_": 1})
    assert "unknown arguments ['_target_'] of VAE" in refused(path)


def test_missing_and_foreign_tensors_are_named(tmp_path):
    net = fake_vae()
    header = json.dumps({"stage": "vae", "arguments": ARGUMENTS["vae"], "card": {}})
    tensors = dict(net.state_dict())
    del tensors["latent_std"]
    save_file(tensors, tmp_path / "missing.safetensors", metadata={"tsd": header})
    assert "latent_std" in refused(tmp_path / "missing.safetensors")
    save_file({**net.state_dict(), "extra": torch.zeros(1)}, tmp_path / "more.safetensors", metadata={"tsd": header})
    assert "extra" in refused(tmp_path / "more.safetensors")


def test_a_vae_and_a_denoiser_of_other_latents():
    checkpoint.check_latents(fake_vae(), fake_denoiser(), "v", "d")
    for other in (Denoiser(8, 8, [8], 1, 8, 16), Denoiser(4, 16, [8], 1, 8, 16)):
        with pytest.raises(ValueError, match=r"d works on latents of .* but v makes 4 at 8x8: use weights trained on"):
            checkpoint.check_latents(fake_vae(), other, "v", "d")


def test_numbers_can_be_stored_in_half_the_space(tmp_path):
    net, files = fake_vae(), {dtype: tmp_path / str(dtype) for dtype in (torch.float32, torch.float16)}
    for dtype, path in files.items():
        checkpoint.save(path, "vae", net, ARGUMENTS["vae"], {}, dtype)
    exact, rounded = (checkpoint.load(path, "vae").state_dict() for path in files.values())
    assert files[torch.float16].stat().st_size < 0.65 * files[torch.float32].stat().st_size
    for name, value in exact.items():
        assert rounded[name].dtype == torch.float32
        torch.testing.assert_close(rounded[name], value, rtol=1e-3, atol=1e-4)


@pytest.fixture
def two_decoders(tmp_path):
    """A VAE, one that kept its encoder while its decoder was trained, and a student on the first one's latents."""
    paths = {name: tmp_path / name for name in ("first", "second", "student")}
    arguments = ARGUMENTS["vae"] | {"resolution": 64, "decoder_channels": [8, 8, 16]}
    first = checkpoint.save(paths["first"], "vae", fake_vae(), ARGUMENTS["vae"], {})
    net = VAE(**arguments)
    checkpoint.take_latents(net, paths["first"])
    checkpoint.save(paths["second"], "vae", net, arguments, {"latents_of": first})
    checkpoint.save(
        paths["student"], "student", fake_denoiser(), ARGUMENTS["student"], {"stands_on": {"vae": first, "init": 3}}
    )
    return paths


def test_a_decoder_for_larger_pictures_has_the_latents_it_was_made_for(two_decoders):
    small, large = (checkpoint.load(two_decoders[name], "vae") for name in ("first", "second"))
    frames = torch.rand(2, 3, 32, 32)
    larger = frames.repeat_interleave(2, -1).repeat_interleave(2, -2)
    torch.testing.assert_close(large.encode(larger), small.encode(frames))
    assert torch.equal(large.decoder[0].weight, small.decoder[0].weight)  # what fits of the decoder comes, too
    assert checkpoint.latents_of(two_decoders["second"]) == checkpoint.file_hash(two_decoders["first"])
    for name in ("first", "second"):
        checkpoint.check_origin(two_decoders[name], two_decoders["student"])


def test_a_student_on_the_latents_of_another_vae_is_refused(two_decoders, tmp_path):
    other = checkpoint.save(tmp_path / "other", "vae", awake(VAE(**ARGUMENTS["vae"]), seed=4), ARGUMENTS["vae"], {})
    with pytest.raises(ValueError, match=f"student was trained on latents of the VAE .*, but .*other is {other}"):
        checkpoint.check_origin(tmp_path / "other", two_decoders["student"])
    for card in ({}, {"stands_on": None}, {"stands_on": {"teacher": "x"}}):  # of which nothing is known
        checkpoint.save(two_decoders["student"], "student", fake_denoiser(), ARGUMENTS["student"], card)
        checkpoint.check_origin(tmp_path / "other", two_decoders["student"])


def test_an_encoder_of_another_size_is_not_taken(two_decoders):
    with pytest.raises(ValueError, match="init=.*first: has another encoder than model.vae"):
        checkpoint.take_latents(VAE(32, 4, [8, 24]), two_decoders["first"])


def test_every_net_of_the_door_is_covered_here():
    covered = {VAE, VisemeNet, IdentityNet, Denoiser, MouthNet, SyncNet, LipReader, MotionBank}
    assert set(checkpoint.NETS.values()) == covered


def test_stages_are_named_alike_with_and_without_pytorch():
    assert set(STAGES) == set(checkpoint.NETS)
