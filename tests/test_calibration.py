"""Probabilities of the SVM: scores that samples would have if left out, and the temperature from these."""

from functools import partial

import numpy as np
import pytest
import scipy.sparse as sp
from scipy.special import softmax
from sklearn.datasets import load_breast_cancer, load_digits, load_iris, load_wine
from sklearn.metrics import log_loss
from sklearn.model_selection import StratifiedKFold, cross_val_predict, train_test_split
from sklearn.preprocessing import StandardScaler, normalize

from sk_linear_losses import MulticlassSVMClassifier, SoftmaxClassifier, _calibration, _cost, _numerics
from sk_linear_losses._preconditioner import precondition_by_class
from sk_linear_losses.losses import CrammerSingerLoss, SoftmaxLoss, WestonWatkinsLoss

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
each_estimator = pytest.mark.parametrize(
    "estimator", [SoftmaxClassifier(), MulticlassSVMClassifier()], ids=["softmax", "svm"]
)


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


def one_hot(n_samples, sizes):
    """One-hot columns of some factors, and classes that depend on the levels."""
    rng = np.random.default_rng(0)
    levels = [rng.integers(size, size=n_samples) for size in sizes]
    scores = sum(rng.normal(size=(size, 3))[level] for size, level in zip(sizes, levels, strict=True))
    y = (scores + rng.gumbel(size=scores.shape)).argmax(axis=1)
    return np.hstack([np.eye(size)[level] for size, level in zip(sizes, levels, strict=True)]), y


def least_log_loss(model, X, y):
    """The held-out loss at the temperature that is best for the scores."""
    scores = model.decision_function(X)
    return min(log_loss(y, softmax(scores / T, axis=1)) for T in np.geomspace(1e-5, 100, 300))


def fit_and_left_out(X, y):
    """A model, the scores that its samples would have if left out, and their classes."""
    found = []
    original = _calibration._left_out_scores

    def record(*args):
        found.append(original(*args))
        return found[-1]

    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(_calibration, "_left_out_scores", record)
        model = MulticlassSVMClassifier(C=0.3, loss="squared_hinge").fit(X, y)
    return model, *found[0][:2]


def test_left_out_scores_are_those_of_fits_with_the_others_of_the_class_in_its_place():
    X, y = overlapping()
    model, scores, _ = fit_and_left_out(X, y)
    # Losses see scores less that of the last class; the scores of the model sum to zero.
    shifts = scores - scores.mean(axis=1, keepdims=True) - model.decision_function(X)
    refits = np.empty_like(shifts)
    counts = np.bincount(y)
    for i in range(len(y)):
        weight = np.where(y == y[i], counts[y[i]] / (counts[y[i]] - 1), 1.0)
        weight[i] = 0
        without = MulticlassSVMClassifier(C=0.3, loss="squared_hinge").fit(X, y, weight)
        refits[i] = (without.decision_function(X[[i]]) - model.decision_function(X[[i]]))[0]
    assert np.abs(refits).max() > 0.1
    assert np.linalg.norm(shifts - refits) <= 0.05 * np.linalg.norm(refits)


@pytest.mark.parametrize("loss", ["hinge", "squared_hinge"])
@pytest.mark.parametrize("C", [1e-5, 1e-4, 1e-3])
def test_classes_of_one_size_and_little_C(C, loss):
    """If a sample left out made its class lighter, the class's intercept would fall below all others."""
    X_train, X_test, y_train, y_test = train_test_split(
        *load_iris(return_X_y=True), test_size=60, random_state=0, stratify=load_iris().target
    )
    model = MulticlassSVMClassifier(C=C, loss=loss).fit(X_train, y_train)
    least = least_log_loss(model, X_test, y_test)
    assert log_loss(y_test, model.predict_proba(X_test)) <= 1.1 * least
    assert least <= 0.6


