"""Two processes train as one would: the same numbers, and one file of each kind at the end."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from lightning.fabric.utilities.rank_zero import rank_zero_only
from safetensors.torch import load_file
from tiny_runs import arguments, begun, config, ground

from tsd import devices, losses
from tsd.commands.train import run as train
from tsd.training.loggers import read_rows
from tsd.training.optimizers import Muon

ROOT = Path(__file__).parents[1]
TWO = ["trainer.devices=2", "trainer.strategy=ddp", "data.batch_size=2"]
RATIOS = {"val/flicker_std_ratio", "val/flicker_mean_std_ratio"}
"""An untrained net hardly moves, and what is divided by that says little."""


def on_two(act, *args) -> None:
    """``act(rank, *args)`` in each of two processes that know of each other."""
    processes = [begun(joined, rank, act, args) for rank in range(2)]
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0, 0]


def joined(rank: int, act, args: tuple) -> None:
    file, *rest = args
    torch.distributed.init_process_group("gloo", f"file://{file}", rank=rank, world_size=2)
    act(rank, file, *rest)
    torch.distributed.destroy_process_group()


def draw_and_average(rank: int, file: Path) -> None:
    torch.manual_seed(0)
    drawn = {"uniform": devices.rand(2, 3), "normal": devices.randn(2, 5), "after": torch.rand(1)}
    generator = torch.Generator().manual_seed(1)
    drawn["own"] = devices.randn(2, generator=generator)
    error, region = torch.arange(8.0).view(2, 4)[rank], torch.tensor([[1.0, 0, 1, 1], [0, 0, 0, 1]])[rank]
    drawn["term"] = losses.mean_where(error, region)
    torch.save(drawn, f"{file}.{rank}")


def test_rows_are_dealt_out_and_means_are_of_all_rows(tmp_path):
    on_two(draw_and_average, tmp_path / "meeting")
    first, second = (torch.load(tmp_path / f"meeting.{rank}") for rank in range(2))
    torch.manual_seed(0)
    whole = {"uniform": torch.rand(4, 3), "normal": torch.randn(4, 5)}
    for name, rows in whole.items():
        assert torch.equal(torch.stack([first[name], second[name]], 1).flatten(0, 1), rows)
    assert torch.equal(first["after"], second["after"]), "the states stay equal"
    assert torch.equal(first["own"], torch.randn(2, generator=torch.Generator().manual_seed(1)))
    # Four values count: 0, 2, 3 on the first and 7 on the second. DDP takes the mean of what devices have.
    assert ((first["term"] + second["term"]) / 2).item() == pytest.approx((0 + 2 + 3 + 7) / 4)


def turned(rows: slice, wrap=lambda net: net) -> dict[str, torch.Tensor]:
    """Weights of a small net after three steps of Muon, of whose batches of four only ``rows`` are seen here.

    In float64, or Muon would make as much of what sums of gradients are rounded to as of what they are."""
    torch.manual_seed(0)
    layers = torch.nn.Conv2d(3, 16, 3), torch.nn.Flatten(), torch.nn.Linear(16 * 36, 24), torch.nn.Linear(24, 16)
    net = wrap(torch.nn.Sequential(*layers).double())
    optimizer = Muon(net.parameters(), lr=0.01)
    for pictures in torch.randn(3, 4, 3, 8, 8).double():
        optimizer.zero_grad()
        (net(pictures[rows]) - 1).square().mean().backward()
        optimizer.step()
    return {name.removeprefix("module."): value.clone() for name, value in net.state_dict().items()}


def turn_on_two(rank: int, file: Path) -> None:
    torch.save(turned(slice(rank, None, 2), torch.nn.parallel.DistributedDataParallel), f"{file}.{rank}")


def test_two_processes_turn_matrices_as_one_does(tmp_path):
    on_two(turn_on_two, tmp_path / "meeting")
    first, second = (torch.load(tmp_path / f"meeting.{rank}") for rank in range(2))
    one, half = turned(slice(None)), turned(slice(0, None, 2))
    for name, weights in one.items():
        assert torch.equal(first[name], second[name]), name
        assert torch.allclose(first[name], weights, atol=1e-6), name
        assert name.endswith("bias") or not torch.allclose(half[name], weights, atol=1e-3), name


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return ground(tmp_path_factory.mktemp("ground"))


def as_rank(rank: int, port: int, cfg) -> None:
    """A training as one of two processes that somebody else has started, as on a cluster."""
    place = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "WORLD_SIZE": 2, "NODE_RANK": 0, "LOCAL_RANK": rank}
    os.environ.update({name: str(value) for name, value in place.items()})
    rank_zero_only.rank = rank  # Lightning reads it when it is imported, which it was before
    train(cfg)


def free_port() -> int:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        return server.getsockname()[1]


# AdamW: Muon makes as much of what sums of gradients are rounded to as of what they are.
SHORT = ["optimizer=adamw", "trainer.max_steps=6", "trainer.val_check_interval=3"]


def assert_alike(one: Path, two: Path) -> None:
    """Two trainings with the same losses in every row, and the same weights."""
    rows, others = (read_rows(out / "logs" / "metrics.csv") for out in (one, two))
    assert len(rows) == len(others) > 4
    for row, other in zip(rows, others, strict=True):
        assert row.keys() == other.keys()
        for name in row.keys() - RATIOS:
            assert float(other[name]) == pytest.approx(float(row[name]), rel=1e-5, abs=1e-5), name
    weights, same = (load_file(out / "weights.safetensors") for out in (one, two))
    assert all(torch.allclose(weights[name], same[name], atol=1e-4) for name in weights)


def test_two_processes_give_the_losses_of_one(root, tmp_path):
    said, port = ["stage=student", *SHORT], free_port()
    two = [begun(as_rank, rank, port, config(root, tmp_path / "two", *said, *TWO)) for rank in range(2)]
    one = begun(train, config(root, tmp_path / "one", *said, "data.batch_size=4"))
    for process in (*two, one):
        process.join()
        assert process.exitcode == 0
    assert_alike(tmp_path / "one", tmp_path / "two")


@pytest.mark.slow
@pytest.mark.parametrize("stage", ["vae", "student"])
def test_a_command_that_starts_its_second_process_gives_the_losses_of_one(root, tmp_path, stage):
    process = begun(train, config(root, tmp_path / "one", f"stage={stage}", *SHORT, "data.batch_size=4"))
    given = arguments(root, tmp_path / "two", f"stage={stage}", *SHORT, *TWO)
    command = [sys.executable, "-m", "tsd.commands.train", *given]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    two = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=180)
    process.join()
    assert two.returncode == 0, two.stdout + two.stderr
    assert_alike(tmp_path / "one", tmp_path / "two")
