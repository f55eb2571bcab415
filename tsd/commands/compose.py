"""Before Hydra builds or writes anything: every job's configuration composed and judged, all faults in one message."""

import os
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from difflib import get_close_matches
from functools import wraps
from importlib import import_module
from itertools import chain
from pathlib import Path
from typing import Any

import hydra
from hydra import compose, initialize_config_dir
from hydra._internal.utils import get_args_parser
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from tsd.commands.errors import user_errors
from tsd.weights import releases

PACKAGE = Path(__file__).resolve().parents[1]
CONF = str(next(folder for folder in (PACKAGE.parent / "conf", PACKAGE / "conf") if (folder / "sample.yaml").is_file()))
"""Beside the package in the repository, inside it in a wheel."""

os.environ.setdefault("TSD_WEIGHTS", str(releases.folder()))  # read by conf/weights
HYDRA_TARGETS = {
    "launcher": r"hydra\._internal\.core_plugins\.basic_launcher\.BasicLauncher"
    r"|hydra_plugins\.hydra_joblib_launcher\.joblib_launcher\.JoblibLauncher"
    r"|hydra_plugins\.hydra_submitit_launcher\.submitit_launcher\.(Local|Slurm)Launcher",
    "sweeper": r"hydra\._internal\.core_plugins\.basic_sweeper\.BasicSweeper"
    r"|hydra_plugins\.tsd_search\.optuna_sweeper\.OptunaSweeper",
    "callbacks": r"tsd\.commands\.sweeps\.SweepTable",
}
"""What Hydra itself builds, before any job begins: these and nothing else."""

LONGEST_NAME = 4096
"""Characters of a path that a file system may take."""

FULL_ERROR = "HYDRA_FULL_ERROR"
"""The environment's variable with which tracebacks are shown whole."""

REFUSALS = (HydraException, OmegaConfBaseException, YAMLError, RecursionError)
"""What composing raises against a mistake of the user."""

LOG_CLASSES = {"logging.StreamHandler", "logging.FileHandler", "logging.NullHandler", "colorlog.ColoredFormatter"}
SHELL_KEYS = ("setup", "srun_args", "additional_parameters", "env_set", "python", "command")
"""Keys of Hydra's plugins that reach a shell: only from the command line, never from a file."""


def plain(cfg: DictConfig) -> tuple[dict[str, Any], set[str]]:
    """The resolved values without Hydra's own, and the top-level keys that other keys refer to."""
    from tsd.training.check.values import nodes  # here and below: judging takes PyTorch, which talking does without

    cfg = OmegaConf.masked_copy(cfg, [key for key in cfg if key != "hydra"])
    texts = [value for _, value in nodes(OmegaConf.to_container(cfg, resolve=False)) if isinstance(value, str)]
    references = set(re.findall(r"\$\{(\w+)", " ".join(texts)))
    return OmegaConf.to_container(cfg, resolve=True), references


def composed(config: str, overrides: list[str], folders: Sequence[str] = (), own: bool = False) -> DictConfig:
    """The configuration of one job; ``own``: with Hydra's own part."""
    GlobalHydra.instance().clear()
    searched = [f"hydra.searchpath=[{','.join('file://' + os.path.abspath(f) for f in folders)}]"] if folders else []
    try:
        with initialize_config_dir(CONF, version_base="1.3", job_name=config):
            return compose(config, [*overrides, *searched], return_hydra_config=own)
    finally:
        GlobalHydra.instance().clear()


def call(command: str, overrides: list[str], config: str | None = None) -> Any:
    """Run another command in this process, as its command line with these overrides would; returns what it returns.

    ``config``: the configuration's name where it is not the command's.
    """
    return import_module(f"tsd.commands.{command}").run(composed(config or command, overrides))


def quoted(text: str | Path) -> str:
    """Any text, in quotes, as a value that Hydra's grammar reads back literally: paths have all kinds of characters."""
    no_reference = re.sub(r"(\\*)\$\{", r"\1\1\\${", str(text))
    return "'" + re.sub(r"(\\*)('|$)", lambda found: 2 * found[1] + found[2].replace("'", r"\'"), no_reference) + "'"


def override(key: str, value: str | Path | None) -> str:
    """``key=value`` with any text as value; None is null."""
    return f"{key}={'null' if value is None else quoted(value)}"


