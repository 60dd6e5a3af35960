"""Threads that share the work of a fit, and BLAS, which is limited to one thread meanwhile.

Knows threadpoolctl. Knows nothing of what the work is.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from functools import cache, cached_property
from typing import Any, TypeVar

from threadpoolctl import OpenBLASController, ThreadpoolController

Item = TypeVar("Item")
T = TypeVar("T")


class Workers:
    """Threads that share work; if there is only one, the work is done in the calling thread."""

    def __init__(self, n_threads: int) -> None:
        self.n_threads = n_threads

    def share_out(self, function: Callable[[Item], T], items: Iterable[Item]) -> Iterator[T]:
        """The results of `function` for each item, in order; the threads share the items.

        Results are made as they are taken: at most one more of them than there are threads is pending at a
        time. `function` must not share out anything itself: threads would wait for each other.
        """
        if self.n_threads == 1:
            yield from map(function, items)
            return
        waiting: deque[Future[T]] = deque()

        def first() -> T:
            result = waiting[0].result()
            waiting.popleft()
            return result

        try:
            for item in items:
                waiting.append(self._pool.submit(function, item))
                if len(waiting) > self.n_threads:
                    yield first()
            while waiting:
                yield first()
        finally:
            # After an error or an interrupt, or if no more results are taken, nothing may go on running.
            wait(waiting)

    @cached_property
    def _pool(self) -> ThreadPoolExecutor:
        """A pool whose threads end when it is no longer referenced; its owner cannot be deep-copied."""
        return ThreadPoolExecutor(self.n_threads)


class _SingleThreadedBlas:
    """One BLAS thread while at least one fit is running; nested and concurrent fits are counted."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._fits = 0
        self._limiter: Any = None
        self._n_threads = 0

    def __enter__(self) -> None:
        with self._lock:
            if self._fits == 0:
                self._n_threads = _pool_size()
                _let_any_thread_limit()
                self._limiter = _controller().limit(limits=1, user_api="blas")
            self._fits += 1

    def __exit__(self, *exc: object) -> None:
        with self._lock:
            self._fits -= 1
            if self._fits == 0:
                # The last fit to end may be in another thread than the first to begin.
                _let_any_thread_limit()
                self._limiter.restore_original_limits()
                _let_any_thread_limit()

    def n_threads_outside(self) -> int:
        """Number of threads that BLAS would use if no fit were running."""
        with self._lock:
            return self._n_threads if self._fits else _pool_size()


# Multi-threaded BLAS on products this small is up to 20 times slower than one thread.
single_threaded_blas = _SingleThreadedBlas()


def _let_any_thread_limit() -> None:
    """Let any thread limit the pool that all share: newer threadpoolctl reserves that for one thread."""
    if hasattr(OpenBLASController, "clear_controlling_thread"):
        OpenBLASController.clear_controlling_thread(force=True)


@cache
def _controller() -> ThreadpoolController:
    """The thread pools of this process, looked for only once, since that takes milliseconds."""
    return ThreadpoolController()


def _pool_size() -> int:
    """Number of threads that BLAS would use now, under the limits in force."""
    pools = _controller().select(user_api="blas").info()
    return max([pool["num_threads"] for pool in pools], default=1)
