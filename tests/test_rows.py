"""Sums over blocks of rows are the sums over all rows, whatever the storage, block size and threads."""

import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
import pytest
import scipy.sparse as sp
from numpy.testing import assert_allclose, assert_array_equal
from threadpoolctl import threadpool_limits

from sk_linear_losses import _rows, _shifted_rows, _threads
from sk_linear_losses._curvature import weighted_grams
from sk_linear_losses._numerics import generator
from sk_linear_losses._rows import Rows
from sk_linear_losses._shifted_rows import ShiftedRows

from .oracles import COEF, INTEGERS, INTERCEPT, N_CLASSES, N_FEATURES, N_SAMPLES, WEIGHT, Y

pytestmark = pytest.mark.usefixtures("small_blocks")

STORAGES = {
    "C": INTEGERS,
    "F": np.asfortranarray(INTEGERS),
    "strided": np.repeat(INTEGERS, 2, axis=1)[:, ::2],
    "float32": INTEGERS.astype(np.float32),
    "csr": sp.csr_array(INTEGERS),
    "csr-float32": sp.csr_array(INTEGERS.astype(np.float32)),
}
# Scores of the last class are zero, whatever its coefficients.
SCORES = np.column_stack([INTEGERS @ COEF[:, :-1] + INTERCEPT[:-1], np.zeros(N_SAMPLES)])


def all_scores(rows):
    """The scores of all rows, in double precision."""
    scores = rows.map(lambda block: block.scores(COEF[:, :-1], INTERCEPT[:-1]))
    assert {part.dtype for part in scores} == {np.dtype(np.float64)}
    return np.concatenate(scores)


@pytest.fixture(params=STORAGES)
def X(request):
    return STORAGES[request.param]


