"""Who may import whom (read from the source, nothing is run): lower never imports higher."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
# What each part of the ground needs of the others.
GROUND = {"clip": [], "devices": [], "flow": [], "diffusion": ["devices"], "metrics": ["clip", "flow"]}
GROUND |= {"losses": ["devices", "diffusion", "flow"], "checkpoint": ["nets"], "released": ["checkpoint"]}
GROUND |= {"optimizers": ["devices"], "nets": ["clip", "diffusion", "flow"], "media": ["clip"]}
COMMANDS = ["command", "preflight", "sweeps", "upload", "train", "prepare.__main__"]
COMMANDS += ["evaluate", "sample", "bench", "export", "demo", "publish", "schedules"]
LAYERS = [
    [*GROUND],
    ["data", "modules"],
    ["prepare", "runtime"],
    ["callbacks", "loggers", "resume", "check"],
    ["record", "stages"],
    ["report"],
    ["protocols"],
]
LAYERS += [["pairs"], ["page"], COMMANDS]
RANK = {part: rank for rank, layer in enumerate(LAYERS) for part in layer}
FILES = sorted(path for path in (ROOT / "tsd").rglob("*.py") if path != ROOT / "tsd" / "__init__.py")


def part_of(module: str) -> str:
    """tsd.nets.vae -> nets; tsd.commands.prepare -> prepare.__main__."""
    name = module.removeprefix("tsd.")
    return name if name in RANK else name.split(".")[0]


def imports(tree: ast.AST) -> set[str]:
    """Absolute names of everything imported anywhere in a file."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, "relative imports hide where things come from"
            found |= {f"tsd.{alias.name}" for alias in node.names} if node.module == "tsd" else {node.module}
    return found


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_layers(path):
    module = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
    me, tree = part_of(module), ast.parse(path.read_text())
    assert me in RANK, f"{module} has no place in the table of layers"
    for name in imports(tree):
        package, top = name.split(".")[0], RANK[me] == len(LAYERS) - 1
        if package in ("hydra", "omegaconf"):
            assert top, f"{module} imports {name}: only commands know Hydra"
        if package in ("lightning", "pytorch_lightning"):
            knows = (
                me in ("modules", "callbacks", "loggers", "resume", "check") or module == "tsd.data.datamodule" or top
            )
            assert knows, f"{module} imports {name}: nets, losses, metrics, media and runtime work with torch alone"
        if package == "tsd" and (other := part_of(name)) != me:
            allowed = other in GROUND[me] if me in GROUND else top or RANK[other] < RANK[me]
            assert allowed, f"{module} imports {name}: lower or sideways never imports higher"


def test_no_drawer_for_leftovers():
    assert [path for path in FILES if path.stem in ("utils", "util", "helpers", "misc", "common")] == []
