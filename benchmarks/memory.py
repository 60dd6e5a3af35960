"""Memory that a fit takes beyond X. Each fit has a process of its own, which runs this module (Linux)."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse as sp
from sklearn.datasets import load_iris

from sk_linear_losses import SoftmaxClassifier

CASES = ("C order", "F order", "CSR")
N_FEATURES, N_CLASSES = 100, 10
SPARSE_FEATURES, STORED_PER_ROW = 20_000, 50
# The memory-mapped file: features, rows written at a time, and what the fit may allocate (bytes).
MAPPED_FEATURES, CHUNK, ALLOWANCE = 784, 20_000, 400_000_000
SAMPLING_SECONDS = 0.02


def measure(smallest: int) -> Iterator[dict[str, Any]]:
    """One entry for each layout and each of two numbers of samples, the second ten times the first."""
    for case in CASES:
        for n_samples in (smallest, 10 * smallest):
            yield {"case": case, "n_samples": n_samples, **_in_child(["fit", case, str(n_samples)])}


def measure_mapped(gigabytes: float) -> dict[str, Any]:
    """The entry of a fit to a memory-mapped float32 file, which is written for the fit and then deleted."""
    with tempfile.TemporaryDirectory() as folder:
        n_samples = round(gigabytes * 1e9 / (4 * MAPPED_FEATURES))
        _write_file(Path(folder), n_samples)
        result = _in_child(["mapped", folder])
    return {"case": "memory-mapped", "n_samples": n_samples, **result}


def _in_child(arguments: list[str]) -> dict[str, Any]:
    """The measurements of a process of its own; what this process prints is shown."""
    with tempfile.NamedTemporaryFile(suffix=".json") as file:
        subprocess.run([sys.executable, "-m", "benchmarks.memory", file.name, *arguments], check=True)
        return json.load(file)


def _write_file(folder: Path, n_samples: int) -> None:
    """Write X.npy chunk by chunk, and y.npy: samples around the centres of overlapping classes."""
    rng = np.random.default_rng(0)
    centres = rng.standard_normal((N_CLASSES, MAPPED_FEATURES), dtype=np.float32) / 8
    y = rng.integers(N_CLASSES, size=n_samples)
    shape = (n_samples, MAPPED_FEATURES)
    X = np.lib.format.open_memmap(folder / "X.npy", mode="w+", dtype=np.float32, shape=shape)
    for start in range(0, n_samples, CHUNK):
        part = slice(start, start + CHUNK)
        X[part] = centres[y[part]] + rng.standard_normal((len(y[part]), MAPPED_FEATURES), dtype=np.float32)
    X.flush()
    np.save(folder / "y.npy", y)


def _fit(case: str, n_samples: int) -> dict[str, Any]:
    """Peak resident memory of a fit, less the memory that was resident before, with X loaded."""
    X, y = _random_data(case, n_samples)
    before = _status("VmRSS")
    start = time.perf_counter()
    SoftmaxClassifier().fit(X, y)
    seconds = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    size = X.data.nbytes + X.indices.nbytes + X.indptr.nbytes if sp.issparse(X) else X.nbytes
    return {"seconds": seconds, "bytes": size, "peak_bytes": peak - before}


def _random_data(case: str, n_samples: int) -> tuple[Any, np.ndarray]:
    """Random X and random classes. X is made in place, so that making it does not set the peak."""
    rng = np.random.default_rng(0)
    y = rng.integers(N_CLASSES, size=n_samples)
    if case != "CSR":
        X = np.empty((n_samples, N_FEATURES), order=case[0])
        rng.standard_normal(out=X if case[0] == "C" else X.T)
        return X, y
    # One stored entry in each of STORED_PER_ROW equal ranges of columns, so indices need no sorting.
    width = SPARSE_FEATURES // STORED_PER_ROW
    indices = rng.integers(width, size=(n_samples, STORED_PER_ROW), dtype=np.int32)
    indices += width * np.arange(STORED_PER_ROW, dtype=np.int32)
    data = rng.random(indices.size)
    indptr = np.arange(n_samples + 1, dtype=np.int32) * STORED_PER_ROW
    return sp.csr_array((data, indices.ravel(), indptr), shape=(n_samples, SPARSE_FEATURES)), y


def _fit_mapped(folder: Path) -> dict[str, Any]:
    """Peak anonymous memory of a fit to a mapped file; the fit may allocate no more than ALLOWANCE."""
    X, y = np.load(folder / "X.npy", mmap_mode="r"), np.load(folder / "y.npy")
    limit = _status("VmData") + ALLOWANCE
    resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
    before, samples, done = _status("RssAnon"), [0], threading.Event()

    def watch() -> None:
        while not done.wait(SAMPLING_SECONDS):
            samples.append(_status("RssAnon"))

    watcher = threading.Thread(target=watch)
    watcher.start()
    start = time.perf_counter()
    try:
        model = SoftmaxClassifier(verbose=1).fit(X, y)
    finally:
        done.set()
        watcher.join()
    return {
        "seconds": time.perf_counter() - start,
        "bytes": X.nbytes,
        "peak_bytes": max(samples) - before,
        "n_iter": model.n_iter_,
        "relative_gap": model.duality_gap_ / model.objective_,
    }


def _status(field: str) -> int:
    """A field of this process's status, in bytes (Linux)."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{field}:"))


def _child(file: str, kind: str, *arguments: str) -> None:
    """Run the measurement that the arguments name and write the result to the file."""
    SoftmaxClassifier().fit(*load_iris(return_X_y=True))  # loads what a first use loads
    result = _fit(arguments[0], int(arguments[1])) if kind == "fit" else _fit_mapped(Path(arguments[0]))
    Path(file).write_text(json.dumps(result))


if __name__ == "__main__":
    _child(*sys.argv[1:])
