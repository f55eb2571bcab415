"""Every notebook runs from top to bottom, and defines no class or function of its own."""

from pathlib import Path

import nbformat
import pytest
from jupyter_client.manager import AsyncKernelManager
from jupyter_core.utils import run_sync
from nbclient import NotebookClient

NOTEBOOKS = sorted((Path(__file__).parent.parent / "notebooks").glob("*.ipynb"))


def test_there_are_notebooks():
    assert NOTEBOOKS


@pytest.fixture(scope="module")
def kernel():
    """One for all notebooks: each would import the same packages again. Names are forgotten in between."""
    manager = AsyncKernelManager(kernel_name="python3")
    yield manager
    if manager.has_kernel:
        run_sync(manager.shutdown_kernel)(now=True)


@pytest.mark.parametrize(
    "path",
    [pytest.param(path, marks=pytest.mark.slow) if path.stem == "quick_start" else path for path in NOTEBOOKS],
    ids=[path.stem for path in NOTEBOOKS],
)
def test_notebook_runs(path, kernel):
    notebook = nbformat.read(path, as_version=4)
    source = "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "code")
    assert "\nclass " not in source and "\ndef " not in source
    assert not any(cell.get("outputs") for cell in notebook.cells), "commit notebooks without outputs"
    notebook.cells.insert(0, nbformat.v4.new_code_cell("%reset -f"))
    NotebookClient(notebook, km=kernel, timeout=60, resources={"metadata": {"path": path.parent}}).execute()
