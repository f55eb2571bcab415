"""``tsd talk PHOTO VOICE [key=value …]``; ``tsd <command> [key=value …]`` is ``python -m tsd.commands.<command>``."""

import sys
from importlib import import_module
from pathlib import Path

SHARED = ("__init__", "__main__", "compose", "errors")
COMMANDS = sorted({path.stem for path in Path(__file__).parent.glob("*.py")} - set(SHARED))


def main() -> None:
    """What the command line says; a wrong one ends with 2."""
    command, *given = sys.argv[1:] or ["--help"]
    if command == "talk" and len(given) >= 2:
        from tsd.commands.compose import override

        command, given = "sample", [override("reference", given[0]), override("audio", given[1]), *given[2:]]
    if command not in COMMANDS:
        print(
            f"usage: {__doc__.split(';')[0].strip('`')}\n       tsd <{'|'.join(COMMANDS)}> [key=value …]",
            file=sys.stderr,
        )
        raise SystemExit(0 if command in ("-h", "--help") else 2)
    sys.argv = [f"tsd {command}", *given]
    try:
        module = import_module(f"tsd.commands.{command}")
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] == "tsd":
            raise
        print(
            f"error: tsd {command} takes {error.name}, which is not installed: pip install 'temposyncdiff[train]'",
            file=sys.stderr,
        )
        raise SystemExit(2) from None
    module.main()


if __name__ == "__main__":
    main()