@pytest.mark.parametrize("n_threads", [1, 2, 3])
class TestRows:
    def test_blocks_hold_each_row_once_in_order(self, X, n_threads):
        rows = Rows(X, Y, WEIGHT, N_CLASSES, n_threads)
        assert rows.workers.n_threads == n_threads
        assert len(rows.blocks) == 6
        assert rows.map(lambda block: block.index) == list(range(6))
        assert_array_equal(np.concatenate(rows.map(lambda block: block.y)), Y)
        assert_array_equal(np.concatenate(rows.map(lambda block: block.weight)), WEIGHT)

    def test_scores(self, X, n_threads):
        rows = Rows(X, Y, WEIGHT, N_CLASSES, n_threads)
        assert_allclose(all_scores(rows), SCORES, rtol=1e-13, atol=1e-13)

    def test_scores_without_coefficients(self, X, n_threads):
        rows = Rows(X, Y, WEIGHT, N_CLASSES, n_threads)
        coef = np.zeros((N_FEATURES, N_CLASSES - 1))
        scores = np.concatenate(rows.map(lambda block: block.scores(coef, INTERCEPT[:-1])))
        assert_array_equal(scores, np.tile(np.append(INTERCEPT[:-1], 0), (N_SAMPLES, 1)))

    def test_class_sums(self, X, n_threads):
        rows = Rows(X, Y, WEIGHT, N_CLASSES, n_threads)
        (total,) = rows.sum(lambda block: (block.class_sums(N_CLASSES),))
        assert total.dtype == np.float64
        assert_allclose(total, INTEGERS.T @ (WEIGHT[:, None] * np.eye(N_CLASSES)[Y]), rtol=1e-13, atol=1e-13)

    @pytest.mark.parametrize("order", ["C", "F"])
    def test_pull_back(self, X, n_threads, order):
        values = np.random.default_rng(2).normal(size=(N_SAMPLES, N_CLASSES))
        rows = Rows(X, Y, WEIGHT, N_CLASSES, n_threads)
        ends = np.cumsum([len(block.y) for block in rows.blocks])
        parts = [np.asarray(part, order=order) for part in np.split(values, ends[:-1])]
        (total,) = rows.sum(lambda block: (block.pull_back(parts[block.index]),))
        assert total.dtype == np.float64
        assert_allclose(total, INTEGERS.T @ values, rtol=1e-12, atol=1e-12)

    def test_squares(self, X, n_threads):
        shift = np.linspace(-2, 2, N_FEATURES)
        rows = Rows(X, Y, WEIGHT, N_CLASSES, n_threads)
        weights = np.column_stack([WEIGHT, np.ones(N_SAMPLES)])
        ends = np.cumsum([len(block.y) for block in rows.blocks])
        parts = np.split(weights, ends[:-1])
        (total,) = rows.sum(lambda block: (block.squares(shift, parts[block.index]),))
        assert_allclose(total, ((INTEGERS - shift) ** 2).T @ weights, rtol=1e-12)

    def test_squared_norms(self, X, n_threads):
        shift, scale = np.linspace(-2, 2, N_FEATURES), np.linspace(0, 3, N_FEATURES)
        rows = Rows(X, Y, WEIGHT, N_CLASSES, n_threads)
        norms = rows.map(lambda block: block.squared_norms(shift, scale))
        expected = ((INTEGERS - shift) * scale) ** 2
        assert_allclose(np.concatenate(norms), expected.sum(axis=1), rtol=1e-12, atol=1e-12)

    def test_centre(self, X, n_threads):
        shift = np.linspace(-2, 2, N_FEATURES)
        rows = Rows(X, Y, WEIGHT, N_CLASSES, n_threads)
        parts = [np.empty((np.count_nonzero(block.weight), N_FEATURES)) for block in rows.blocks]
        rows.map(lambda block: block.centre(np.flatnonzero(block.weight), shift, parts[block.index]))
        assert_allclose(np.concatenate(parts), INTEGERS[WEIGHT > 0] - shift, rtol=1e-13, atol=1e-13)

    def test_sum_adds_each_of_several_results(self, X, n_threads):
        rows = Rows(X, Y, WEIGHT, N_CLASSES, n_threads)
        count, weight, classes = rows.sum(
            lambda block: (len(block.y), block.weight.sum(), np.bincount(block.y, minlength=N_CLASSES))
        )
        assert count == N_SAMPLES
        assert weight == WEIGHT.sum()
        assert_array_equal(classes, np.bincount(Y))

    def test_blocks_are_views(self, X, n_threads):
        for block in Rows(X, Y, WEIGHT, N_CLASSES, n_threads).blocks:
            assert np.shares_memory(block.y, Y)
            assert np.shares_memory(block.weight, WEIGHT)
            if sp.issparse(X):
                assert np.shares_memory(block.X.data, X.data)
                assert np.shares_memory(block.X.indices, X.indices)
            else:
                assert np.shares_memory(block.X, X)

    def test_an_error_in_a_block_is_raised(self, X, n_threads):
        def fail(block):
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            Rows(X, Y, WEIGHT, N_CLASSES, n_threads).map(fail)


def test_64_bit_indices():
    X = STORAGES["csr"].copy()
    X.indices, X.indptr = X.indices.astype(np.int64), X.indptr.astype(np.int64)
    rows = Rows(X, Y, WEIGHT, N_CLASSES, n_threads=1)
    assert_allclose(all_scores(rows), SCORES, rtol=1e-13, atol=1e-13)
    assert all(np.shares_memory(block.X.data, X.data) for block in rows.blocks)


@pytest.mark.parametrize("sparse", [False, True])
def test_empty_rows_and_columns(sparse):
    X = np.zeros((N_SAMPLES, N_FEATURES))
    rows = Rows(sp.csr_array(X) if sparse else X, Y, WEIGHT, N_CLASSES, n_threads=2)
    assert_array_equal(all_scores(rows), np.tile(np.append(INTERCEPT[:-1], 0), (N_SAMPLES, 1)))
    (squares,) = rows.sum(lambda block: (block.squares(np.zeros(N_FEATURES), block.weight[:, None]),))
    assert_array_equal(squares, 0)


