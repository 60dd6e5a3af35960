"""The JSON file of results: one section for each command, and the environment of the measurements."""

from __future__ import annotations

import datetime
import json
import platform
from pathlib import Path
from typing import Any

import numpy as np
import scipy
import sklearn
import threadpoolctl

import sk_linear_losses

from .timing import n_cores

# Fields that tell the entries of a section apart. A new entry replaces an old one with the same values.
KEYS = ("dataset", "C", "scaling", "threads", "problem", "case", "n_samples", "dtype")


def environment() -> dict[str, Any]:
    """The machine and the versions of the packages."""
    blas = [pool for pool in threadpoolctl.threadpool_info() if pool["user_api"] == "blas"]
    return {
        "processor": _processor(),
        "cores": n_cores(),
        "system": platform.system(),
        "python": platform.python_version(),
        "numpy": np.__version__,
        "scipy": scipy.__version__,
        "scikit-learn": sklearn.__version__,
        "sk_linear_losses": sk_linear_losses.__version__,
        "blas": sorted({f"{pool['internal_api']} {pool['version']}" for pool in blas}),
    }


def save(path: Path, section: str, entry: dict[str, Any]) -> None:
    """Add an entry to a section of the file, whose other entries must come from the same environment."""
    content = load(path) if path.exists() else {"environment": environment(), "sections": {}}
    if content["environment"] != environment():
        raise SystemExit(f"{path} was measured on another machine or with other versions: name another file.")
    entries = {_key(old): old for old in content["sections"].get(section, [])}
    entries[_key(entry)] = {**entry, "date": datetime.date.today().isoformat()}
    content["sections"][section] = list(entries.values())
    unfinished = path.with_suffix(".part")
    unfinished.write_text(json.dumps(content, indent=1))
    unfinished.replace(path)


def load(path: Path) -> dict[str, Any]:
    """The content of a file of results."""
    return json.loads(path.read_text())


def _key(entry: dict[str, Any]) -> tuple[Any, ...]:
    return tuple(entry.get(key) for key in KEYS)


def _processor() -> str:
    """The name of the processor."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()