@pytest.mark.parametrize("C", [0.1, 0.2, 0.3, 1.0])
def test_no_feature_is_worth_a_coefficient(C):
    """At the optimum the intercept alone predicts the larger class, and most multipliers are round-off."""
    rng = np.random.default_rng(4)
    X = rng.normal(size=(6000, 10))
    y = 1.5 * X[:, 0] + rng.logistic(size=6000) > 3.5
    X, y = X[:2000], y[:2000]
    model = MulticlassSVMClassifier(C=C).fit(X, y)
    assert np.abs(model.coef_).max() <= 1e-9
    np.testing.assert_allclose(model.predict_proba(X)[:, 1], y.mean(), rtol=1e-3)


@pytest.mark.parametrize("loss", ["hinge", "squared_hinge"])
@pytest.mark.parametrize("C", [10.0, 1e3, 1e5])
@pytest.mark.parametrize("seed", range(4))
def test_hard_margins_of_more_samples_than_parameters(seed, C, loss):
    """As many samples hold the solution as it has parameters. Log-losses were up to 14 times the least."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(4000, 20))
    y = (X @ rng.normal(size=(20, 3))).argmax(axis=1)
    model = MulticlassSVMClassifier(C, loss=loss).fit(X[:2000], y[:2000])
    least = least_log_loss(model, X[2000:], y[2000:])
    assert log_loss(y[2000:], model.predict_proba(X[2000:])) <= 1.6 * least


def test_features_that_do_not_vary_do_not_count_for_the_temperature():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(245, 7))
    y = (X @ rng.normal(size=(7, 3))).argmax(axis=1)
    without = MulticlassSVMClassifier(500.0).fit(X, y).temperature_
    padded = MulticlassSVMClassifier(500.0).fit(np.hstack([X, np.zeros((245, 40))]), y).temperature_
    assert padded == pytest.approx(without, rel=0.01)


def test_scores_beyond_float64_have_a_temperature():
    scores, y = np.array([[np.nan, 0.0], [0.0, 1.0]]), np.array([0, 1])
    assert _calibration._likeliest(scores, y, np.full(2, 0.5), 0.0, 0.1, 10.0) == 10


def test_no_temperature_is_the_lowest_where_all_samples_are_right_without_themselves():
    """A part of one wrong sample keeps the temperature up, by less the more other samples there are."""
    y = np.arange(40) % 2
    scores = np.column_stack([1.0 - 2 * y, 2.0 * y - 1])
    temperatures = [
        _calibration._likeliest(scores, y, np.full(40, 1 / 40), 0.1 / n_samples, 1e-3, 1e3)
        for n_samples in (40, 400, 4000)
    ]
    assert temperatures == sorted(temperatures, reverse=True)
    # By the softmax, a share of about exp(-2 / T) of the weight is wrong by 2.
    for temperature, n_samples in zip(temperatures, (40, 400, 4000), strict=True):
        assert 2 / (1 + np.exp(2 / temperature)) == pytest.approx(0.1 / n_samples, rel=1e-9)


def test_multipliers_that_are_round_off_do_not_count():
    flows = np.array([1e-17, 1e-16, 1e-15, 0.0, 0.5, 0.4])
    assert _calibration._share_that_holds(WestonWatkinsLoss(), flows, np.ones(6)) == 1
    heavy = np.array([1.0, 1.0, 1e18, 0.0, 1.0, 1.0])
    assert _calibration._share_that_holds(WestonWatkinsLoss(), flows, heavy) == pytest.approx(
        _calibration.LARGEST_MULTIPLIER_RATIO * 1e-15, rel=1e-9, abs=0
    )


def test_classes_of_more_samples_than_are_made_dense_at_a_time():
    rng = np.random.default_rng(0)
    y = np.repeat([0, 1, 2], 1200)
    X = 0.3 * rng.normal(size=(3, 6))[y] + rng.normal(size=(3600, 6))
    models = [MulticlassSVMClassifier(C=C).fit(X, y) for C in (1e-6, 1e-5)]
    # So few samples reach the margin that scores, and with them temperatures, are in proportion to C.
    assert models[1].temperature_ == pytest.approx(10 * models[0].temperature_, rel=1e-2)
    assert models[0].temperature_ < 0.01


def test_the_order_of_classes_does_not_matter():
    rng = np.random.default_rng(2)
    y = np.repeat([0, 1, 2], 20)
    X = np.array([[8.0, 0], [0, 0], [0, 6]])[y] + rng.normal(size=(60, 2))
    orders = ([0, 1, 2], [1, 2, 0], [2, 0, 1])
    found = [MulticlassSVMClassifier(C=1e-3).fit(X, np.array(order)[y]).temperature_ for order in orders]
    assert found == pytest.approx([found[0]] * 3, rel=2e-3)


def test_others_that_hardly_weigh_are_none():
    X, y = overlapping()
    y[:2] = 3
    weight = np.ones(len(y))
    temperatures = []
    for weight[1] in (0, 1e-13):
        temperatures.append(MulticlassSVMClassifier(loss="squared_hinge").fit(X, y, weight).temperature_)
    assert temperatures[1] == pytest.approx(temperatures[0], rel=1e-2)


def test_a_class_of_one_sample_leaves_its_weight_to_none():
    X, y = overlapping()
    y[0] = 3
    _, scores, classes = fit_and_left_out(X, y)
    assert np.isfinite(scores).all()
    assert scores[classes == 3, 3] < scores[classes == 3, :3].max()


def test_of_many_samples_some_are_left_out_as_if_all_were(monkeypatch):
    X, y = overlapping()
    _, scores, _ = fit_and_left_out(X, y)
    monkeypatch.setattr(_calibration, "MOST_SAMPLES", 20)
    _, some, classes = fit_and_left_out(X, y)
    apart = np.abs(some[:, None] - scores).max(axis=2)
    drawn = apart.argmin(axis=1)
    assert len(set(drawn)) == 20
    assert apart.min(axis=1).max() <= 1e-12 * np.abs(scores).max()
    np.testing.assert_array_equal(classes, y[drawn])


def test_many_samples_whose_classes_come_in_turns(monkeypatch):
    """A draw of every second sample would hold one class alone."""
    rng = np.random.default_rng(0)
    y = np.arange(800) % 2
    X = (1 + 3 * y[:, None]) * rng.normal(size=(800, 3)) + y[:, None]
    expected = MulticlassSVMClassifier().fit(X, y).temperature_
    monkeypatch.setattr(_calibration, "MOST_SAMPLES", 400)
    assert MulticlassSVMClassifier().fit(X, y).temperature_ == pytest.approx(expected, rel=0.15)


@pytest.mark.parametrize("loss", ["hinge", "squared_hinge"])
def test_of_many_samples_the_few_errors_are_left_out(loss, monkeypatch):
    """The errors, a few in a thousand, alone determine the temperature."""
    rng = np.random.default_rng(0)
    y = np.arange(6000) % 3
    X = rng.normal(size=(6000, 4)) + 3.5 * np.eye(3, 4)[y]
    model = MulticlassSVMClassifier(loss=loss)
    expected = model.fit(X, y).temperature_
    monkeypatch.setattr(_calibration, "MOST_SAMPLES", 600)
    assert model.fit(X, y).temperature_ == pytest.approx(expected, rel=0.1)


def test_the_same_samples_are_drawn_each_time(monkeypatch):
    monkeypatch.setattr(_calibration, "MOST_SAMPLES", 40)
    first, second = (MulticlassSVMClassifier().fit(*overlapping(300)) for _ in range(2))
    assert first.temperature_ == second.temperature_


def test_kinks_are_spread_the_less_the_more_samples_there_are(monkeypatch):
    """The width is the margin divided by the cube root of the number of samples."""
    widths = []
    original = _calibration._left_out_scores

    def record(objective, *args):
        widths.append(objective.term.width)
        return original(objective, *args)

    monkeypatch.setattr(_calibration, "_left_out_scores", record)
    MulticlassSVMClassifier(margin=2.0).fit(*overlapping(6**3))
    assert widths == [pytest.approx(2 / 6)]


def test_samples_without_weight_are_not_left_out(monkeypatch):
    X, y = overlapping()
    expected = MulticlassSVMClassifier().fit(X, y).temperature_
    monkeypatch.setattr(_calibration, "MOST_SAMPLES", len(y))
    weight = np.tile([0.0, 1.0], len(y))
    found = MulticlassSVMClassifier().fit(np.repeat(X, 2, axis=0), np.repeat(y, 2), weight).temperature_
    assert found == pytest.approx(expected, rel=1e-6)


def test_the_inverse_is_for_few_coefficients_or_much_data(monkeypatch):
    asked = []
    original = _calibration.may_be_inverted

    def record(*arguments):
        asked.append(original(*arguments))
        return asked[-1]

    monkeypatch.setattr(_calibration, "may_be_inverted", record)
    rng = np.random.default_rng(0)
    for n_features in (30, 100):
        X, y = rng.normal(size=(1200, n_features)), np.arange(1200) % 10
        MulticlassSVMClassifier(C=1e-4, loss="squared_hinge").fit(X, y)
    assert asked == [True, False]


@each_variant
@pytest.mark.parametrize("weight", [0.1, 1 / 3, 0.7])
def test_a_weight_of_three_is_a_row_three_times_where_products_are_rounded(weight, parameters):
    """With a multiple of twenty samples, one stands exactly at the end of a share of the weight."""
    X, y = overlapping(40)
    model = MulticlassSVMClassifier(tol=1e-9, class_weight=dict.fromkeys(range(3), weight), **parameters)
    weighted = model.fit(X, y, np.full(40, 3.0)).temperature_
    assert model.fit(np.repeat(X, 3, axis=0), np.repeat(y, 3)).temperature_ == pytest.approx(
        weighted, rel=2e-4
    )


@each_variant
@pytest.mark.parametrize("entry", [1e3, 1e6])
def test_one_outlying_entry_leaves_the_temperature_as_it_is(entry, parameters):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(600, 8))
    y = (2 * X @ rng.normal(size=(8, 3)) + 2 * rng.gumbel(size=(600, 3))).argmax(axis=1)
    model = MulticlassSVMClassifier(**parameters)
    usual = model.fit(X, y).temperature_
    X[5, 3] = entry
    assert model.fit(X, y).temperature_ == pytest.approx(usual, rel=0.15)


def test_few_rows_that_tell_something_have_a_say():
    """97 rows in a hundred have nearly equal scores, smaller than the margin of the others."""
    rng = np.random.default_rng(1)
    y = rng.integers(0, 2, 3000)
    centred = rng.normal(size=(3000, 3))
    tells = np.arange(3000) % 100 < 3
    X = np.where(tells[:, None], 5 * (0.7 * (2 * y - 1)[:, None] + centred), 0.02 * centred)
    model = MulticlassSVMClassifier(0.01, loss="squared_hinge").fit(X[:1000], y[:1000])
    scores = np.column_stack([np.zeros(2000), model.decision_function(X[1000:])])
    least = min(log_loss(y[1000:], softmax(scores / T, axis=1)) for T in np.geomspace(0.03, 100, 100))
    equal = np.log(2)
    assert equal - log_loss(y[1000:], model.predict_proba(X[1000:])) > 0.8 * (equal - least) > 0


@each_variant
@pytest.mark.parametrize("C", [1, 1e3])
def test_samples_that_alone_hold_a_direction_do_not_decide_the_temperature(C, parameters):
    X, y = one_hot(4000, (2, 3, 5, 10, 20, 50))
    model = MulticlassSVMClassifier(C, **parameters).fit(X[::2], y[::2])
    held_out = log_loss(y[1::2], model.predict_proba(X[1::2]))
    assert held_out < 1.1 * least_log_loss(model, X[1::2], y[1::2])


@each_variant
def test_where_the_margin_is_hard_the_temperature_does_not_depend_on_C(parameters):
    rng = np.random.default_rng(0)
    y = np.arange(60) % 3
    X = 3 * rng.normal(size=(60, 200)) + 6 * np.eye(3, 200)[y]
    hard, harder = (MulticlassSVMClassifier(C, **parameters).fit(X, y) for C in (100, 1e6))
    np.testing.assert_allclose(hard.coef_, harder.coef_, rtol=0, atol=1e-4 * np.abs(hard.coef_).max())
    assert harder.temperature_ == pytest.approx(hard.temperature_, rel=5e-3)


@each_variant
@pytest.mark.parametrize("class_weight", [None, {0: 0.5, 1: 0.5, 2: 2.0}])
def test_a_weight_of_two_is_a_row_twice(parameters, class_weight):
    X, y = overlapping()
    times = 1 + np.arange(len(y)) % 3
    model = MulticlassSVMClassifier(class_weight=class_weight, **parameters)
    weighted = model.fit(X, y, times).temperature_
    assert model.fit(np.repeat(X, times, axis=0), np.repeat(y, times)).temperature_ == pytest.approx(
        weighted, rel=1e-12
    )


@each_variant
def test_a_weight_below_one_is_a_part_of_C(parameters):
    """The weight belongs to one row, which is left out as a whole."""
    X, y = overlapping()
    whole = MulticlassSVMClassifier(**parameters).fit(X, y)
    quarters = MulticlassSVMClassifier(C=4, **parameters).fit(X, y, np.full(len(y), 0.25))
    assert quarters.temperature_ == pytest.approx(whole.temperature_, rel=1e-6)


@each_variant
def test_scores_far_smaller_than_the_margin_still_tell_classes_apart(parameters):
    """At a small C all scores are small, and so is the best temperature for them."""
    X_train, X_test, y_train, y_test = halves("digits")
    model = MulticlassSVMClassifier(1e-6, fit_intercept=False, **parameters).fit(X_train, y_train)
    assert np.abs(model.decision_function(X_test)).max() <= 0.2
    found = log_loss(y_test, model.predict_proba(X_test))
    logits = model.predict_log_proba(X_test)
    y_index = np.searchsorted(model.classes_, y_test)
    losses = [SoftmaxLoss().value(logits / factor, y_index).mean() for factor in np.geomspace(0.1, 10, 100)]
    assert found <= 1.02 * min(losses)


@each_variant
@pytest.mark.parametrize("seed", range(5))
def test_round_off_does_not_reach_the_temperature(seed, parameters):
    """With more features than rows a hinge ends with so little smoothing that multipliers lose digits."""
    rng = np.random.default_rng(seed)
    X, y, times = rng.random((15, 30)), np.arange(15) % 3, rng.integers(0, 5, size=15)
    model = MulticlassSVMClassifier(class_weight="balanced", **parameters)
    weighted = model.fit(X, y, times).temperature_
    assert model.fit(np.repeat(X, times, axis=0), np.repeat(y, times)).temperature_ == weighted


def test_temperatures_in_margins_have_four_digits():
    temperature = MulticlassSVMClassifier(C=0.01).fit(*overlapping(300)).temperature_
    assert temperature == float(f"{temperature:.4g}")
    assert temperature != float(f"{temperature:.3g}")


@each_variant
def test_logarithms_are_those_of_the_probabilities(parameters):
    X_train, X_test, y_train, _ = halves("iris")
    model = MulticlassSVMClassifier(C=0.01, **parameters).fit(X_train, y_train)
    logarithms = np.log(model.predict_proba(X_test))
    np.testing.assert_allclose(model.predict_log_proba(X_test), logarithms, rtol=1e-9, atol=1e-12)


@each_variant
@pytest.mark.parametrize("name", LOADERS)
def test_the_most_probable_class_is_predicted(name, parameters):
    X_train, X_test, y_train, _ = halves(name)
    model = MulticlassSVMClassifier(**parameters).fit(X_train, y_train)
    probabilities = model.predict_proba(X_test)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1)
    np.testing.assert_array_equal(model.classes_[probabilities.argmax(axis=1)], model.predict(X_test))


@each_estimator
def test_scores_that_differ_in_the_last_digit_alone_are_told_apart(estimator):
    """Exponentials, and division by a temperature, round such scores to the same probability."""
    X, y = overlapping()
    model = estimator.fit(X, y)
    model.coef_, model.temperature_ = np.zeros((3, 3)), 7.0
    for winner in range(3):
        model.intercept_ = np.where(np.arange(3) == winner, np.nextafter(0.3, 1), 0.3)
        assert model.predict(X[:1]) == model.classes_[winner]
        assert model.predict_proba(X[:1]).argmax() == winner
        assert model.predict_log_proba(X[:1]).argmax() == winner


@each_estimator
def test_the_least_score_above_zero_is_for_the_second_of_two_classes(estimator):
    X, y = overlapping()
    model = estimator.fit(X, y == y[0])
    model.coef_ = np.zeros((1, 3))
    for score, expected in ((5e-324, True), (0.0, False), (-5e-324, False)):
        model.intercept_ = np.array([score])
        assert model.predict(X[:1]) == expected
        assert model.predict_proba(X[:1]).argmax() == expected


@each_variant
@pytest.mark.parametrize("C", [0.01, 1.0])
@pytest.mark.parametrize("name", LOADERS)
def test_held_out_loss_is_near_that_of_refits(name, C, parameters):
    """Refits are for a temperature from 5 folds, six fits in all. wine, with 89 rows, varies most."""
    found, refits = held_out(MulticlassSVMClassifier(C, **parameters), *halves(name))
    assert found <= (1.4 if (name, C) == ("wine", 1.0) else 1.2) * refits
    assert found <= np.log(len(np.unique(LOADERS[name]().target)))


def held_out(model, X_train, X_test, y_train, y_test):
    """Held-out log-loss of the model, and of the model at the best temperature for out-of-fold scores."""
    folds = StratifiedKFold(5, shuffle=True, random_state=0)
    scores = cross_val_predict(model, X_train, y_train, cv=folds, method="decision_function")
    model.fit(X_train, y_train)
    found = log_loss(y_test, model.predict_proba(X_test))
    logits = np.column_stack([-scores / 2, scores / 2]) if scores.ndim == 1 else scores
    y_index = np.searchsorted(model.classes_, y_train)
    temperatures = np.geomspace(0.02, 5, 200)
    losses = [SoftmaxLoss().value(logits / temperature, y_index).mean() for temperature in temperatures]
    model.temperature_ = temperatures[np.argmin(losses)]
    return found, log_loss(y_test, model.predict_proba(X_test))


def documents(n_samples, n_terms=3000, n_classes=12):
    """Normalised counts of terms, with rare terms of each class's own, for more than 4000 coefficients."""
    rng = np.random.default_rng(0)
    y = np.arange(n_samples) % n_classes
    frequency = 1 / (10.0 + np.arange(n_terms))
    frequencies = frequency * np.exp(rng.normal(size=(n_classes, n_terms)))
    frequencies /= frequencies.sum(axis=1, keepdims=True)
    return normalize(sp.csr_array([rng.multinomial(40, frequencies[k]) for k in y]).astype(float)), y


