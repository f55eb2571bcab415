"""One thread per test process: the tests run two at a time on two cores."""

import pytest
import torch

torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def one_thread():
    """Entry points set the number of threads, and sums over another number of threads differ in their last bits."""
    yield
    torch.set_num_threads(1)
