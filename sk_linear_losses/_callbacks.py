"""Reports of a fit's progress: lines on standard output, and tasks for scikit-learn's callbacks.

Knows sklearn.callback, which scikit-learn has from 1.9 on and may still change: no other module uses it.
Knows the progress that a solve reports. Knows nothing of losses and objectives.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from ._certificate import relative_gap
from ._run import Progress, Reporter, Result

Method = TypeVar("Method", bound=Callable[..., Any])

try:
    from sklearn.callback import CallbackSupportMixin as CallbackSupportMixin
    from sklearn.callback import with_callbacks
except ImportError:

    class CallbackSupportMixin:  # type: ignore[no-redef]
        """An empty stand-in: before scikit-learn 1.9 there are no callbacks."""

    def with_callbacks(method: Method) -> Method:
        """The method, unchanged."""
        return method


def tearing_down(method: Method) -> Method:
    """`with_callbacks` with types: tears down the callbacks that the method has set up, however it ends."""
    managed: Method = with_callbacks(method)
    return managed


@contextmanager
def reporting(
    estimator: Any, X: Any, y: Any, sample_weight: Any, attributes: Callable[[Result], dict[str, Any]]
) -> Iterator[tuple[Reporter, ...]]:
    """The reporters that the estimator's `verbose` and callbacks ask for; without any, reporting is free.

    Parameters
    ----------
    estimator : estimator
        The one that is being fitted. When the context ends, the fit must be complete.
    X, y, sample_weight : as `fit` got them
    attributes : callable
        Returns the attributes that the estimator would have if the fit had ended with a given result.
    """
    lines = (ProgressLines(type(estimator).__name__, estimator.verbose),) if estimator.verbose else ()
    if not hasattr(estimator, "_skl_callbacks"):
        yield lines
        return
    metadata = None if sample_weight is None else {"sample_weight": sample_weight}
    tasks = FitTasks(estimator, {"X": X, "y": y, "metadata": metadata}, attributes)
    yield (*lines, tasks)
    tasks.close()


class ProgressLines:
    """Prints a line for each milestone, and for each iteration as well if `verbose` is above 1."""

    def __init__(self, name: str, verbose: int) -> None:
        self._name = name
        self._verbose = verbose
        self._counts: Counter[str] = Counter()

    def begin(self, result: Callable[[], Result]) -> None:
        """Print nothing: there is no progress yet."""

    def end(self, progress: Progress, result: Callable[[], Result]) -> bool:
        """Print the iteration."""
        if self._verbose > 1:
            self._print(f"iteration {progress.n_iter}", progress)
        return False

    def milestone(self, kind: str, progress: Progress, detail: str) -> None:
        """Print the milestone, its number among those of its kind, and the iterations so far."""
        self._counts[kind] += 1
        iterations = f"{progress.n_iter} iteration{'s' * (progress.n_iter != 1)}"
        self._print(f"{kind} {self._counts[kind]}{detail}, {iterations}", progress)

    def _print(self, step: str, progress: Progress) -> None:
        gap = ""
        if math.isfinite(progress.gap):
            share = relative_gap(progress.objective, progress.gap)
            gap = f" gap {progress.gap:.3g} (relative {share:.2g}),"
        print(f"[{self._name}] {step}: objective {progress.objective:.10g},{gap} {progress.seconds:.3f} s")


class FitTasks:
    """Reports a fit, and each iteration in it, as tasks to the callbacks of the estimator.

    Parameters
    ----------
    estimator : estimator
        The one that is being fitted.
    data : dict
        The data that callbacks are given: ``"X"``, ``"y"`` and ``"metadata"``.
    attributes : callable
        Returns the attributes that the estimator would have if the fit had ended with a given result. Called
        only if a callback asks for the fitted estimator.
    """

    def __init__(
        self, estimator: Any, data: dict[str, Any], attributes: Callable[[Result], dict[str, Any]]
    ) -> None:
        self._data = {"estimator": estimator, **data}
        self._attributes = attributes
        self._iteration: Any = None
        self._fit = estimator._init_callback_context(max_subtasks=int(estimator.max_iter))
        self._fit.call_on_fit_task_begin(**self._data)

    def begin(self, result: Callable[[], Result]) -> None:
        """Begin a task, unless the last iteration made no step: its task goes on, with other curvature."""
        if self._iteration is None:
            self._iteration = self._fit.subcontext(task_name="iteration")
            self._call(self._iteration.call_on_fit_task_begin, result)

    def end(self, progress: Progress, result: Callable[[], Result]) -> bool:
        """End the task. Returns whether a callback asks to stop the fit."""
        task, self._iteration = self._iteration, None
        return self._call(task.call_on_fit_task_end, result)

    def milestone(self, kind: str, progress: Progress, detail: str) -> None:
        """Do nothing: callbacks are told of iterations only."""

    def close(self) -> None:
        """End the tasks that have begun. The estimator is fitted by now."""
        if self._iteration is not None:
            self._iteration.call_on_fit_task_end(**self._data)
        self._fit.call_on_fit_task_end(**self._data, reconstruction_attributes={})

    def _call(self, hook: Callable[..., Any], result: Callable[[], Result]) -> bool:
        """Call a hook inside the solver; attributes are computed only if a callback asks for them."""
        try:
            return bool(hook(**self._data, reconstruction_attributes=lambda: self._attributes(result())))
        except StopIteration as error:
            # If scipy received StopIteration, it would end the stage instead of raising an error.
            raise RuntimeError("A callback raised StopIteration; to stop the fit, return True.") from error