def crowd(n_samples, n_features=110, n_classes=40):
    """Many classes, each one cloud of samples, which overlap, for more than 4000 coefficients."""
    rng = np.random.default_rng(0)
    y = np.arange(n_samples) % n_classes
    centres = rng.normal(size=(n_classes, n_features))
    return centres[y] + 3 * rng.normal(size=(n_samples, n_features)), y


@pytest.mark.parametrize(
    ("make", "n_samples", "loss", "C", "most"),
    [
        (documents, 1200, "squared_hinge", 0.01, 1.2),
        (documents, 1200, "hinge", 1.0, 1.2),
        (crowd, 800, "squared_hinge", 1.0, 1.2),
        (crowd, 800, "hinge", 0.01, 1.2),
        # Ten samples for each of forty classes, a hard margin: spread kinks hold rivals that the loss
        # releases.
        (crowd, 800, "hinge", 1.0, 1.7),
    ],
)
def test_held_out_loss_is_near_that_of_refits_for_many_coefficients(make, n_samples, loss, C, most):
    X, y = make(n_samples)
    parts = train_test_split(X, y, test_size=0.5, random_state=0, stratify=y)
    found, refits = held_out(MulticlassSVMClassifier(C, loss=loss), *parts)
    assert y.max() * min(parts[0].shape) > 4000
    assert found <= most * refits
    assert found <= np.log(y.max() + 1)


