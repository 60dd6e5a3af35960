"""How far a fit is: lines on standard output, and tasks for scikit-learn's callbacks.

Knows sklearn.callback, which scikit-learn has from 1.9 on and may still change: nothing else here uses it.
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
        """Nothing: before scikit-learn 1.9 there are no callbacks."""

    def with_callbacks(method: Method) -> Method:
        """The method as it is."""
        return method


def tearing_down(method: Method) -> Method:
    """`with_callbacks`, with types: callbacks that the method has set up are torn down however it ends."""
    managed: Method = with_callbacks(method)
    return managed


@contextmanager
def reporting(
    estimator: Any, X: Any, y: Any, sample_weight: Any, attributes: Callable[[Result], dict[str, Any]]
) -> Iterator[tuple[Reporter, ...]]:
    """Reporters of a fit, for what the estimator's `verbose` and callbacks ask: none costs nothing.

    Parameters
    ----------
    estimator : estimator
        The one that is being fitted; it is to be fitted at the end of the context.
    X, y, sample_weight : as `fit` got them
    attributes : callable
        Makes of a result the attributes of the estimator, had the fit ended with it.
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
        """Nothing is printed before there is something to say."""

    def end(self, progress: Progress, result: Callable[[], Result]) -> bool:
        """Print the iteration."""
        if self._verbose > 1:
            self._print(f"iteration {progress.n_iter}", progress)
        return False

    def milestone(self, kind: str, progress: Progress, detail: str) -> None:
        """Print the milestone, with its number among those of its kind, and the iterations so far."""
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
    """Tells the callbacks of an estimator of its fit, and of each iteration in it, as tasks.

    Parameters
    ----------
    estimator : estimator
        The one that is being fitted.
    data : dict
        What callbacks are told of the data: ``"X"``, ``"y"`` and ``"metadata"``.
    attributes : callable
        Makes of a result the attributes of the estimator, had the fit ended with it. Called only where a
        callback asks for the fitted estimator.
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
        """Begin a task, unless the last one came to nothing and goes on with other curvature."""
        if self._iteration is None:
            self._iteration = self._fit.subcontext(task_name="iteration")
            self._call(self._iteration.call_on_fit_task_begin, result)

    def end(self, progress: Progress, result: Callable[[], Result]) -> bool:
        """End the task. Returns whether a callback asks to stop."""
        task, self._iteration = self._iteration, None
        return self._call(task.call_on_fit_task_end, result)

    def milestone(self, kind: str, progress: Progress, detail: str) -> None:
        """Callbacks learn of iterations alone."""

    def close(self) -> None:
        """End what has begun, the estimator being fitted."""
        if self._iteration is not None:
            self._iteration.call_on_fit_task_end(**self._data)
        self._fit.call_on_fit_task_end(**self._data, reconstruction_attributes={})

    def _call(self, hook: Callable[..., Any], result: Callable[[], Result]) -> bool:
        """Call a hook inside the solver; an attribute costs something only where a callback asks for it."""
        try:
            return bool(hook(**self._data, reconstruction_attributes=lambda: self._attributes(result())))
        except StopIteration as error:
            # To scipy, on the way up, it would be no error but the end of a stage.
            raise RuntimeError("A callback raised StopIteration; to stop the fit, return True.") from error
