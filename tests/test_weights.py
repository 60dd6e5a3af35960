"""Weights are repeated rows and parts of C, and class weights are weights of the class's samples."""

import numpy as np
import pytest
import scipy.sparse as sp

from sk_linear_losses import MulticlassSVMClassifier, SoftmaxClassifier

from .oracles import bundled, generated, relative_error

VARIANTS = {
    "softmax": SoftmaxClassifier(),
    "smoothed": SoftmaxClassifier(label_smoothing=0.2),
    "weston_watkins": MulticlassSVMClassifier(),
    "squared": MulticlassSVMClassifier(loss="squared_hinge"),
    "crammer_singer": MulticlassSVMClassifier(multi_class="crammer_singer"),
}
each_variant = pytest.mark.parametrize("model", VARIANTS.values(), ids=VARIANTS)
# The tolerance of scikit-learn's own checks of weights, for fits at default parameters.
TOLERANCE = 1e-7


@pytest.fixture(params=["iris", "wine", "overlapping", "binary", "few_rows"])
def data(request):
    """X and y of small problems, on raw features where they come with scikit-learn."""
    shapes = {"overlapping": (60, 5, 3), "binary": (50, 4, 2), "few_rows": (16, 30, 4)}
    return generated(7, *shapes[request.param]) if request.param in shapes else bundled(request.param)


def fitted(model, X, y, weight=None, **parameters):
    """A new model of the same kind, fitted."""
    return type(model)(**{**model.get_params(), **parameters}).fit(X, y, sample_weight=weight)


def assert_same(found, wanted):
    """Assert that two fits have the same solution."""
    np.testing.assert_allclose(found.objective_, wanted.objective_, rtol=1e-9)
    assert relative_error(found.coef_, wanted.coef_) <= TOLERANCE


@pytest.mark.parametrize("storage", [np.asarray, sp.csr_array])
@each_variant
def test_weights_are_repeated_rows(model, data, storage):
    X, y = data
    times = np.random.default_rng(0).integers(0, 4, len(y))
    times[np.unique(y, return_index=True)[1]] = 1
    weighted = fitted(model, storage(X), y, times)
    assert_same(weighted, fitted(model, storage(np.repeat(X, times, axis=0)), np.repeat(y, times)))


@each_variant
def test_weight_two_everywhere_is_every_row_twice(model, data):
    X, y = data
    twice = fitted(model, np.vstack([X, X]), np.append(y, y))
    assert_same(fitted(model, X, y, np.full(len(y), 2)), twice)


@each_variant
@pytest.mark.parametrize("spoil", [lambda X: 1e6 * X + 1e3, lambda X: np.full_like(X, 9.97e36)])
def test_weight_zero_removes_a_row(spoil, model, data):
    X, y = data
    kept = np.random.default_rng(1).random(len(y)) < 0.7
    kept[np.unique(y, return_index=True)[1]] = True
    # Entries of a row without weight must not matter, however large.
    spoilt = np.where(kept[:, None], X, spoil(X))
    assert_same(fitted(model, spoilt, y, kept.astype(float)), fitted(model, X[kept], y[kept]))


@pytest.mark.parametrize("factor", [1e-6, 0.3, 1e6])
@each_variant
def test_scaling_weights_is_scaling_C(model, data, factor):
    X, y = data
    weight = np.random.default_rng(2).uniform(0.1, 2, len(y))
    scaled = fitted(model, X, y, weight * factor, C=0.1 / factor)
    assert_same(scaled, fitted(model, X, y, weight, C=0.1))


@each_variant
def test_class_weight_is_sample_weight(model, data):
    X, y = data
    weight = np.random.default_rng(3).uniform(0.1, 2, len(y))
    per_class = dict(enumerate(np.linspace(0.2, 3, y.max() + 1)))
    found = fitted(model, X, y, weight, class_weight=per_class)
    assert_same(found, fitted(model, X, y, weight * np.array([per_class[k] for k in y])))


@each_variant
def test_balanced_counts_weights(model, data):
    X, y = data
    weight = np.random.default_rng(4).uniform(0.1, 2, len(y))
    totals = np.bincount(y, weights=weight)
    found = fitted(model, X, y, weight, class_weight="balanced")
    assert_same(found, fitted(model, X, y, weight * (totals.sum() / (len(totals) * totals))[y]))


@each_variant
def test_balanced_with_weights_is_balanced_with_repeated_rows(model, data):
    X, y = data
    times = np.random.default_rng(5).integers(1, 4, len(y))
    found = fitted(model, X, y, times, class_weight="balanced")
    repeated = np.repeat(X, times, axis=0), np.repeat(y, times)
    assert_same(found, fitted(model, *repeated, class_weight="balanced"))


@each_variant
def test_class_weights_missing_from_a_dict_are_one(model):
    X, y = bundled("iris")
    found = fitted(model, X, y, class_weight={1: 2.5})
    assert_same(found, fitted(model, X, y, np.where(y == 1, 2.5, 1)))


def test_maximum_likelihood_does_not_know_the_scale_of_weights():
    X, y = generated(8, 120, 3, 3, noise=2.0)
    weight = np.random.default_rng(0).uniform(0.1, 2, len(y))
    wanted = SoftmaxClassifier(np.inf).fit(X, y, weight)
    for factor in (1e-8, 1e8):
        found = SoftmaxClassifier(np.inf).fit(X, y, weight * factor)
        np.testing.assert_allclose(found.objective_, wanted.objective_ * factor, rtol=1e-9)
        assert relative_error(found.coef_, wanted.coef_) <= TOLERANCE


@each_variant
def test_one_weight_far_above_the_others(model):
    """A heavy row dominates, and the other rows still decide what it leaves open."""
    X, y = generated(9, 40, 3, 3)
    weight = np.ones(len(y))
    weight[5] = 1e6
    found = fitted(model, X, y, weight)
    others = np.delete(X, 5, axis=0), np.delete(y, 5), np.delete(weight, 5)
    split = [
        np.vstack([others[0], X[[5, 5]]]),
        np.append(others[1], y[[5, 5]]),
        np.append(others[2], [4e5, 6e5]),
    ]
    assert_same(found, fitted(model, *split))


@pytest.mark.parametrize("tiny", [5e-324, 1e-308, 1e-250])
@pytest.mark.parametrize(
    "settings",
    [{"loss": "squared_hinge"}, {}, {"multi_class": "crammer_singer"}, {"margin": 1e-9}],
    ids=str,
)
def test_a_weight_that_underflows_is_none(settings, tiny):
    X, y = generated(0, 300, 100, 8)
    weight = np.where(np.arange(300) % 10, 1.0, tiny)
    model = MulticlassSVMClassifier(**settings).fit(X, y, weight)
    reference = MulticlassSVMClassifier(**settings).fit(X, y, np.where(weight < 1, 0, 1))
    assert model.converged_
    assert model.objective_ == pytest.approx(reference.objective_, rel=3e-6)