@pytest.mark.parametrize("loss", ["hinge", "squared_hinge"])
def test_temperature_from_products_is_near_that_from_the_inverse(loss, monkeypatch):
    X, _, y, _ = halves("digits")
    model = MulticlassSVMClassifier(C=0.01, loss=loss)
    exact = model.fit(X, y).temperature_
    monkeypatch.setattr(_calibration, "may_be_inverted", lambda *arguments: False)
    assert model.fit(X, y).temperature_ == pytest.approx(exact, rel=0.15)


def ill_conditioned(n_samples, n_features):
    """Correlated features in units over four decades, which do not separate the classes."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(n_samples, n_features)) @ rng.normal(size=(n_features, n_features))
    y = (X[:, :4] + 40 * rng.normal(size=(n_samples, 4))).argmax(axis=1)
    return X * 10 ** rng.uniform(-2, 2, n_features), y


@pytest.mark.parametrize("diagonal", [False, True])
@pytest.mark.parametrize(
    ("shape", "summary", "most"), [((800, 100), np.max, 1.01), ((150, 300), np.median, 1.2)]
)
@pytest.mark.parametrize("loss", ["hinge", "squared_hinge"])
def test_products_do_as_well_where_features_are_ill_conditioned(
    loss, shape, summary, most, diagonal, monkeypatch
):
    """The random draws do not matter. They change temperatures much where scores tell little of the classes.

    The classes of 150 samples in 300 dimensions are separated all the same. There some draws also change
    losses much: by factors of 2 to 11.
    """
    X, y = ill_conditioned(shape[0] + 1000, shape[1])
    train, test = np.split(np.arange(len(y)), shape[:1])
    model = MulticlassSVMClassifier(C=1e-5, loss=loss, max_iter=5000).fit(X[train], y[train])
    exact = log_loss(y[test], model.predict_proba(X[test]))
    monkeypatch.setattr(_calibration, "may_be_inverted", lambda *arguments: False)
    if diagonal:
        monkeypatch.setattr(_cost, "MAX_ENTRIES", 0)
    losses = []
    for seed in range(5):
        monkeypatch.setattr(_numerics, "SEED", seed)
        losses.append(log_loss(y[test], model.fit(X[train], y[train]).predict_proba(X[test])))
    assert summary(losses) <= most * exact


@pytest.mark.parametrize(
    ("estimates", "enough"),
    [([], False), ([1.0], False), ([1.0, 1.01], True), ([1.0, 1.05], False), ([1.0, 1.05] * 2, True)],
)
def test_few_vectors_are_enough_for_a_trace_where_they_agree(estimates, enough):
    assert _calibration._agree(estimates) == enough


def test_temperatures_hardly_depend_on_the_order_of_columns_where_vectors_are_cheap(monkeypatch):
    """With no more vectors than agree, the largest temperature was 4.3 times the smallest."""
    monkeypatch.setattr(_calibration, "may_be_inverted", lambda *arguments: False)
    rng = np.random.default_rng(0)
    levels, effects = rng.integers(0, 100, (6, 360)), rng.normal(size=(6, 100))
    X = np.hstack([np.eye(100)[each] for each in levels])
    y = np.take_along_axis(effects, levels, axis=1).sum(axis=0) + rng.logistic(size=360) > 0
    model = MulticlassSVMClassifier(loss="squared_hinge")
    temperatures = [model.fit(X[:, rng.permutation(600)], y).temperature_ for _ in range(6)]
    assert max(temperatures) < 2.5 * min(temperatures)


@pytest.mark.parametrize("make", [lambda: crowd(400), lambda: ill_conditioned(60, 300)])
def test_a_weight_of_two_is_a_row_twice_for_many_coefficients(make, monkeypatch):
    """The fits are solved to the last digit, as the tolerance asks; by default such fits would end before.

    All are made in the coordinates of the features: in others the random signs would be different.
    """
    monkeypatch.setattr(_calibration, "may_be_inverted", lambda *arguments: False)
    X, y = make()
    times = 1 + np.arange(len(y)) % 2
    model = MulticlassSVMClassifier(
        loss="squared_hinge", tol=1e-11, max_iter=2 * _cost.ROTATION_ITERATIONS - 1
    )
    weighted = model.fit(X, y, times).temperature_
    repeated = model.fit(np.repeat(X, times, axis=0), np.repeat(y, times)).temperature_
    assert repeated == pytest.approx(weighted, rel=1e-6)


def test_curvature_of_each_feature_alone_tells_the_temperature_of_correlated_features(monkeypatch):
    """Conjugate gradients stopped as early as with more curvature found a seventh of the temperature."""
    monkeypatch.setattr(_calibration, "may_be_inverted", lambda *arguments: False)
    ratios = []
    for seed in range(3):
        rng = np.random.default_rng(seed)
        X = rng.normal(size=(600, 180)) @ rng.normal(size=(180, 180))
        scores = X @ rng.normal(size=180)
        y = scores + 0.35 * scores.std() * rng.normal(size=600) > 0
        found = []
        for budget in np.inf, 0.0:
            with monkeypatch.context() as patch:
                limited = partial(precondition_by_class, budget=budget)
                patch.setattr(_calibration, "precondition_by_class", lambda *at, take=limited: take(*at[:2]))
                found.append(MulticlassSVMClassifier(loss="squared_hinge").fit(X, y).temperature_)
        ratios.append(found[1] / found[0])
    assert 0.5 < np.exp(np.mean(np.log(ratios))) < 2


@pytest.mark.parametrize("factor", [1e-3, 1.0, 1e4])
@pytest.mark.parametrize("loss", [WestonWatkinsLoss(), WestonWatkinsLoss(squared=True), CrammerSingerLoss()])
def test_what_curvature_keeps_of_a_trace_is_that_of_the_inverse(loss, factor):
    rng = np.random.default_rng(0)
    scores, y = rng.normal(size=(30, 4)), rng.integers(4, size=30)
    curvature = loss._kink_curvature(scores, y, 1.0)
    share = SoftmaxLoss().curvature(scores, y).diagonal
    kept = _calibration._kept(curvature, np.full((30, 1), factor), share)
    for i in range(30):
        diagonal, left, right = (array[i] for array in curvature)
        B = np.diag(diagonal) - (np.outer(left, right) + np.outer(right, left)) / 2
        weight = np.diag(share[i]) - np.outer(share[i], share[i])
        assert kept[i] == pytest.approx(np.trace(weight @ np.linalg.inv(np.eye(4) + factor * B)), rel=1e-8)


@pytest.mark.parametrize("C", [0.01, 1.0])
def test_held_out_loss_is_below_that_of_the_link(C):
    """The squared hinge's own probability of the second class is (1 + f) / 2, clipped."""
    X_train, X_test, y_train, y_test = halves("breast_cancer")
    model = MulticlassSVMClassifier(C, loss="squared_hinge").fit(X_train, y_train)
    link = np.clip((1 + model.decision_function(X_test)) / 2, 1e-3, 1 - 1e-3)
    assert log_loss(y_test, model.predict_proba(X_test)) <= log_loss(y_test, link)


@pytest.mark.parametrize("tol", [0.1, 0.5])
def test_a_rough_fit_without_samples_near_a_kink_has_a_temperature(tol):
    """Without samples near a kink nothing holds the intercept, and the trace has no bound."""
    rng = np.random.default_rng(0)
    X = sp.csr_array(rng.random((1010, 1400)) * (rng.random((1010, 1400)) < 0.004))
    y = rng.integers(0, 2, 1010)
    model = MulticlassSVMClassifier(C=0.01, tol=tol).fit(X, y)
    assert np.isfinite(model.temperature_)
    assert log_loss(y, model.predict_proba(X)) < np.log(2) + 1e-3
