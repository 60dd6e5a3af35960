"""The results of each command as markdown, which the commands also print."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from .ratios import flags, ratio_summary, ratio_table
from .solvers import TARGETS
from .tables import megabytes, seconds, table

Entries = list[dict[str, Any]]

ABOUT_RATIOS = """\
Ratios are times of other solvers over the time of this package's estimator: more than 1 means that the
estimator is faster. Its column holds its times, the other columns hold ratios. Summaries give the geometric
mean over problems and, in brackets, the minimum. The time to a target is the least time of a whole fit that
came within that relative error of the optimum, out of fits with ever larger budgets, all solvers by turns:
the estimator over `tol`, the solvers of LogisticRegression and LinearSVC's primal over `max_iter`, refined
around each target, the others over ever finer `tol`. ">" marks a lower bound: the solver did not reach the
target, in the longest time that it was given or before it stopped by itself; "<" marks an upper bound: the
estimator did not reach the target."""


def markdown(content: dict[str, Any], notes: Sequence[str] = ()) -> str:
    """The whole report. The notes on the measurement stand beside the machine and the versions."""
    parts = ["# Results", "\n".join([_environment(content), *(f"* {note}" for note in notes)])]
    for section, (title, render) in SECTIONS.items():
        if section in content["sections"]:
            parts += [f"## {title}", render(content["sections"][section])]
    return "\n\n".join(parts) + "\n"


def _environment(content: dict[str, Any]) -> str:
    """Machine, versions and dates."""
    facts = content["environment"]
    dates = sorted({entry["date"] for entries in content["sections"].values() for entry in entries})
    machine = f"{facts['processor']}, {facts['cores']} cores, {facts['system']}; {', '.join(facts['blas'])}"
    names = ("sk_linear_losses", "scikit-learn", "scipy", "numpy", "python")
    versions = ", ".join(f"{name} {facts[name]}" for name in names)
    return f"Measured on {' to '.join(dict.fromkeys([dates[0], dates[-1]]))} by `python -m benchmarks`.\n" + (
        f"\n* {machine}\n* {versions}"
    )


def accuracy(entries: Entries) -> str:
    """Summaries of the ratios and, folded, the ratios of each problem and fits at default parameters."""
    parts = [ABOUT_RATIOS, ratio_summary(entries)]
    for threads in sorted({entry["threads"] for entry in entries}):
        chosen = [entry for entry in entries if entry["threads"] == threads]
        parts += [_folded(f"To {t:g}, threads: {threads}", ratio_table(chosen, t)) for t in TARGETS]
        title = f"SoftmaxClassifier at default parameters, threads: {threads}"
        parts.append(_folded(title, _defaults(chosen)))
    return "\n\n".join([*parts, *flags(entries)])


def svm(entries: Entries) -> str:
    """Summaries of the ratios and, folded, the ratios of each problem, for each kind of hinge problem."""
    parts = [ABOUT_RATIOS]
    for problem in dict.fromkeys(entry["problem"] for entry in entries):
        chosen = [entry for entry in entries if entry["problem"] == problem]
        parts += [f"### {problem}", ratio_summary(chosen)]
        parts += [_folded(f"To {target:g}", ratio_table(chosen, target)) for target in TARGETS]
        parts += flags(chosen)
    return "\n\n".join(parts)


def _folded(title: str, text: str) -> str:
    """Text that is shown when its title is clicked."""
    return f"<details><summary>{title}</summary>\n\n{text}\n\n</details>"


def _defaults(entries: Entries) -> str:
    """The package at default parameters; memory is that of Python objects and numpy arrays beyond X."""
    rows = []
    for entry in entries:
        fit = entry["default"]
        rows.append(
            [
                *(entry["dataset"], f"{entry['C']:g}", entry["scaling"], seconds(fit["seconds"])),
                *(f"{max(fit['error'], 0):.0e}", f"{fit['relative_gap']:.0e}", str(fit["n_iter"])),
                *(str(fit["evaluations"]), seconds(fit["seconds_per_evaluation"])),
                *(megabytes(fit["peak_bytes"]), ", ".join(fit["warnings"])),
            ]
        )
    header = ["data", "C", "features", "time", "error", "certified gap", "iterations"]
    return table([*header, "evaluations", "each", "memory beyond X", "warnings"], rows)


def evaluation(entries: Entries) -> str:
    """One evaluation against the bare products, and the share of a default fit spent elsewhere."""
    rows = [
        [
            *(entry["dataset"], entry["dtype"], str(entry["threads"])),
            *(seconds(entry["evaluation_seconds"]), seconds(entry["bare_seconds"])),
            f"{entry['evaluation_seconds'] / entry['bare_seconds']:.2f}",
            *(seconds(entry["fit_seconds"]), str(entry["evaluations"]), f"{entry['share_outside']:.0%}"),
        ]
        for entry in entries
    ]
    header = ["data", "precision", "threads", "evaluation", "bare products", "ratio"]
    return table([*header, "default fit", "evaluations", "time outside them"], rows)


def threads(entries: Entries) -> str:
    """Default fits with one core and with all."""
    rows = []
    for entry in entries:
        times = entry["seconds"]
        one, most = times["1"], times[max(times, key=int)]
        difference = f"{entry['coef_difference'] / entry['largest_coef']:.0e}"
        rows.append(
            [entry["dataset"], entry["dtype"], seconds(one), seconds(most), f"{one / most:.2f}", difference]
        )
    return table(["data", "precision", "one core", "all cores", "ratio", "coefficients differ by"], rows)


def small(entries: Entries) -> str:
    """Default fits of both classes on the bundled data; an asterisk marks a warning."""
    rows = []
    for entry in entries:
        (own, other), cells = entry["models"].values(), []
        for model in (own, other):
            mark = " *" if model["warnings"] else ""
            cells += [seconds(model["seconds"]) + mark, f"{model['objective']:.6g}"]
        ratio = f"{other['seconds'] / own['seconds']:.2f}"
        rows.append([entry["dataset"], entry["scaling"], *cells, ratio])
    names = [part for name in entries[0]["models"] for part in (name, "objective")]
    return table(["data", "features", *names, "ratio"], rows) + "\n\n\\* warned that it did not converge."


def memory(entries: Entries) -> str:
    """Peak memory beyond X."""
    rows = [
        [
            *(entry["case"], str(entry["n_samples"]), megabytes(entry["bytes"])),
            *(megabytes(entry["peak_bytes"]), seconds(entry["seconds"])),
        ]
        for entry in entries
    ]
    return table(["X", "samples", "size", "memory beyond X", "time"], rows)


def growth(entries: Entries) -> str:
    """Time of an evaluation as one dimension grows, over time in proportion to that dimension."""
    rows = []
    for entry in entries:
        first_size, first_time = entry["sizes"][0], entry["seconds"][0]
        for size, time in zip(entry["sizes"], entry["seconds"], strict=True):
            ratio = f"{time / first_time / (size / first_size):.2f}"
            fixed = ", ".join(f"{value} {name}" for name, value in entry["fixed"].items())
            rows.append([entry["case"], str(size), fixed, seconds(time), ratio])
    return table(["growing", "size", "at", "evaluation", "over proportional"], rows)


def probabilities(entries: Entries) -> str:
    """Held-out log-loss against that of the 5-fold temperature: a summary and each problem; ECE; cost."""
    parts = [
        table(["loss", "data sets", "mean ratio", "worst ratio", "worse than uniform"], _summary(entries))
    ]
    for measure, title in (("log_loss", "Held-out log-loss"), ("ece", "Expected calibration error")):
        methods = list(entries[0][measure])
        rows = [[*_problem(e), *(f"{e[measure][method]:.3f}" for method in methods)] for e in entries]
        names = ["MulticlassSVMClassifier" if method == "ours" else method for method in methods]
        if measure == "log_loss":
            names += ["uniform", "ratio to 5-fold"]
            rows = [
                [*row, f"{e['uniform']:.3f}", f"{_ratio(e):.2f}"]
                for row, e in zip(rows, entries, strict=True)
            ]
        parts.append(_folded(title, table(["data", "loss", "C", "splits", *names], rows)))
    rows = [
        [
            *(e["dataset"], e["problem"], seconds(e["cost"]["fit"]), seconds(e["cost"]["temperature"])),
            f"{e['cost']['temperature'] / e['cost']['fit']:.0%}",
        ]
        for e in entries
        if e["cost"]
    ]
    header = ["data", "loss", "fit without it", "temperature", "share"]
    parts.append(_folded("Cost of the temperature, both halves together, C = 1", table(header, rows)))
    return "\n\n".join(parts)


def published(entries: Entries) -> str:
    """Test accuracies in per cent, published and found, and how well the optimum is known."""
    rows = []
    for entry in entries:
        fits = [entry["intercept"][which] for which in ("without", "with")]
        rows.append(
            [
                *(entry["dataset"], entry["scaling"], f"{entry['C']:g}", f"{entry['published']:.2f}"),
                *(f"{fit['accuracy']:.2f}" for fit in fits),
                *(f"{fits[0]['relative_gap']:.0e}", seconds(fits[0]["seconds"])),
            ]
        )
    header = ["data", "features", "C", "published", "without intercept", "with intercept"]
    return table([*header, "certified gap without", "time without"], rows)


def _problem(entry: dict[str, Any]) -> list[str]:
    return [entry["dataset"], entry["problem"], f"{entry['C']:g}", str(entry["splits"])]


def _ratio(entry: dict[str, Any]) -> float:
    """Log-loss of the package over that of the temperature from out-of-fold scores."""
    return float(entry["log_loss"]["ours"] / entry["log_loss"]["5-fold temperature"])


def _summary(entries: Entries) -> Iterator[list[str]]:
    """For each loss, the mean and the worst ratio, and how often the package was worse than uniform."""
    for loss in dict.fromkeys(entry["problem"] for entry in entries):
        chosen = [entry for entry in entries if entry["problem"] == loss]
        worst = max(chosen, key=_ratio)
        yield [
            *(loss, str(len({entry["dataset"] for entry in chosen}))),
            f"{np.mean([_ratio(entry) for entry in chosen]):.3f}",
            f"{_ratio(worst):.2f} ({worst['dataset']}, C = {worst['C']:g})",
            str(sum(entry["log_loss"]["ours"] > entry["uniform"] for entry in chosen)),
        ]


SECTIONS: dict[str, tuple[str, Callable[[Entries], str]]] = {
    "accuracy": ("Softmax: time to accuracy", accuracy),
    "svm": ("Hinge losses: time to accuracy", svm),
    "published": ("Published accuracies of Weston and Watkins' SVM", published),
    "probabilities": ("Probabilities of the SVM on held-out samples", probabilities),
    "small": ("Small fits at default parameters", small),
    "evaluation": ("One evaluation against its bare matrix products", evaluation),
    "threads": ("Threads and precision", threads),
    "memory": ("Memory beyond X", memory),
    "growth": ("Growth of one evaluation", growth),
}
