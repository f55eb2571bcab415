"""Command lines in this process: another would import everything again, which takes longer than what is tested."""

import runpy
import sys
from pathlib import Path

from hydra.core.global_hydra import GlobalHydra


def run_here(command: str, monkeypatch, capsys, folder: Path, *arguments: str) -> tuple[int, str]:
    """Exit code and stderr of ``python -m tsd.commands.<command> arguments`` in ``folder``."""
    code, _, errors = said_here(command, monkeypatch, capsys, folder, *arguments)
    return code, errors


def said_here(command: str, monkeypatch, capsys, folder: Path, *arguments: str) -> tuple[int, str, str]:
    """As ``run_here``: exit code, stdout and stderr."""
    GlobalHydra.instance().clear()
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "argv", [command, *arguments])
    monkeypatch.delitem(sys.modules, f"tsd.commands.{command}", raising=False)  # as in a fresh interpreter
    monkeypatch.setattr(sys, "gettrace", lambda: None)  # Hydra takes coverage for a debugger and would not exit
    capsys.readouterr()
    try:
        runpy.run_module(f"tsd.commands.{command}", run_name="__main__", alter_sys=True)
    except SystemExit as end:
        return end.code, *capsys.readouterr()
    return 0, *capsys.readouterr()
