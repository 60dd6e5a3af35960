"""Plots of relative error against time, a panel for each problem, for light and for dark backgrounds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from .solvers import OURS
from .tables import seconds

# LIGHT, DARK: colours of ink and grid for each background. COLOURS: colours of the lines, which colour-blind
# readers can tell apart.
LIGHT, DARK = {"ink": "#1f2328", "grid": "#d1d9e0"}, {"ink": "#e6edf3", "grid": "#3d444d"}
COLOURS = {
    OURS: "#d55e00",
    "lbfgs": "#0088ce",
    "newton-cg": "#009e73",
    "newton-cholesky": "#b8860b",
    "sag": "#cc79a7",
}
# Errors below this are drawn at this value.
FLOOR = 1e-8
PREFERRED = ("mnist", "usps", "letter", "20news-mindf2")
N_PANELS = 4


def panels(entries: list[dict[str, Any]], wanted: list[str]) -> list[dict[str, Any]]:
    """The entries named ``DATA:C:SCALING``, for one thread; without names, up to four raw ones at C = 1."""
    found = {f"{e['dataset']}:{e['C']:g}:{e['scaling']}": e for e in entries if e["threads"] == 1}
    if unknown := set(wanted) - set(found):
        raise SystemExit(f"No results for {', '.join(sorted(unknown))}; there are {', '.join(found)}.")
    if not wanted:
        wanted = [name for name in found if name.endswith(":1:raw")]
        wanted.sort(key=lambda name: name.split(":")[0] not in PREFERRED)
    return [found[name] for name in wanted[:N_PANELS]]


def draw(chosen: list[dict[str, Any]], path: Path, inks: dict[str, str]) -> None:
    """Write the picture. The extension of the file gives the format."""
    parts = ("text.color", "axes.labelcolor", "xtick.color", "ytick.color")
    settings = {"svg.hashsalt": "benchmarks", "font.size": 9, **dict.fromkeys(parts, inks["ink"])}
    size = (1 + 2.4 * len(chosen), 3.1)
    with plt.rc_context(settings):
        figure, axes = plt.subplots(
            1, len(chosen), figsize=size, sharey=True, layout="constrained", squeeze=False
        )
        for ax, entry in zip(axes[0], chosen, strict=True):
            _panel(ax, entry, inks)
        axes[0, 0].set_ylabel("relative error of the objective")
        figure.supxlabel("time of a whole fit", fontsize=9, color=inks["ink"])
        _legend(figure, axes[0])
        dated = {"Date": None} if path.suffix == ".svg" else None
        figure.savefig(path, transparent=True, dpi=160, metadata=dated)
        plt.close(figure)


def _panel(ax: Axes, entry: dict[str, Any], inks: dict[str, str]) -> None:
    """Draw one problem: for each solver, the least error so far against time, down to FLOOR."""
    for name, solver in entry["solvers"].items():
        times, errors = _progress(solver["runs"])
        if not len(times):
            continue
        width, size, order = (2.4, 5, 3) if name == OURS else (1.3, 2.5, 2)
        line = {"color": COLOURS[name], "linewidth": width, "marker": "o", "markersize": size}
        # Nothing is known before the first run: a line without a marker at its upper end comes down to it.
        times, errors = np.append(times[0], times), np.append(1.0, errors)
        ax.loglog(times, errors, markevery=slice(1, None), label=name, zorder=order, clip_on=False, **line)
    ax.set_ylim(FLOOR, 1)
    ticks = np.logspace(-8, 0, 5)
    ax.set_yticks(ticks, ["$\\leq 10^{-8}$", *(f"$10^{{{round(np.log10(tick))}}}$" for tick in ticks[1:])])
    times = _round_times(*ax.get_xlim())
    ax.set_xticks(times, [seconds(time) for time in times])
    ax.minorticks_off()
    ax.set_title(f"{entry['dataset']}, {entry['scaling']}, C = {entry['C']:g}", fontsize=9, color=inks["ink"])
    ax.grid(color=inks["grid"], linewidth=0.6)
    ax.tick_params(length=0)
    for side in ax.spines.values():
        side.set_visible(False)


def _progress(runs: list[dict[str, Any]]) -> tuple[np.ndarray, np.ndarray]:
    """Times and the least errors until then, from an error of 1 to the first error at FLOOR or below."""
    runs = sorted(runs, key=lambda run: run["seconds"])
    times = np.array([run["seconds"] for run in runs])
    errors = np.fmin.accumulate([run["error"] for run in runs])
    shown = (errors <= 1) & np.concatenate([[True], errors[:-1] > FLOOR])
    return times[shown], np.maximum(errors[shown], FLOOR)


def _round_times(first: float, last: float) -> list[float]:
    """Powers of ten between two times; also three times each power if less than two decades lie between."""
    steps = (1, 3) if last < 100 * first else (1,)
    exponents = range(int(np.floor(np.log10(first))), int(np.ceil(np.log10(last))))
    return [time for k in exponents for step in steps if first <= (time := step * 10.0**k) <= last]


def _legend(figure: Figure, axes: np.ndarray) -> None:
    """One line for each solver in some panel, the package's first."""
    handles: dict[str, Any] = {}
    for ax in axes:
        handles |= {label: handle for handle, label in zip(*ax.get_legend_handles_labels(), strict=True)}
    names = [name for name in COLOURS if name in handles]
    lines = [handles[name] for name in names]
    figure.legend(lines, names, loc="outside upper center", ncols=len(names), frameon=False)