def in_a_thread(function):
    """The result of the function in a thread of its own."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(function).result()


class TestSingleThreadedBlas:
    @pytest.fixture(autouse=True)
    def two_threads(self):
        with threadpool_limits(limits=2, user_api="blas"):
            assert _threads._pool_size() == 2
            yield
            assert _threads._pool_size() == 2

    @staticmethod
    def size_within():
        with _threads.single_threaded_blas:
            return _threads._pool_size()

    def test_holds_in_every_thread(self):
        assert self.size_within() == 1
        assert in_a_thread(self.size_within) == 1
        assert self.size_within() == 1

    def test_ends_with_the_last_of_overlapping_fits(self):
        begin, end = _threads.single_threaded_blas.__enter__, _threads.single_threaded_blas.__exit__
        begin()
        in_a_thread(begin)
        end()
        assert _threads._pool_size() == 1
        in_a_thread(end)
        assert _threads._pool_size() == 2


@pytest.mark.parametrize("storage", [np.asarray, sp.csr_array])
@pytest.mark.parametrize("sign", [-1, 1])
def test_largest_magnitude(sign, storage):
    entries = sign * np.abs(INTEGERS)
    rows = Rows(storage(entries), Y, WEIGHT, N_CLASSES, 1)
    assert max(block.largest for block in rows.blocks) == np.abs(INTEGERS).max()


def test_one_thread_serves_little_work(monkeypatch):
    monkeypatch.setattr(_rows, "MIN_WORK_PER_THREAD", INTEGERS.size * N_CLASSES + 1)
    assert Rows(INTEGERS, Y, WEIGHT, N_CLASSES, n_threads=8).workers.n_threads == 1


@pytest.mark.parametrize("n_threads", [4, 64, 1000])
def test_threads_share_the_blocks_evenly(n_threads):
    rows = Rows(INTEGERS, Y, WEIGHT, N_CLASSES, n_threads)
    assert rows.workers.n_threads == min(n_threads, N_SAMPLES)
    assert len(rows.blocks) % rows.workers.n_threads == 0
    assert min(len(block.y) for block in rows.blocks) > 0


@pytest.mark.parametrize("n_threads", [1, 3])
def test_results_come_in_order_and_few_are_made_ahead(n_threads):
    made = []

    def square(number):
        made.append(number)
        return number**2

    rows = Rows(INTEGERS, Y, WEIGHT, N_CLASSES, n_threads)
    assert rows.workers.n_threads == n_threads
    for number, result in enumerate(rows.workers.share_out(square, range(50))):
        assert result == number**2
        assert len(made) <= number + 1 + n_threads
    assert sorted(made) == list(range(50))


def test_items_are_worked_on_side_by_side():
    together = threading.Barrier(2, timeout=60)
    rows = Rows(INTEGERS, Y, WEIGHT, N_CLASSES, n_threads=2)
    threads = list(rows.workers.share_out(lambda item: together.wait() and threading.get_ident(), range(4)))
    assert len(threads) == 4
    assert len(rows.workers._pool._threads) == 2


def test_nothing_goes_on_after_an_error_in_a_thread():
    begun, ended = [], []

    def work(item):
        begun.append(item)
        if item == 0:
            raise ZeroDivisionError
        time.sleep(0.2)
        ended.append(item)

    rows = Rows(INTEGERS, Y, WEIGHT, N_CLASSES, n_threads=2)
    with pytest.raises(ZeroDivisionError):
        list(rows.workers.share_out(work, range(50)))
    assert set(begun) == {0, *ended}
    assert len(begun) <= 3


def test_nothing_goes_on_after_an_interrupt(monkeypatch):
    ended = []

    def work(item):
        time.sleep(0.2)
        ended.append(item)

    def interrupted(future):
        raise KeyboardInterrupt

    monkeypatch.setattr(Future, "result", interrupted)
    rows = Rows(INTEGERS, Y, WEIGHT, N_CLASSES, n_threads=2)
    with pytest.raises(KeyboardInterrupt):
        list(rows.workers.share_out(work, range(50)))
    assert sorted(ended) == [0, 1, 2]


def test_threads_end_with_the_rows():
    before = set(threading.enumerate())
    rows = Rows(INTEGERS, Y, WEIGHT, N_CLASSES, n_threads=2)
    rows.map(lambda block: block.weight.sum())
    started = set(threading.enumerate()) - before
    assert len(started) > 0
    del rows
    for thread in started:
        thread.join(timeout=60)
        assert not thread.is_alive()


def test_sum_has_the_same_bits_each_time():
    values = np.random.default_rng(3).normal(size=N_SAMPLES)
    rows = Rows(INTEGERS, Y, values, N_CLASSES, n_threads=3)
    totals = {float(rows.sum(lambda block: (block.weight.sum(),))[0]) for _ in range(20)}
    assert len(totals) == 1


@pytest.mark.parametrize("n_weightings", [1, 2, 5])
@pytest.mark.parametrize("n_features", [1, 7])
@pytest.mark.parametrize("zeros", [0.0, 0.9, 1.0])
def test_weighted_grams(n_features, n_weightings, zeros):
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(50, n_features))
    weights = rng.normal(size=(50, n_weightings)) * (rng.random((50, n_weightings)) >= zeros)
    before = rows.copy(), weights.copy()
    grams = weighted_grams(rows, weights)
    assert_allclose(grams, np.einsum("ip,ik,iq->kpq", rows, weights, rows), rtol=1e-11, atol=1e-11)
    assert_array_equal(rows, before[0])
    assert_array_equal(weights, before[1])


@pytest.mark.parametrize("storage", [np.asarray, sp.csr_array])
def test_thinned_rows_stand_for_all(storage):
    rng = np.random.default_rng(0)
    n_samples, y = 40_000, np.zeros(40_000, dtype=int)
    y[:1000], y[1000:1005] = 1, 2
    X = rng.normal(size=(n_samples, 2)) + y[:, None]
    weight = rng.uniform(1, 2, n_samples) * (rng.random(n_samples) < 0.5)
    weight[1000:1005] = 1
    rows = Rows(storage(X), y, weight, 3, n_threads=1).thinned(1 / 8, 100)
    kept_y, kept_weight = (
        np.concatenate([getattr(b, name) for b in rows.blocks]) for name in ("y", "weight")
    )
    assert rows.sampled
    assert kept_weight.min() > 0
    counts = np.bincount(y[weight > 0])
    expected = [counts[0] / 8, 100, 5]
    assert_allclose(np.bincount(kept_y), expected, atol=5 * np.sqrt(expected[0]))
    assert np.count_nonzero(kept_y == 2) == 5
    # The tolerance is four standard errors or less.
    (sums,) = rows.sum(lambda block: (block.pull_back(block.weight[:, None]),))
    assert_allclose(sums[:, 0], X.T @ weight, atol=4 * np.sqrt(8 * (weight**2 @ X**2).max()))
    (again,) = rows.thinned(1.0, 0).sum(lambda block: (block.pull_back(block.weight[:, None]),))
    assert_allclose(again, sums, rtol=1e-12)


@pytest.mark.parametrize("seed", [0, 1, 42])
def test_draws_do_not_go_with_data_made_with_a_small_seed(seed):
    """If drawn with the seed of the data, a sample of an eighth could hold one class alone."""
    y = np.random.default_rng(seed).choice(3, 6000, p=[1 / 3] * 3)
    sample = Rows(np.zeros((6000, 1)), y, np.ones(6000), 3, 1).thinned(1 / 8, 10)
    assert np.bincount(sample.y, minlength=3).min() > 200


def test_skipped_random_numbers_are_those_that_come_first():
    assert_array_equal(generator(7).random(5), generator().random(12)[7:])


@pytest.mark.parametrize("stored_as", [np.asarray, sp.csr_array], ids=["dense", "sparse"])
def test_a_shift_is_subtracted_from_products(stored_as, monkeypatch):
    monkeypatch.setattr(_shifted_rows, "GRAM_ENTRIES", 20)
    rng = np.random.default_rng(0)
    stored = rng.normal(size=(7, 12)) * (rng.random((7, 12)) < 0.5)
    shift, directions, values = rng.normal(size=12), rng.normal(size=(12, 3)), rng.normal(size=(7, 2))
    rows, expected = ShiftedRows(stored_as(stored), shift), stored - shift
    assert (len(rows), rows.n_features) == (7, 12)
    assert_allclose(rows.multiply(directions), expected @ directions, rtol=1e-12, atol=1e-12)
    assert_allclose(rows.pull_back(values), expected.T @ values, rtol=1e-12, atol=1e-12)
    assert_allclose(rows.pull_back(values[:, 0]), expected.T @ values[:, 0], rtol=1e-12, atol=1e-12)
    assert_allclose(rows.gram(), expected @ expected.T, rtol=1e-12, atol=1e-12)
    assert_allclose(rows.squares(), (stored**2).sum(axis=1) + shift @ shift, rtol=1e-12)
    assert ShiftedRows(stored_as(stored[:0]), shift).gram().shape == (0, 0)
