"""The command line."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from . import (
    accuracy,
    evaluation,
    growth,
    memory,
    picture,
    probabilities,
    published,
    report,
    results,
    small,
    svm,
    threads,
)
from .datasets import Dataset, loaders
from .ratios import time_to
from .solvers import TARGETS
from .tables import seconds
from .timing import n_cores

CACHE = Path(__file__).parent / ".cache"
Entry = dict[str, Any]


def main(arguments: list[str]) -> int:
    """Run a command; returns the exit code."""
    if not arguments or (arguments[0].startswith("-") and arguments[0] not in ("-h", "--help")):
        arguments = ["accuracy", *arguments]
    options = _parser().parse_args(arguments)
    options.run(options)
    return 0


def _parser() -> argparse.ArgumentParser:
    """The commands and their options."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Without a command: accuracy.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def measuring(name: str, measure: Any, text: str, *groups: Any) -> argparse.ArgumentParser:
        command = commands.add_parser(name, help=text, description=text)
        command.set_defaults(run=lambda options: _measure(name, measure(options), options.json))
        command.add_argument("--json", type=Path, metavar="FILE", help="add the results to FILE")
        for group in groups:
            group(command)
        return command

    text = "time to accuracy against LogisticRegression"
    measuring("accuracy", _accuracy, text, _choice, _ladder, _optimum, _threads)
    measuring("svm", _svm, "time to accuracy against LinearSVC", _choice, _ladder)
    measuring("probabilities", _probabilities, "held-out probabilities of the SVM", _choice)
    text = "test accuracies against published ones"
    command = measuring("published", lambda options: published.measure(options.data), text)
    command.add_argument("--data", type=Path, metavar="FOLDER", required=True, help="folder with the data")
    measuring("small", lambda options: small.measure(), "default fits of the bundled data")
    measuring("evaluation", _evaluation, "one evaluation against its bare products", _source, _threads)
    measuring("threads", _precisions, "fits with one core and with all", _choice)
    command = measuring("memory", _memory, "memory that fits take beyond X")
    command.add_argument("--samples", type=int, default=20_000, help="smallest number of samples (20000)")
    command.add_argument("--gigabytes", type=float, default=1.0, help="size of the mapped file (1)")
    measuring("growth", lambda options: growth.measure(), "time of an evaluation against size")
    _add_reports(commands)
    return parser


def _add_reports(commands: Any) -> None:
    """The commands that show results."""
    text = "results as markdown"
    command = commands.add_parser("report", help=text, description=text)
    command.set_defaults(run=_report)
    command.add_argument("json", type=Path, help="file of results")
    command.add_argument("--output", type=Path, metavar="FILE", help="file to write instead of printing")
    command.add_argument(
        "--note", action="append", default=[], help="what is to be known of the measurement; may be repeated"
    )
    text = "relative error against time"
    command = commands.add_parser("picture", help=text, description=text)
    command.set_defaults(run=_picture)
    command.add_argument("json", type=Path, help="file of results")
    command.add_argument("light", type=Path, help="file for light backgrounds, .svg or .png")
    command.add_argument("dark", type=Path, help="file for dark backgrounds, .svg or .png")
    command.add_argument(
        "--panels", nargs="+", default=[], metavar="DATA:C:SCALING", help="up to four, such as digits:1:raw"
    )


def _source(parser: argparse.ArgumentParser) -> None:
    """Options that say where data sets come from."""
    parser.add_argument("--quick", action="store_true", help="small data sets, for two minutes in all")
    parser.add_argument("--data", type=Path, metavar="FOLDER", help="folder with further data sets")


def _choice(parser: argparse.ArgumentParser) -> None:
    """Options that choose data sets."""
    _source(parser)
    parser.add_argument("--only", nargs="+", metavar="NAME", help="these data sets and no others")


