"""Settings that must precede the import of numpy, and fixtures that several modules use."""

import os

import pytest

# On thousands of small problems the threads of BLAS slow each other down: estimator checks and comparisons
# with oracles took 100 s with two threads on two cores, and 25 s with one. Tests of threads ask for threads
# by `n_jobs`; OMP_NUM_THREADS=2 pytest gives threads to all tests.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# Pictures need no screen.
os.environ.setdefault("MPLBACKEND", "agg")


@pytest.fixture
def small_blocks(monkeypatch):
    """Blocks that do not divide the rows of the small problem, and threads for however little work."""
    from sk_linear_losses import _blocks, _rows

    monkeypatch.setattr(_blocks, "DENSE_BLOCK_ROWS", 20)
    monkeypatch.setattr(_blocks, "DENSE_BLOCK_ENTRIES", 1)
    monkeypatch.setattr(_blocks, "SPARSE_BLOCK_SCORES", 20 * 3)
    monkeypatch.setattr(_rows, "MIN_WORK_PER_THREAD", 1)
