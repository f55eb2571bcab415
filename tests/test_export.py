"""Exported graphs are the nets they came from, on every backend that is installed; a changed file is refused."""

import json
import subprocess
import sys
import time

import numpy as np
import pytest
import torch
from fake_talkers import DENOISER, files, pieces, portrait, wave
from fakes import CONF, LATENT_SIDE, SIDE, fake_clip
from hydra import compose, initialize_config_dir

from tsd.bench.counting import made_up_speaker
from tsd.commands import export
from tsd.diffusion import Schedule
from tsd.evaluation.clips import Chain, Subject
from tsd.export.calibration import Recording, calibration_inputs
from tsd.export.int8 import quantise
from tsd.export.parity import largest_difference
from tsd.runtime import graph_making
from tsd.runtime.backends import available, open_graph
from tsd.runtime.card import NAME, Card
from tsd.runtime.loading import choose, good_in_int8
from tsd.runtime.talker import Talker
from tsd.weights.graphs import graphs_of, step

pytestmark = pytest.mark.untraced

GRAPHS = ("recogniser", "encoder", "reference", "frames", "step", "decoder")
EXACT = [name for name in available() if "-" not in name and name != "torch"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """An export of small nets without int8, which takes a corpus."""
    root = tmp_path_factory.mktemp("export")
    (root / "weights").mkdir()
    paths = files(root / "weights", student=DENOISER | {"causal": True, "channels": [8], "mean_reaches": [1, 3]})
    overrides = [f"weights.{stage}={paths[stage]}" for stage in ("vae", "student", "visemes")]
    with initialize_config_dir(str(CONF), version_base="1.3"):
        cfg = compose("export", [*overrides, "weights.motion=null", "int8=false", f"out={root / 'out'}"])
    return export.run(cfg)


@pytest.fixture
def copied(folder, tmp_path):
    """One that may be spoilt."""
    for path in folder.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    return tmp_path


def nets(folder) -> Talker:
    return Talker.load(folder, "torch")


def test_every_backend_that_the_extra_installs_is_here():
    assert EXACT == ["onnxruntime", "openvino"]


@pytest.mark.parametrize("backend", EXACT)
def test_graphs_are_the_nets_for_one_stream_and_for_several(folder, backend):
    talker = nets(folder)
    graphs = graphs_of(talker.vae, talker.student, talker.recogniser)
    assert tuple(graphs) == GRAPHS
    for name, graph in graphs.items():
        assert largest_difference(graph, (folder / f"{name}.onnx").read_bytes(), backend) < 1e-5, name


@pytest.mark.parametrize("backend", EXACT)
@pytest.mark.parametrize("chunk", [1, 3, 8])
def test_a_talker_speaks_the_same_on_every_backend(folder, backend, chunk):
    sound, made = wave(11_111), {}
    for name in ("torch", backend):
        talker = Talker.load(folder, name, threads=1)
        talker.reference = talker.speaker(portrait(), None)
        made[name] = np.concatenate(list(talker.stream(pieces(sound, 1000), "k2", chunk, mode="e2")))
        frames = np.concatenate(list(talker.stream([sound], "k2", chunk)))
        assert frames.shape == (18, SIDE, SIDE, 3) and talker.backends["student"] == name
    assert made["torch"].shape == (18, 4, LATENT_SIDE, LATENT_SIDE)
    assert np.abs(made["torch"] - made[backend]).max() < 1e-4


@pytest.mark.parametrize("count", [1, 2, 7, 8, 9])
def test_the_decoder_fills_blocks_up_and_cuts_them_again(folder, count):
    ours, theirs = nets(folder), Talker.load(folder, "onnxruntime")
    z, appearance = torch.randn(count, 4, LATENT_SIDE, LATENT_SIDE), made_up_speaker(ours).appearance
    with torch.inference_mode():
        assert (ours.vae.decode(z, appearance) - theirs.vae.decode(z, appearance)).abs().max() < 1e-4


@pytest.mark.parametrize("backend", EXACT)
@pytest.mark.parametrize("count", [1, 3, 9])
def test_the_decoder_takes_a_picture_for_each_frame(folder, backend, count):
    """As dubbing needs it."""
    ours, theirs = nets(folder), Talker.load(folder, backend, threads=1)
    z, pictures = torch.randn(count, 4, LATENT_SIDE, LATENT_SIDE), torch.rand(count, 3, SIDE, SIDE) * 2 - 1
    with torch.inference_mode():
        seen = ours.vae.appearance(pictures)
        assert (ours.vae.decode(z, seen) - theirs.vae.decode(z, seen)).abs().max() < 1e-4


def test_the_card_says_what_an_application_needs(folder):
    card = json.loads((folder / NAME).read_text())
    assert card["resolution"] == SIDE and card["latents"]["size"] == LATENT_SIDE
    assert len(card["latents"]["mean"]) == len(card["latents"]["std"]) == 4
    assert card["schedules"] == {"k2": [80.0, 1.0]} and len(card["visemes"]) == 15
    assert card["graphs"]["step"]["inputs"]["z_s"] == ["batch", "frames", 4, LATENT_SIDE, LATENT_SIDE]
    assert set(card["files"]) == {f"{g}.onnx" for g in GRAPHS} | {
        f"{s}.safetensors" for s in ("vae", "student", "visemes")
    }
    assert max(value for found in card["differences"].values() for value in found.values()) < 1e-4


def test_auto_takes_what_is_installed_and_says_so(folder, monkeypatch):
    assert Talker.load(folder).backends == Talker.load(folder / NAME, "auto").backends
    monkeypatch.setattr("tsd.runtime.loading.available", lambda: ["torch"])
    assert set(Talker.load(folder).backends.values()) == {"torch"}


JUDGED = {"torch": {"psnr_db": 31.0, "mouth_r": 0.95}, "onnxruntime-int8": {"psnr_db": 30.9, "mouth_r": 0.95}}


@pytest.mark.parametrize(
    "judged, pays, small",
    [
        (JUDGED, True, True),
        (JUDGED, False, False),
        (JUDGED | {"openvino-int8": {"psnr_db": 30.5, "mouth_r": 0.95}}, True, False),
        (JUDGED | {"openvino-int8": {"psnr_db": 31.0, "mouth_r": 0.93}}, True, False),
        ({name: row | {"mouth_r": None} for name, row in JUDGED.items()}, True, True),
        ({"torch": JUDGED["torch"]}, True, False),
        ({}, True, False),
        ([1], True, False),
        ({"torch": 5, "openvino-int8": {}}, True, False),
    ],
)
def test_auto_takes_int8_where_it_pays_and_was_judged_to_be_as_good(folder, monkeypatch, judged, pays, small):
    monkeypatch.setattr("tsd.runtime.loading.has_int8", lambda: pays)
    monkeypatch.setattr("tsd.runtime.backends.has_bf16", lambda: True)
    card = Card.read(folder)
    card.content["quality"] = {"backends": judged}
    chosen = choose("auto", good_in_int8(card))
    assert chosen["student"] == ("onnxruntime-int8" if small else "onnxruntime")
    assert chosen["vae"] == "openvino-bf16" and chosen["visemes"] == "onnxruntime"  # lips depend on what is heard
    monkeypatch.setattr("tsd.runtime.backends.has_bf16", lambda: False)
    assert choose("auto", good_in_int8(card))["vae"] == ("openvino-int8" if small else "openvino")


def test_backends_by_stage(folder):
    talker = Talker.load(folder, {"student": "onnxruntime", "vae": "torch", "visemes": "openvino"})
    assert talker.backends == {"vae": "torch", "student": "onnxruntime", "visemes": "openvino"}
    with pytest.raises(ValueError, match="decoder is no stage; stages are vae, student, visemes"):
        Talker.load(folder, {"decoder": "torch"})


@pytest.mark.parametrize("backend", EXACT)
def test_between_calls_no_graph_keeps_a_processor(folder, backend):
    """Graphs of a chain are called in turn: threads of one that go on spinning take the processors from the next."""
    vae = Talker.load(folder, backend, threads=2).vae
    spent = []
    for _ in range(10):
        vae.encode(torch.zeros(1, 3, vae.resolution, vae.resolution))
        begun = time.process_time()
        time.sleep(0.02)
        spent.append(time.process_time() - begun)
    assert sorted(spent)[5] < 0.005, spent


def test_signals_are_handled_after_graphs_ended_in_any_order(folder):
    code = f"""
import faulthandler, gc, signal, subprocess
import numpy as np
from tsd.runtime.backends import open_graph
faulthandler.enable()
signal.signal(signal.SIGCHLD, lambda *_: None)
model = open({str(folder / "encoder.onnx")!r}, "rb").read()
graphs = [open_graph("openvino", model, 1) for _ in range(2)]
for graph in graphs:
    graph(np.zeros((1, 3, {SIDE}, {SIDE}), np.float32))
while graphs:
    graph = graphs.pop(0)
    del graph
    gc.collect()
subprocess.run(["true"], check=True)
print("alive")
"""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (run.returncode, run.stdout) == (0, "alive\n"), run.stderr


@pytest.mark.parametrize("backend", ["tensorrt", "torch-int8", "onnxruntime-bf16", ""])
def test_a_backend_that_is_none(folder, backend):
    with pytest.raises(ValueError, match=f"backend={backend}: no such backend; here are torch"):
        Talker.load(folder, backend)


def test_weights_speak_by_graphs_that_are_made_once(folder, tmp_path, monkeypatch):
    """What PyTorch makes of weights, their graphs make within the tolerance; then `auto` takes these."""
    paths = {stage: folder / f"{stage}.safetensors" for stage in ("vae", "student", "visemes")}
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    exported = iter([(folder / f"{name}.onnx").read_bytes() for name in GRAPHS])
    monkeypatch.setattr(graph_making, "to_onnx", lambda _: next(exported))
    assert set(Talker.load(paths).backends.values()) == {"torch"}
    sound, made, digests = wave(9000), {}, set()
    for name in ("torch", "onnxruntime"):
        talker = Talker.load(paths, name, threads=1)
        talker.marked, talker.reference = False, talker.speaker(portrait(), None)
        made[name] = talker.video(sound, mode="e2")
        digests.add(talker.weights)
        assert set(talker.backends.values()) == {name}
    assert np.abs(made["torch"] - made["onnxruntime"]).max() < 1e-4 and len(digests) == 1
    assert "torch" not in Talker.load(paths).backends.values()
    by_least = Talker.load(paths, "onnxruntime", threads=1, memory="least")
    by_least.marked, by_least.reference = False, by_least.speaker(portrait(), None)
    assert np.abs(by_least.video(sound, mode="e2") - made["onnxruntime"]).max() < 1e-5


def test_an_export_speaks_without_pytorch(folder, tmp_path):
    """Neither installed, as far as the process can tell, nor needed; the frames are those of a process that has it."""
    sound = wave(9000)
    np.savez(tmp_path / "given.npz", sound=sound, portrait=portrait())
    code = f"""
import sys
sys.modules["torch"] = None
import numpy as np
from tsd.runtime.talker import Talker
import tsd.commands.sample
given = np.load({str(tmp_path / "given.npz")!r})
talker = Talker.load({str(folder)!r}, "onnxruntime", threads=2)
talker.marked, talker.reference = False, talker.speaker(given["portrait"], None)
np.save({str(tmp_path / "made.npy")!r}, talker.video(given["sound"]))
"""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    talker = Talker.load(folder, "onnxruntime", threads=1)
    talker.marked, talker.reference = False, talker.speaker(portrait(), None)
    made = np.load(tmp_path / "made.npy").astype(int)
    assert made.shape == (15, SIDE, SIDE, 3) and np.abs(made - talker.video(sound)).max() <= 1


def test_xnnpack_is_named_where_it_is_missing(folder):
    if "onnxruntime-xnnpack" in available():
        assert Talker.load(folder, "onnxruntime-xnnpack").backends["student"] == "onnxruntime-xnnpack"
    else:
        with pytest.raises(ValueError, match="built without XNNPACK; take backend=onnxruntime"):
            Talker.load(folder, "onnxruntime-xnnpack")


def test_a_folder_of_weights(folder, tmp_path):
    for stage in ("vae", "student", "visemes"):
        (tmp_path / stage).mkdir()
        (tmp_path / stage / "weights.safetensors").write_bytes((folder / f"{stage}.safetensors").read_bytes())
    assert Talker.load(tmp_path).recogniser is not None
    (tmp_path / "vae" / "weights.safetensors").unlink()
    with pytest.raises(FileNotFoundError, match="holds neither card.json nor .*vae.safetensors"):
        Talker.load(tmp_path)
    with pytest.raises(FileNotFoundError, match="no such folder"):
        Talker.load(tmp_path / "none")


def test_a_changed_file_is_refused(copied):
    step_file = copied / "step.onnx"
    step_file.write_bytes(step_file.read_bytes()[:-1] + b"x")
    with pytest.raises(ValueError, match=r"step.onnx is not the file that card.json was written for \(SHA-256"):
        Talker.load(copied, "onnxruntime")
    step_file.unlink()
    with pytest.raises(FileNotFoundError, match="step.onnx: no such file; export or copy the folder again"):
        Talker.load(copied, "onnxruntime")


@pytest.mark.parametrize(
    "change, message",
    [
        ({"format": 0}, "is no card of format 4"),
        ({"latents": 3}, "holds no usable latents"),
        ({"files": {"../step.onnx": "0"}}, r"names ../step.onnx, which is no file of an export"),
        ({"schedules": {"k2": [1, 2]}}, "holds schedules that are none"),
        ({"files": {}}, "holds no encoder.onnx"),
    ],
    ids=lambda value: str(value)[:20],
)
def test_a_card_that_cannot_be_used(copied, change, message):
    path = copied / NAME
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(ValueError, match=message):
        Talker.load(copied, "onnxruntime")
    path.write_text("{")
    with pytest.raises(ValueError, match="not a readable card"):
        Card.read(path)


def test_int8_computes_nearly_the_same_from_a_fraction_of_the_bytes(folder):
    talker = nets(folder)
    graph = graphs_of(talker.vae, talker.student, talker.recogniser)["decoder"]
    model = (folder / "decoder.onnx").read_bytes()
    recording = Recording(open_graph("onnxruntime", model, 1), list(graph.shapes))
    inputs = [x.numpy() for x in graph.example().values()]
    exact = recording(*inputs)[0]
    recording(*inputs), recording(*inputs)
    assert len(recording.inputs) == 3 and set(recording.inputs[0]) == set(graph.shapes)
    small = quantise(model, recording.inputs)
    found = open_graph("onnxruntime-int8", small, 1)(*inputs)[0]
    error = np.abs(found - exact)
    # Weights of 7 bits round to 0.06 of how much this random net varies; sums that overflow are off by 0.28.
    assert 0 < error.max() and error.mean() < 0.09 * np.abs(exact - exact.mean()).mean()


def test_int8_learns_its_ranges_from_every_schedule_and_from_denoising(folder):
    """Where it met the strengths of one schedule alone, it lost 1 dB at Table 1's noise."""
    talker = Talker.load(folder, "onnxruntime")
    subject = Subject.of(Chain(nets(folder)), fake_clip(batch=1, frames=12), None, seed=0)
    talker.schedules["k1"], graphs = Schedule((50.0,)), (talker.student.stepper, talker.vae.decoder)
    shapes = Card.read(folder).content["graphs"]
    names = {name: list(shapes[name]["inputs"]) for name in ("step", "decoder")}
    heard = calibration_inputs(talker, names, [subject], frames=3, strength=1.5, steps="k2")
    strengths = [float(inputs["s"].max()) for inputs in heard["step"]]
    assert sorted(strengths) == [0.75, 1.0, 1.5, 50.0, 80.0] and set(heard["step"][0]) == set(names["step"])
    # Two videos and the decoding of what is noisy and of what is left.
    assert len(heard["decoder"]) == 4 and (talker.student.stepper, talker.vae.decoder) == graphs


def test_only_a_causal_student_is_exported(folder):
    talker = nets(folder)
    talker.student.causal = False
    with pytest.raises(ValueError, match="only a causal student can be exported"):
        graphs_of(talker.vae, talker.student, talker.recogniser)


def test_names_of_a_step_are_those_of_its_inputs(folder):
    names = list(step(nets(folder).student).shapes)
    assert names[:4] == ["z_s", "s", "reference_latent", "reference_keys"] and names[-1].startswith("memory_")


def test_an_export_never_replaces_something_else(folder, tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with initialize_config_dir(str(CONF), version_base="1.3"):
        cfg = compose("export", ["weights.vae=none", "judged_clips=0", f"out={tmp_path}"])
    with pytest.raises(ValueError) as error:
        export.check(cfg)
    assert all(word in str(error.value) for word in ("judged_clips=0", "no vae weights at none", "something else"))
    assert (tmp_path / "notes.txt").read_text() == "mine"
