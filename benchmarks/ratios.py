"""Ratios of each solver's time to a target to that of the package's, with bounds kept apart from numbers."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from .optimum import Optimum
from .solvers import TARGETS
from .tables import seconds, table

BEST = "best of scikit-learn"


@dataclass(frozen=True)
class Amount:
    """A number or, with a sign, a bound on a number: ">" lower, "<" upper, "~" neither."""

    value: float
    sign: str = ""

    def __str__(self) -> str:
        return f"{self.sign}{self.value:.3g}"

    def over(self, other: Amount) -> Amount | None:
        """The ratio of this amount to another; None if both are bounds."""
        if self.sign and other.sign:
            return None
        return Amount(self.value / other.value, self.sign or ("<" if other.sign else ""))


def time_to(target: float, solver: dict[str, Any]) -> Amount:
    """Least time of a run that reached the target; without such a run, the longest time as a lower bound."""
    reached = [run["seconds"] for run in solver["runs"] if run["error"] <= target]
    if reached:
        return Amount(min(reached))
    return Amount(max(run["seconds"] for run in solver["runs"]), ">")


def ratios(entry: dict[str, Any], target: float) -> dict[str, Amount | None]:
    """Each competitor's time over the package's, and the best competitor's."""
    times = {name: time_to(target, solver) for name, solver in entry["solvers"].items()}
    own = times.pop(_estimator(entry))
    # A solver that stopped by itself short of the target never reaches it, so its time bounds no other's.
    open_ended = [
        time
        for name, time in times.items()
        if not (time.sign and entry["solvers"][name]["end"] == "stopped by itself")
    ]
    best = min(open_ended or times.values(), key=lambda time: time.value)
    return {name: time.over(own) for name, time in {**times, BEST: best}.items()}


def least(amounts: list[Amount]) -> Amount:
    """The minimum."""
    smallest = min(amounts, key=lambda amount: amount.value)
    return Amount(smallest.value, "<") if any(a.sign == "<" for a in amounts) else smallest


def geometric_mean(amounts: list[Amount]) -> Amount:
    """The geometric mean: a bound if some of the amounts are bounds."""
    signs = {amount.sign for amount in amounts} - {""}
    mean = math.exp(sum(math.log(amount.value) for amount in amounts) / len(amounts))
    return Amount(mean, "~" if len(signs) > 1 else "".join(signs))


def ratio_table(entries: list[dict[str, Any]], target: float) -> str:
    """The package's times and the others' ratios, a row for each problem, then minimum and mean."""
    known, names = _known(entries, target), competitors(entries)
    rows = []
    for entry in known:
        amounts = ratios(entry, target)
        own = time_to(target, entry["solvers"][_estimator(entry)])
        cells = [_cell(amounts.get(name)) for name in names]
        rows.append([entry["dataset"], f"{entry['C']:g}", entry["scaling"], _seconds(own), *cells])
    for title, summary in (("minimum", least), ("geometric mean", geometric_mean)):
        cells = [_cell(summary(found) if found else None) for found in _columns(known, names, target)]
        rows.append([title, "", "", "", *cells])
    return table(["data", "C", "features", _estimator(entries[0]), *names], rows)


def ratio_summary(entries: list[dict[str, Any]]) -> str:
    """Geometric mean and, in brackets, minimum of the ratios, for each number of threads and each target."""
    names, rows = competitors(entries), []
    for threads in sorted({entry["threads"] for entry in entries}):
        for target in TARGETS:
            known = _known([entry for entry in entries if entry["threads"] == threads], target)
            columns = _columns(known, names, target)
            cells = [f"{geometric_mean(found)} ({least(found)})" if found else "" for found in columns]
            rows.append([f"{target:g}", str(threads), str(len(known)), *cells])
    return table(["relative error", "threads", "problems", *names], rows)


def competitors(entries: list[dict[str, Any]]) -> list[str]:
    """Names of the other solvers, then the name of the best of them."""
    names = dict.fromkeys(name for entry in entries for name in entry["solvers"] if name != _estimator(entry))
    return [*names, BEST]


def _known(entries: list[dict[str, Any]], target: float) -> list[dict[str, Any]]:
    """The entries whose optimum is known well enough for the target."""
    return [entry for entry in entries if Optimum(**entry["optimum"]).resolves(target)]


def _columns(entries: list[dict[str, Any]], names: list[str], target: float) -> list[list[Amount]]:
    """For each competitor, the ratios that are known."""
    found = [ratios(entry, target) for entry in entries]
    return [[amount for amounts in found if (amount := amounts.get(name))] for name in names]


def flags(entries: Iterable[dict[str, Any]]) -> list[str]:
    """One line for each problem whose optimum is not known well enough for the finest target."""
    lines = []
    for entry in entries:
        optimum = Optimum(**entry["optimum"])
        if not optimum.resolves(TARGETS[-1]):
            problem = f"{entry['dataset']}, C = {entry['C']:g}, {entry['scaling']}"
            lines.append(f"{problem}: optimum known to {optimum.uncertainty:.0e}; finer targets left out.")
    return list(dict.fromkeys(lines))


def _estimator(entry: dict[str, Any]) -> str:
    """The name of the package's estimator, which comes first."""
    return next(iter(entry["solvers"]))


def _cell(amount: Amount | None) -> str:
    return "" if amount is None else str(amount)


def _seconds(amount: Amount) -> str:
    return amount.sign + seconds(amount.value)
