"""One thread per test process: the tests run two at a time on two cores."""

import sys

import pytest
import torch

torch.set_num_threads(1)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item):
    """What is ``untraced`` is so with its fixtures. (``no_cover`` of pytest-cov 7.1 has no effect in workers of xdist,
    for they are measured twice.)"""
    tracer = sys.gettrace() if item.get_closest_marker("untraced") else None
    if tracer is not None:
        sys.settrace(None)
    try:
        return (yield)
    finally:
        if tracer is not None:
            sys.settrace(tracer)


@pytest.fixture(autouse=True)
def one_thread():
    """Entry points set the number of threads, and sums over another number of threads differ in their last bits."""
    yield
    torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def own_signing_key(tmp_path_factory, monkeypatch):
    """Tests leave no key in the home of whoever runs them."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path_factory.getbasetemp() / "config"))
