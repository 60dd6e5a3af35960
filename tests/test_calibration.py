"""Probabilities of the SVM: scores of samples as if they had been left out, and the temperature from them."""

import numpy as np
import pytest
from sklearn.datasets import load_breast_cancer, load_digits, load_iris, load_wine
from sklearn.metrics import log_loss
from sklearn.model_selection import cross_val_predict, train_test_split
from sklearn.preprocessing import StandardScaler

from sk_linear_losses import MulticlassSVMClassifier, _calibration
from sk_linear_losses.losses import SoftmaxLoss

VARIANTS = {
    "hinge": {},
    "squared": {"loss": "squared_hinge"},
    "crammer-singer": {"multi_class": "crammer_singer"},
}
LOADERS = {
    "iris": load_iris,
    "wine": load_wine,
    "digits": load_digits,
    "breast_cancer": load_breast_cancer,
}
each_variant = pytest.mark.parametrize("parameters", VARIANTS.values(), ids=VARIANTS)


def halves(name):
    """Standardised training and test halves."""
    X, y = LOADERS[name](return_X_y=True)
    X_train, X_test, y_train, y_test = train_test_split(X, y, test_size=0.5, random_state=0, stratify=y)
    scaler = StandardScaler().fit(X_train)
    return scaler.transform(X_train), scaler.transform(X_test), y_train, y_test


def overlapping(n_samples=80):
    """Three classes that overlap, in three features."""
    rng = np.random.default_rng(0)
    y = np.arange(n_samples) % 3
    return rng.normal(size=(n_samples, 3)) + 0.8 * np.eye(3)[y], y


def test_left_out_scores_are_those_of_fits_without_the_sample(monkeypatch):
    X, y = overlapping()
    found = []
    original = _calibration._left_out_scores

    def record(*args):
        found.append(original(*args))
        return found[-1]

    monkeypatch.setattr(_calibration, "_left_out_scores", record)
    model = MulticlassSVMClassifier(C=0.3, loss="squared_hinge").fit(X, y)
    monkeypatch.undo()
    # Scores as losses see them are less those of the last class; those of the model sum to zero.
    scores = found[0][0] - found[0][0].mean(axis=1, keepdims=True)
    shifts = scores - model.decision_function(X)
    refits = np.empty_like(shifts)
    for i in range(len(y)):
        rest = np.arange(len(y)) != i
        without = MulticlassSVMClassifier(C=0.3, loss="squared_hinge").fit(X[rest], y[rest])
        refits[i] = (without.decision_function(X[[i]]) - model.decision_function(X[[i]]))[0]
    assert np.abs(refits).max() > 0.1
    assert np.linalg.norm(shifts - refits) <= 0.05 * np.linalg.norm(refits)


@each_variant
@pytest.mark.parametrize("class_weight", [None, {0: 0.5, 1: 0.5, 2: 2.0}])
def test_a_weight_of_two_is_a_row_twice(parameters, class_weight):
    X, y = overlapping()
    times = 1 + np.arange(len(y)) % 3
    model = MulticlassSVMClassifier(class_weight=class_weight, **parameters)
    weighted = model.fit(X, y, times).temperature_
    assert model.fit(np.repeat(X, times, axis=0), np.repeat(y, times)).temperature_ == pytest.approx(
        weighted, rel=1e-8
    )


def test_multipliers_have_more_digits_than_probabilities_need():
    """With more features than rows coefficients are exact after few steps, and smoothing gets small."""
    rng = np.random.RandomState(42)
    X, y, times = rng.rand(15, 30), rng.randint(0, 3, size=15), rng.randint(0, 5, size=15)
    model = MulticlassSVMClassifier(class_weight="balanced")
    weighted = model.fit(X, y, times).temperature_
    repeated = model.fit(np.repeat(X, times, axis=0), np.repeat(y, times)).temperature_
    assert repeated == pytest.approx(weighted, rel=1e-8)


@each_variant
@pytest.mark.parametrize("name", LOADERS)
def test_ranks_as_predict_does(name, parameters):
    X_train, X_test, y_train, _ = halves(name)
    model = MulticlassSVMClassifier(**parameters).fit(X_train, y_train)
    probabilities = model.predict_proba(X_test)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1)
    np.testing.assert_array_equal(model.classes_[probabilities.argmax(axis=1)], model.predict(X_test))


@each_variant
@pytest.mark.parametrize("C", [0.01, 1.0])
@pytest.mark.parametrize("name", LOADERS)
def test_held_out_loss_is_near_that_of_refits(name, C, parameters):
    """Against a temperature for the scores of 5-fold refits, six fits in all; wine's 89 rows vary most."""
    X_train, X_test, y_train, y_test = halves(name)
    model = MulticlassSVMClassifier(C, **parameters)
    scores = cross_val_predict(model, X_train, y_train, cv=5, method="decision_function")
    model.fit(X_train, y_train)
    found = log_loss(y_test, model.predict_proba(X_test))
    logits = np.column_stack([-scores / 2, scores / 2]) if scores.ndim == 1 else scores
    y_index = np.searchsorted(model.classes_, y_train)
    temperatures = np.geomspace(0.02, 5, 200)
    losses = [SoftmaxLoss().value(logits / temperature, y_index).mean() for temperature in temperatures]
    model.temperature_ = temperatures[np.argmin(losses)]
    assert found <= 1.5 * log_loss(y_test, model.predict_proba(X_test))
    assert found <= np.log(len(model.classes_))


@pytest.mark.parametrize("C", [0.01, 1.0])
def test_held_out_loss_is_below_that_of_the_link(C):
    """The squared hinge's own probability of the second class is (1 + f) / 2, clipped."""
    X_train, X_test, y_train, y_test = halves("breast_cancer")
    model = MulticlassSVMClassifier(C, loss="squared_hinge").fit(X_train, y_train)
    link = np.clip((1 + model.decision_function(X_test)) / 2, 1e-3, 1 - 1e-3)
    assert log_loss(y_test, model.predict_proba(X_test)) <= log_loss(y_test, link)