def readable(argument: str) -> str:
    """``key=value`` of a command line as Hydra's grammar takes it: names of files hold characters that the grammar does
    not know (it's (1).png, Jörg.png) or reads as more than one value (a,b.png). Whatever begins as a list, a dict or in
    quotes is left to it, unless it names a file."""
    key, equals, value = argument.partition("=")
    if not equals or not re.fullmatch(r"\+{0,2}[\w./@]+", key):
        return argument
    path = os.path.expanduser(value)
    is_file = len(value) < LONGEST_NAME and os.path.exists(path)
    try:
        parsed = OverridesParser.create().parse_override(argument)
        return override(key, value) if is_file and parsed.is_sweep_override() else argument
    except HydraException:
        return override(key, path) if is_file or value[:1] not in ("[", "{", "'", '"') else argument


def file_names(main: Callable) -> Callable:
    """Decorator of what Hydra starts: the command line with names of files of any kind (``readable``)."""

    @wraps(main)
    def started(*args):
        if not args:
            sys.argv[1:] = [readable(argument) for argument in sys.argv[1:]]
        return main(*args)

    return started


@contextmanager
def one_line_each(config: str) -> Iterator[None]:
    """What a user typed wrongly is said in one line each, where Hydra would print its own words or a traceback."""
    if os.environ.get(FULL_ERROR):
        yield
        return
    os.environ[FULL_ERROR] = "1"  # Hydra raises instead; ``command_line`` takes it back before the command begins
    try:
        yield
    except (*REFUSALS, ValueError) as error:
        args = get_args_parser().parse_args()
        folders = [args.config_dir] if args.config_dir else []
        found = override_faults(args.config_name or config, args.overrides, folders) or [first_line(error)]
        print("error: " + "\n  ".join(found), file=sys.stderr)
        raise SystemExit(2) from None
    finally:
        os.environ.pop(FULL_ERROR, None)


def refuse_options(arguments: list[str]) -> None:
    """Ends with 2 for ``--steps k2`` and the like, which are no options of Hydra's."""
    unknown = [word for word in get_args_parser().parse_known_args(arguments)[1] if word.startswith("-")]
    if unknown:
        name = unknown[0].lstrip("-").partition("=")[0]
        print(f"error: {unknown[0]}: there is no such option; write {name}=<value>", file=sys.stderr)
        raise SystemExit(2)


def command_line(config: str) -> Callable[[Callable], Callable]:
    """Decorator: a function of a configuration as a command line over conf/``config``.yaml, with names of files of any
    kind and the user's mistakes in one line each."""

    def decorate(run: Callable) -> Callable:
        asked = os.environ.get(FULL_ERROR)

        @wraps(run)
        def job(cfg: DictConfig):
            if not asked:
                os.environ.pop(FULL_ERROR, None)
            return user_errors(run)(cfg)

        start = hydra.main(version_base="1.3", config_path=CONF, config_name=config)(job)

        @wraps(run)
        def started(*args):
            if args:
                return start(*args)
            refuse_options(sys.argv[1:])
            with one_line_each(config):
                return start()

        return file_names(started)

    return decorate


OmegaConf.register_new_resolver("quoted", quoted, replace=True)


def jobs_of(overrides: list[str]) -> list[list[str]]:
    """Overrides of jobs that between them have every value of a sweep: the first values, and each other one once."""
    parsed = OverridesParser.create().parse_overrides(overrides)
    values = []
    for override in parsed:
        discrete = override.is_sweep_override() and override.is_discrete_sweep()
        key = override.get_key_element()
        swept = [f"{key}={v}" for v in override.sweep_string_iterator()] if discrete else [override.input_line]
        if override.is_sweep_override() and not discrete:  # an interval: its ends
            swept = [f"{key}={bound}" for bound in (override.value().start, override.value().end)]
        values.append(swept)
    first = [swept[0] for swept in values]
    others = ([*first[:i], value, *first[i + 1 :]] for i, swept in enumerate(values) for value in swept[1:])
    return [first, *others]


def override_faults(config: str, overrides: list[str], folders: list[str]) -> list[str]:
    """What Hydra says against each override, one by one; it would name only the first."""
    found, good = [], []
    for override in overrides:
        try:
            composed(config, [*good, override], folders, own=True)
            good.append(override)
        except (*REFUSALS, ValueError) as error:
            found.append(f"{override}: {right(config, override, error)}")
    return found


