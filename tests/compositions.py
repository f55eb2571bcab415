"""Configurations as ``tsd.commands.compose.composed`` makes them, each choice of groups composed once in a process."""

from functools import cache
from pathlib import Path

from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig

from tsd.commands.compose import CONF, composed


@cache
def chosen(command: str, *choices: str) -> DictConfig:
    """What every configuration with these choices of groups begins as. Never change what this returns."""
    return composed(command, list(choices))


def quickly_composed(command: str, overrides: list[str]) -> DictConfig:
    """``composed(command, overrides)``, by Hydra's own two steps: first the groups, which takes nearly all of the time,
    then the single values."""
    choices, values = [], []
    for override in OverridesParser.create().parse_overrides(overrides):
        (choices if (Path(CONF) / override.key_or_group).is_dir() else values).append(override)
    cfg = chosen(command, *(override.input_line for override in choices)).copy()
    ConfigLoaderImpl._apply_overrides_to_config(values, cfg)
    return cfg
