"""What single values must be: a type for each key. Arguments of classes have the type that they are annotated with."""

import json
import re
import types
from collections.abc import Iterator
from functools import cache
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from annotated_types import Interval
from pydantic import ConfigDict, PydanticUserError, StringConstraints, TypeAdapter, ValidationError

from tsd.data.datamodule import PEOPLE
from tsd.diffusion import S_MAX
from tsd.media.backends import DECODERS
from tsd.weights import checkpoint


def whole(low: int, high: int | None = None) -> Any:
    return Annotated[int, Interval(ge=low, le=high)]


def number(low: float, high: float | None = None) -> Any:
    return Annotated[float, Interval(ge=low, le=high)]


TEXT = Annotated[str, "a path", StringConstraints(pattern=r"^[^\x00]*[^\x00\s][^\x00]*$")]
SIZE, COUNT, SHARE = whole(1, 2**20), whole(1, 10**9), number(0, 1)
BELOW_ONE = Annotated[float, Interval(ge=0, lt=1)]
NETS = tuple(checkpoint.NETS)
RULES = {
    r"seed": whole(0, 2**32 - 1),
    r"checkpoint_every": COUNT,
    r"stored": Literal["float32", "float16"],
    r"overwrite|print_config|dry_run": bool,
    r"evaluate": Annotated[COUNT | None, "null or how many clips"],
    r"out|sweep": TEXT,
    r"init|weights\.\w+": TEXT | None,
    r"stage\.needs": list[Literal[NETS]],
    r"stage\.name": Literal[tuple(name for name in NETS if name != "motion")],
    r"stage\.mode": Literal["min", "max"],
    r"data\.(resolution|window|batch_size|val_batch_size|windows_per_clip|val_windows)": SIZE,
    r"data\.(num_workers|cache_mb)": whole(0, 2**20),
    r"data\.decoder": Literal[DECODERS],
    r"data\.stream": Annotated[TEXT | None, "a folder or an address, or null"],
    r"data\.stream_cache": TEXT,
    r"data\.stream_gb": Annotated[float, Interval(gt=0, le=1e6)],
    r"data\.p_(mismatch|blink)": SHARE,
    r"data\.people": Literal[tuple(PEOPLE)],
    r"optimizer\.lr": Annotated[float, Interval(gt=0, le=10)],
    r"optimizer\.weight_decay": number(0, 10),
    r"optimizer\.momentum": BELOW_ONE,
    r"optimizer\.betas": Annotated[tuple[BELOW_ONE, BELOW_ONE], "two numbers of 0 to below 1"],
    r"trainer\.(max_steps|val_check_interval|accumulate_grad_batches|log_every_n_steps)": COUNT,
    r"trainer\.max_epochs": Annotated[Literal[-1], "-1, for one epoch has no end; trainer.max_steps is the length"],
    r"trainer\.gradient_clip_val": number(0) | None,
    r"trainer\.precision": Literal["auto", "32-true", "bf16-mixed", "16-mixed", "bf16-true", "16-true", "64-true"],
    r"loss\.(?!_)\w+": number(0, 1e6),
    r"model\.\w+\.latent_(channels|size)": whole(1, checkpoint.LARGEST_ARGUMENT),
    r"model\.windows\.\w+": SIZE,
    r"model\.resolution": whole(16, checkpoint.LARGEST_ARGUMENT),
    r"stage\.module\.(own_steps_from|carried_share)": SHARE,
    r"stage\.module\.shared_from": number(0, S_MAX) | None,
    r"stage\.module\.log_normal": Annotated[
        tuple[float, Annotated[float, Interval(gt=0)]],
        "two numbers, the mean and the standard deviation, which is above 0",
    ],
    r"stage\.module\.teacher_steps": whole(1, 100),
    r"callbacks\.early_stopping\.patience": whole(0),
    r"callbacks\.ema\.decay": SHARE,
}
"""The type of a value, by the pattern of its key: of keys that are no arguments, and where an annotation says less."""


def rules(path: str) -> list[Any]:
    return [rule for pattern, rule in RULES.items() if re.fullmatch(pattern, path)]


def value_faults(path: str, value: Any) -> list[str]:
    """What the types of a key say against its value."""
    if value == "???":
        return [f"{path}: missing; give {path}=<value>"]
    return [f"{path}={show(value)}: must be {words_of(rule)}" for rule in rules(path) if not fits(value, rule)]


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


@cache
def _adapter(hint: Any) -> TypeAdapter | None:
    try:
        return TypeAdapter(hint, config=ConfigDict(strict=True, allow_inf_nan=False))
    except (PydanticUserError, TypeError):  # a class that pydantic does not know
        return None


def fits(value: Any, hint: Any) -> bool:
    """Whether a plain value is of an annotated type. Types that pydantic does not know take anything."""
    if (adapter := _adapter(hint)) is None:
        return True
    try:
        adapter.validate_json(json.dumps(value), strict=True)  # as JSON, in which a tuple is a list
        return True
    except (ValidationError, TypeError, ValueError):
        return False


def words_of(hint: Any) -> str:
    """A type in words: "a whole number or null". Text among its annotations is taken as it is."""
    origin, args = get_origin(hint), get_args(hint)
    simple = {bool: "true or false", int: "a whole number", float: "a number", str: "text", type(None): "null"}
    if origin is Annotated:
        said = [item for item in args[1:] if isinstance(item, str)]
        return said[0] if said else simple[args[0]] + bounds(args[1])
    if origin in (Union, types.UnionType):
        return " or ".join(dict.fromkeys(words_of(arg) for arg in args))
    if origin is Literal:
        return f"one of {', '.join(map(str, args))}"
    if origin in (list, tuple):
        return f"a list, each {words_of(args[0])}"
    return simple.get(hint, getattr(hint, "__name__", str(hint)))


def bounds(interval: Interval) -> str:
    """ " of 0 to 1", " above 0 and at most 10"."""
    if interval.gt is not None:
        return f" above {interval.gt} and at most {interval.le:g}"
    if interval.lt is not None:
        return f" of {interval.ge} to below {interval.lt}"
    return f" of {interval.ge} or more" if interval.le is None else f" of {interval.ge} to {interval.le}"