def right(config: str, argument: str, error: Exception) -> str:
    """What would have been right instead of an argument that Hydra refused."""
    key, equals, value = argument.lstrip("+").partition("=")
    text = str(error)
    if "Config group override must be" in text:  # a number, for which it does not say what there is
        try:
            composed(config, [override(key, value)])
        except REFUSALS as other:
            text = str(other)
    if not equals:
        return "is no key=value"
    if "Could not override" in text:
        group, _, name = key.rpartition(".")
        known = list(OmegaConf.select(composed(config, []), group) if group else composed(config, []))
        close = get_close_matches(name, known, 1)
        return f"unknown key; did you mean {close[0]}?" if close else f"unknown key; known are {', '.join(known)}"
    if "Available options" in text:
        options = re.findall(r"^\t([\w/]+)$", text.partition("Config search path")[0], re.M)
        return f"must be one of {', '.join(options)}"
    return first_line(error)


def first_line(error: Exception) -> str:
    """What an error says first; two lines where the first one only announces."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
    announces = "Could not find" in lines[0] or lines[0].endswith(":") or "while parsing" in lines[0]
    return " ".join(lines[: 2 if announces else 1])


def hydra_faults(cfg: DictConfig, overrides: list[str]) -> list[str]:
    """What must not be in Hydra's own part: it is built before any job begins."""
    from tsd.training.check.values import nodes, show

    hydra, found = OmegaConf.to_container(cfg.hydra, resolve=False), []
    for path, value in nodes(hydra):
        group, key = path.split(".")[0], path.rpartition(".")[2]
        if key == "_target_" and not re.fullmatch(HYDRA_TARGETS.get(group, r"(?!)"), str(value)):
            found.append(f"hydra.{path}={show(value)}: nothing but Hydra's own and tsd.commands.sweeps is built here")
        if group.endswith("_logging") and ((key == "class" and value not in LOG_CLASSES) or key in ("()", "factory")):
            found.append(f"hydra.{path}={show(value)}: must be one of {', '.join(sorted(LOG_CLASSES))}")
        from_file = not any(override.lstrip("+~").startswith(f"hydra.{path}") for override in overrides)
        if key in SHELL_KEYS and value and from_file:
            found.append(f"hydra.{path}={show(value)}: reaches a shell; give it on the command line, not in a file")
    return found


def all_faults(config: str, overrides: list[str], folders: list[str]) -> list[str]:
    """Faults of every job that a command line asks for."""
    from tsd.training import check

    try:
        jobs = jobs_of(overrides)
    except REFUSALS as error:
        return [first_line(error)]
    found = []
    for job in jobs:
        try:
            cfg = composed(config, job, folders, own=True)
            found += hydra_faults(cfg, overrides) or check.faults(*plain(cfg))
        except REFUSALS as error:
            found += override_faults(config, job, folders) or [first_line(error)]
    return list(dict.fromkeys(found))


def judge(config: str) -> bool:
    """Judge this process's command line; exit with 2 and every fault where there is one. False for a dry run or for
    Hydra's own questions (--help, --cfg …), which begin no training."""
    args = get_args_parser().parse_args()
    if args.help or args.hydra_help or args.cfg or args.info or args.shell_completion:
        return True
    folders = [args.config_dir] if args.config_dir else []
    config = args.config_name or config
    if found := all_faults(config, args.overrides, folders):
        many = f"{len(found)} faults in the configuration:"
        print("error: " + "\n  ".join([many, *found] if found[1:] else found), file=sys.stderr)
        raise SystemExit(2)
    first = composed(config, jobs_of(args.overrides)[0], folders, own=True)
    if first.print_config:
        print(OmegaConf.to_yaml(OmegaConf.create(plain(first)[0])))
    if first.dry_run:
        say_plan(config, args.overrides, folders)
    return not first.dry_run


@user_errors
def say_plan(config: str, overrides: list[str], folders: list[str]) -> None:
    """What would be trained, on top of what; nothing is written."""
    from tsd.weights import needs

    for job in jobs_of(overrides):
        values, _ = plain(composed(config, job, folders, own=True))
        below = needs.below(values) | needs.first_weights(values)
        below = ", ".join(f"{name} {path}" for name, path in below.items()) or "nothing"
        swept = " ".join(chain(override for override in job if override not in overrides))
        print(f"{values['stage']['name']} {swept}: {values['trainer']['max_steps']} steps, on top of {below}")