def _ladder(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--limit", type=float, help="most predicted seconds of one fit (60; quick: 0.1)")


def _optimum(parser: argparse.ArgumentParser) -> None:
    """Options of the search for the optimum."""
    parser.add_argument(
        "--optimum-limit", type=float, default=600, help="most seconds of each solve for the optimum (600)"
    )
    parser.add_argument("--cache", type=Path, default=CACHE, help="folder for optima (benchmarks/.cache)")


def _threads(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--threads", type=int, nargs="+", help="thread counts (1 and all cores; quick: 1)")


def _measure(section: str, entries: Iterable[Entry], file: Path | None) -> None:
    """Run a command: save each entry as soon as it is measured, then show all entries."""
    shown = []
    for entry in entries:
        shown.append(entry)
        if file:
            results.save(file, section, entry)
    title, render = report.SECTIONS[section]
    print(f"\n{title}\n\n{render(shown)}")


def _chosen(options: argparse.Namespace) -> Iterator[Dataset]:
    """The data sets, loaded one by one."""
    available = loaders(options.data, options.quick)
    names = options.only or list(available)
    if unknown := set(names) - set(available):
        raise SystemExit(f"No data set {', '.join(sorted(unknown))}; there are {', '.join(available)}.")
    for name in names:
        data = available[name]()
        print(f"\n{data.name}: {data.shape}", flush=True)
        yield data


def _limit(options: argparse.Namespace) -> float:
    return options.limit or (0.1 if options.quick else 60.0)


def _thread_counts(options: argparse.Namespace) -> tuple[int, ...]:
    return tuple(options.threads or ([1] if options.quick else sorted({1, n_cores()})))


def _accuracy(options: argparse.Namespace) -> Iterator[Entry]:
    ladder = accuracy.Options(_limit(options), options.optimum_limit, _thread_counts(options), options.cache)
    for data in _chosen(options):
        for entry in accuracy.measure(data, ladder):
            print(_times(entry), flush=True)
            yield entry


def _svm(options: argparse.Namespace) -> Iterator[Entry]:
    strengths = (1.0,) if options.quick else accuracy.STRENGTHS
    for data in _chosen(options):
        for entry in svm.measure(data, _limit(options), strengths):
            print(f"  {entry['problem']}\n{_times(entry)}", flush=True)
            yield entry


def _probabilities(options: argparse.Namespace) -> Iterator[Entry]:
    available = loaders(options.data, options.quick)
    options.only = options.only or [name for name in available if name in probabilities.DATASETS]
    for data in _chosen(options):
        yield from probabilities.measure(data, options.quick)


def _evaluation(options: argparse.Namespace) -> Iterator[Entry]:
    for data in evaluation.cases(options.data, options.quick):
        for count in _thread_counts(options):
            yield evaluation.measure(data, count)


def _precisions(options: argparse.Namespace) -> Iterator[Entry]:
    for data in _chosen(options):
        yield from threads.measure(data)


def _memory(options: argparse.Namespace) -> Iterator[Entry]:
    yield from memory.measure(options.samples)
    yield memory.measure_mapped(options.gigabytes)


def _times(entry: Entry) -> str:
    """One line for each solver: times to the targets, and why its climb ended."""
    lines = [f"  C = {entry['C']:g}, {entry['scaling']}, threads = {entry['threads']}"]
    for name, solver in entry["solvers"].items():
        times = [time_to(target, solver) for target in TARGETS]
        words = "   ".join(f"{time.sign + seconds(time.value):>9}" for time in times)
        lines.append(f"    {name:23} {words}   {solver['end']}")
    return "\n".join(lines)


def _report(options: argparse.Namespace) -> None:
    text = report.markdown(results.load(options.json), options.note)
    if options.output:
        options.output.write_text(text)
    else:
        print(text)


def _picture(options: argparse.Namespace) -> None:
    chosen = picture.panels(results.load(options.json)["sections"]["accuracy"], options.panels)
    picture.draw(chosen, options.light, picture.LIGHT)
    picture.draw(chosen, options.dark, picture.DARK)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
