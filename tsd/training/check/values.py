"""What single values must be: rules by key, and the types that a class's arguments are annotated with."""

import re
import types
from collections.abc import Callable, Iterator
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from tsd.data.datamodule import PEOPLE
from tsd.diffusion import S_MAX
from tsd.weights import checkpoint

Rule = tuple[Callable[[Any], bool], str]


def whole(low: int, high: int = 10**9) -> Rule:
    bounds = f"a whole number of {low} or more" if high == 10**9 else f"a whole number of {low} to {high}"
    return lambda v: isinstance(v, int) and not isinstance(v, bool) and low <= v <= high, bounds


def number(low: float, high: float, above: bool = False) -> Rule:
    words = f"a number {'above' if above else 'of'} {low:g} {'and at most' if above else 'to'} {high:g}"
    return lambda v: is_number(v) and (low < v if above else low <= v) and v <= high, words


def one_of(*choices: Any) -> Rule:
    return lambda v: any(
        v is c or (v == c and type(v) is type(c)) for c in choices
    ), f"one of {', '.join(map(str, choices))}"


def is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


TEXT: Rule = (lambda v: isinstance(v, str) and bool(v.strip()) and "\0" not in v, "a path")
SIZE, COUNT = whole(1, 2**20), whole(1)
RULES = {
    r"seed": whole(0, 2**32 - 1),
    r"checkpoint_every": COUNT,
    r"stored": one_of("float32", "float16"),
    r"overwrite|print_config|dry_run": one_of(True, False),
    r"evaluate": (lambda v: v is None or (is_number(v) and v == int(v) > 0), "null or how many clips"),
    r"out|sweep": TEXT,
    r"init": (lambda v: v is None or TEXT[0](v), "a path, or null"),
    r"stage\.needs": (
        lambda v: isinstance(v, list) and all(n in checkpoint.NETS for n in v),
        f"a list of {', '.join(checkpoint.NETS)}",
    ),
    r"stage\.name": one_of(*(set(checkpoint.NETS) - {"motion"})),
    r"stage\.mode": one_of("min", "max"),
    r"weights\.\w+": (lambda v: v is None or TEXT[0](v), "a path, or null"),
    r"data\.(resolution|window|batch_size|val_batch_size|windows_per_clip|val_windows)": SIZE,
    r"data\.(num_workers|cache_mb)": whole(0, 2**20),
    r"data\.stream": (lambda v: v is None or TEXT[0](v), "a folder or an address, or null"),
    r"data\.stream_cache": TEXT,
    r"data\.stream_gb": number(0, 1e6, above=True),
    r"data\.p_(mismatch|blink)": number(0, 1),
    r"data\.preload": one_of(True, False),
    r"data\.people": one_of(*PEOPLE),
    r"optimizer\.lr": number(0, 10, above=True),
    r"optimizer\.weight_decay": number(0, 10),
    r"optimizer\.momentum": (lambda v: is_number(v) and 0 <= v < 1, "a number of 0 to below 1"),
    r"optimizer\.betas": (
        lambda v: isinstance(v, list) and len(v) == 2 and all(is_number(b) and 0 <= b < 1 for b in v),
        "two numbers of 0 to below 1",
    ),
    r"trainer\.(max_steps|val_check_interval|accumulate_grad_batches|log_every_n_steps)": COUNT,
    r"trainer\.gradient_clip_val": (
        lambda v: v is None or (is_number(v) and v >= 0),
        "a number of at least 0, or null",
    ),
    r"trainer\.precision": one_of("auto", "32-true", "bf16-mixed", "16-mixed", "bf16-true", "16-true", "64-true"),
    r"loss\.(?!_)\w+": number(0, 1e6),
    r"model\.\w+\.latent_(channels|size)": whole(1, checkpoint.LARGEST_ARGUMENT),
    r"model\.windows\.\w+": SIZE,
    r"model\.resolution": whole(16, checkpoint.LARGEST_ARGUMENT),
    r"stage\.module\.(own_steps_from|carried_share)": number(0, 1),
    r"stage\.module\.shared_from": (
        lambda v: v is None or number(0, S_MAX)[0](v),
        f"null or a number of 0 to {S_MAX:g}",
    ),
    r"stage\.module\.log_normal": (
        lambda v: isinstance(v, list) and len(v) == 2 and all(map(is_number, v)) and v[1] > 0,
        "two numbers, the mean and the standard deviation, which is above 0",
    ),
    r"stage\.module\.teacher_steps": whole(1, 100),
    r"callbacks\.early_stopping\.patience": whole(0),
    r"callbacks\.ema\.decay": number(0, 1),
}
"""What a value must be, by the pattern of its key."""


def value_faults(path: str, value: Any) -> list[str]:
    """What a rule says against the value of a key."""
    if value == "???":
        return [f"{path}: missing; give {path}=<value>"]
    broken = [words for pattern, (fits, words) in RULES.items() if re.fullmatch(pattern, path) and not fits(value)]
    return [f"{path}={show(value)}: must be {words}" for words in broken]


def is_ruled(path: str) -> bool:
    return any(re.fullmatch(pattern, path) for pattern in RULES)


def nodes(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Every dict and every value below, with its dotted key; lists are values."""
    yield path, value
    if isinstance(value, dict):
        for key, below in value.items():
            yield from nodes(below, f"{path}.{key}" if path else str(key))


def show(value: Any) -> str:
    text = "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
    return text if len(text) <= 60 else text[:57] + "..."


def type_hints(built: type) -> dict[str, Any]:
    """Annotations of the arguments, its parents' too; none where they cannot be read."""
    hints: dict[str, Any] = {}
    for cls in reversed(built.__mro__):
        if "__init__" in vars(cls):
            try:
                hints |= get_type_hints(cls.__init__)
            except (NameError, TypeError):
                continue
    return hints


def fits(value: Any, hint: Any) -> bool:
    """Whether a plain value can be of an annotated type; unknown annotations take anything."""
    origin, args = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        return any(fits(value, arg) for arg in args)
    if origin is Literal:
        return value in args
    if origin in (list, tuple):
        items = [arg for arg in args if arg is not ...] or [Any]
        return isinstance(value, list) and all(fits(v, items[min(i, len(items) - 1)]) for i, v in enumerate(value))
    if hint is bool:
        return isinstance(value, bool)
    if hint is float:
        return is_number(value)
    if hint is int:
        return isinstance(value, int) and not isinstance(value, bool)
    if hint in (str, type(None)):
        return isinstance(value, hint)
    return True


def words_of(hint: Any) -> str:
    """A type in words: "a whole number or null"."""
    simple = {bool: "true or false", int: "a whole number", float: "a number", str: "text", type(None): "null"}
    if get_origin(hint) in (Union, types.UnionType):
        return " or ".join(dict.fromkeys(words_of(arg) for arg in get_args(hint)))
    if get_origin(hint) is Literal:
        return " or ".join(map(str, get_args(hint)))
    if get_origin(hint) in (list, tuple):
        return f"a list, each {words_of(get_args(hint)[0])}"
    return simple.get(hint, getattr(hint, "__name__", str(hint)))
