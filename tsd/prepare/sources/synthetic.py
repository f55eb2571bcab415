"""Drawn people who speak: the corpus is made first, then read as LRS3."""

from pathlib import Path

from tsd.prepare.drawn.synthetic import make_corpus
from tsd.prepare.recording import Recording
from tsd.prepare.sources import lrs3


def find(root: str | Path, **corpus) -> list[Recording]:
    """``corpus``: the arguments of ``make_corpus``; clips that are there already are kept."""
    make_corpus(root, **corpus)
    return lrs3.find(root)
