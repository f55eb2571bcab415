"""Graphs without weights: filled they are what they were, found beside weights or in the cache, and never trusted."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from fake_talkers import files
from onnx import TensorProto, helper, numpy_helper
from onnxruntime import InferenceSession

from tsd.runtime import graph_files, graph_making, loading
from tsd.runtime.card import NAME
from tsd.weights.onnx import without_weights

REPO = Path(__file__).parents[1]


def layer(size: int = 40) -> tuple[bytes, dict[str, np.ndarray]]:
    """A dense layer as a model, with the arrays of its weights file, and one constant that is in none."""
    rng = np.random.default_rng(0)
    arrays = {"dense.weight": rng.normal(size=(size, 3)).astype(np.float32), "dense.bias": np.ones(3, np.float32)}
    constants = [numpy_helper.from_array(value, f"net.{name}") for name, value in arrays.items()]
    constants.append(numpy_helper.from_array(np.float32([2]), "val_0"))
    nodes = [
        helper.make_node("Gemm", ["x", "net.dense.weight", "net.dense.bias"], ["y"]),
        helper.make_node("Mul", ["y", "val_0"], ["z"]),
    ]
    ports = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", None]) for name in "xz"]
    graph = helper.make_graph(nodes, "layer", ports[:1], ports[1:], constants)
    return helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8
    ).SerializeToString(), arrays


def computed(model: bytes, x: np.ndarray) -> np.ndarray:
    return InferenceSession(model, providers=["CPUExecutionProvider"]).run(None, {"x": x})[0]


def test_weights_taken_out_and_put_back_give_the_same_graph():
    model, arrays = layer()
    bare, taken = without_weights(model, arrays)
    assert taken == {"net.dense.weight": "dense.weight", "net.dense.bias": "dense.bias"}
    assert len(bare) < len(model) - arrays["dense.weight"].nbytes
    filled = graph_files.with_weights(bare, {constant: arrays[name] for constant, name in taken.items()})
    x = np.random.default_rng(1).normal(size=(5, 40)).astype(np.float32)
    assert np.array_equal(computed(filled, x), computed(model, x))
    back = {c.name: numpy_helper.to_array(c) for c in onnx.load_from_string(filled).graph.initializer}
    assert set(back) == {"net.dense.weight", "net.dense.bias", "val_0"}
    assert np.array_equal(back["net.dense.weight"], arrays["dense.weight"])


def test_a_constant_that_only_resembles_a_weight_stays():
    model, arrays = layer()
    arrays["dense.weight"] = arrays["dense.weight"] + np.float32(1e-3)
    assert without_weights(model, arrays)[1] == {"net.dense.bias": "dense.bias"}


@pytest.fixture
def weights(tmp_path, monkeypatch):
    """Weights files of small nets, a cache of their own, and an exporter that costs nothing."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(graph_making, "to_onnx", lambda graph: layer()[0])
    (tmp_path / "weights").mkdir()
    return files(tmp_path / "weights")


def test_what_is_made_is_found_and_lies_in_a_folder_of_its_own(weights, tmp_path):
    assert graph_files.find(weights) is None
    made = graph_making.make(weights)
    assert graph_files.find(weights).folder == made.folder and tmp_path / "cache" in made.folder.parents
    assert made.folder.parent.stat().st_mode & 0o077 == 0, "nobody else may write there"
    assert not [path for path in made.folder.iterdir() if path.suffix not in (".onnx", ".json")]


@pytest.mark.parametrize("name", ["step.onnx", NAME])
@pytest.mark.parametrize("content", [b"", b"{}", None])
def test_a_broken_cache_is_not_used_and_made_again(weights, name, content):
    file = graph_making.make(weights).folder / name
    if content is None:
        file.unlink()
    else:
        file.write_bytes(content)
    assert graph_files.find(weights) is None
    assert graph_making.make(weights).folder == file.parent and graph_files.find(weights) is not None


def test_other_weights_and_other_makers_have_other_graphs(weights, tmp_path, monkeypatch):
    folder = graph_making.make(weights).folder
    monkeypatch.setattr(graph_files, "versions", lambda: {"torch": "another"})
    assert graph_files.cached(weights) != folder and graph_files.find(weights) is None
    monkeypatch.undo()
    (tmp_path / "others").mkdir()
    others = files(tmp_path / "others", student={"channels": [8, 8]})
    assert graph_files.cached(others) != folder
    with pytest.raises(ValueError, match="made of another student"):
        graph_files.opened(folder, others)


def test_graphs_beside_the_weights_come_first_and_only_where_they_are_of_these(weights, tmp_path):
    beside = tmp_path / "weights" / graph_files.FOLDER
    beside.mkdir()
    graph_making.write(beside, weights)
    assert graph_files.find(weights).folder == beside
    assert graph_files.find({"vae": weights["vae"]}).folder == beside, "enough to decode latents"
    assert graph_files.find({"vae": weights["vae"], "teacher": weights["teacher"]}) is None
    files(tmp_path / "weights", student={"channels": [8, 8]})
    assert graph_files.find(weights) is None


@pytest.mark.parametrize("folder", sorted((REPO / "weights").glob("*/graphs")), ids=lambda folder: folder.parent.name)
def test_released_graphs_are_of_the_released_weights(folder):
    """Whoever publishes weights makes their graphs, too: `python -m tsd.commands.graphs folder=weights/<name>`."""
    weights = loading.weights_in(folder.parent)
    assert graph_files.find(weights).folder == folder
    assert set(graph_files.opened(folder, weights).content["filled"]) >= {"encoder", "step", "decoder"}


def test_who_computes_weights(weights, monkeypatch):
    """PyTorch without graphs; graphs where they are there or asked for; else one sentence that says what helps."""
    assert loading.graphs_for(weights, "auto") is None and loading.graphs_for(weights, "torch") is None
    with pytest.raises(ValueError, match="graphs need weights of student, visemes, too"):
        loading.graphs_for({"vae": weights["vae"]}, "onnxruntime")
    with monkeypatch.context() as without:
        without.setattr(loading, "find_spec", lambda name: None if name in graph_files.MAKERS else name)
        with pytest.raises(ValueError, match="no graphs of these weights .* PyTorch.* is not installed"):
            loading.graphs_for(weights, "auto")
        with pytest.raises(ValueError, match="have to be made first, which takes torch, onnx, onnxscript"):
            loading.graphs_for(weights, "onnxruntime")
    made = loading.graphs_for(weights, "onnxruntime")
    assert loading.graphs_for(weights, "auto").folder == made.folder and loading.graphs_for(weights, "torch") is None
    with pytest.raises(ValueError, match="memory=little: must be one of usual, least"):
        loading.load(weights, memory="little")
