"""Who may import whom (read from the source, nothing is run)."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
LAYERS = [
    "devices flow media",
    "clip diffusion",
    "data losses metrics nets",
    "modules weights",
    "prepare runtime training",
    "evaluation",
    "bench export",
    "browser",
    "commands",
    "sample experiments hydra_plugins",
]
"""Rooms, from the ground up. A room imports rooms of lower layers only."""
RANK = {room: rank for rank, layer in enumerate(LAYERS) for room in layer.split()}
KNOW_HYDRA = ("commands", "experiments", "hydra_plugins")
KNOW_LIGHTNING = ("modules", "training", "commands")
FILES = sorted(path for top in ("tsd", "experiments", "hydra_plugins") for path in (ROOT / top).rglob("*.py"))


def imports(path: Path) -> set[str]:
    """Absolute names of everything imported anywhere in a file."""
    nodes = list(ast.walk(ast.parse(path.read_text())))
    assert not any(node.level for node in nodes if isinstance(node, ast.ImportFrom)), "relative imports hide their room"
    found = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    return found | {f"{n.module}.{alias.name}" for n in nodes if isinstance(n, ast.ImportFrom) for alias in n.names}


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_who_may_import_whom(path):
    parts = path.relative_to(ROOT).with_suffix("").parts
    me = parts[1] if parts[0] == "tsd" else parts[0]
    for name in imports(path):
        package, room, *rest = f"{name}.".split(".")
        if package in ("hydra", "omegaconf"):
            assert me in KNOW_HYDRA, f"{path} imports {name}: only commands know Hydra"
        if package == "lightning":
            assert me in KNOW_LIGHTNING or parts[1:] == ("data", "datamodule"), f"{path} imports {name}"
        if package == "tsd" and room in RANK and room != me:
            assert RANK[room] < RANK[me], f"{path} imports {name}: lower rooms never import higher ones"
            assert me != "experiments" or room != "commands", f"{path} imports {name}: experiments import no command"
        if package == "tsd" and room == me == "commands" and parts[-1] != "__init__":
            assert rest[0] in ("compose", "errors", parts[-1]), f"{path} imports {name}: commands call each other"


def test_every_room_has_its_place_and_they_are_few():
    rooms = {path.stem for path in (ROOT / "tsd").iterdir() if not path.name.startswith("_")}
    assert rooms <= set(RANK) and len(rooms) <= 20 and len(LAYERS) <= 10


def test_tests_share_files_of_fixtures_and_not_each_other():
    tests = (ROOT / "tests").glob("test_*.py")
    assert not [path.name for path in tests if any(name.startswith("test_") for name in imports(path))]


def test_no_drawer_for_leftovers():
    assert [path for path in FILES if path.stem in ("utils", "util", "helpers", "misc", "common")] == []
