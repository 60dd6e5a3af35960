"""Maximum-likelihood tables that Stata and R print."""

from pathlib import Path

import numpy as np
import pytest

from sk_linear_losses import SoftmaxClassifier

# Stata 11, checked there against R's nnet; as in statsmodels/discrete/tests/results/results_discrete.py.
# Rows: classes 1 to 6 less class 0; columns: log(popul + 0.1), selfLR, age, educ, income, constant.
ANES96 = np.array(
    [
        [-0.01153598, 0.29771435, -0.024945, 0.08249144, 0.00519655, -0.37340167],
        [-0.08875065, 0.39166864, -0.02289784, 0.18104276, 0.04787398, -2.2509132],
        [-0.1059667, 0.57345051, -0.01485121, -0.00715242, 0.05757516, -3.6655835],
        [-0.0915567, 1.2787718, -0.00868135, 0.19982796, 0.08449838, -7.6138431],
        [-0.0932846, 1.3469616, -0.01790407, 0.21693885, 0.08095841, -7.0604782],
        [-0.14088069, 2.0700801, -0.00943265, 0.3219257, 0.10889408, -12.105751],
    ]
)
ANES96_LOG_LIKELIHOOD = -1461.922747312

# W. N. Venables and B. D. Ripley, Modern Applied Statistics with S, `house.mult`: nnet::multinom in R, which
# stops after four to five digits. Rows: Medium and High satisfaction less Low; columns: constant, influence
# Medium and High, Apartment, Atrium, Terrace, contact High.
HOUSING = np.array(
    [
        [-0.4192316, 0.4464003, 0.6649367, -0.4356851, 0.1313663, -0.6665728, 0.3608513],
        [-0.1387453, 0.7348626, 1.6126294, -0.7356261, -0.4079808, -1.4123333, 0.4818236],
    ]
)
HOUSING_LOG_LIKELIHOOD = -1735.041933

# Households by contact (Low, High), type (Tower, Apartment, Atrium, Terrace), influence (Low, Medium, High)
# and satisfaction (Low, Medium, High); the last varies fastest.
HOUSEHOLDS = [
    *(21, 21, 28, 34, 22, 36, 10, 11, 36, 61, 23, 17, 43, 35, 40, 26, 18, 54),
    *(13, 9, 10, 8, 8, 12, 6, 7, 9, 18, 6, 7, 15, 13, 13, 7, 5, 11),
    *(14, 19, 37, 17, 23, 40, 3, 5, 23, 78, 46, 43, 48, 45, 86, 15, 25, 62),
    *(20, 23, 20, 10, 22, 24, 7, 10, 21, 57, 23, 13, 31, 21, 13, 5, 6, 13),
]


@pytest.fixture(scope="module")
def anes96():
    """American National Election Study of 1996: five features and party identification 0 to 6."""
    path = Path(__file__).with_name("anes96.tsv")
    table = np.genfromtxt(path, names=True, deletechars="'", delimiter="\t")
    others = [table[name] for name in ("selfLR", "age", "educ", "income")]
    X = np.column_stack([np.log(table["popul"] + 0.1), *others])
    return X, table["PID"].astype(int)


@pytest.fixture(scope="module")
def housing():
    """Copenhagen housing conditions: six indicators, satisfaction 0 to 2 and the number of households."""
    contact, kind, influence, satisfaction = np.indices((2, 4, 3, 3)).reshape(4, -1)
    indicators = [influence == 1, influence == 2, kind == 1, kind == 2, kind == 3, contact == 1]
    return np.column_stack(indicators).astype(float), satisfaction, np.array(HOUSEHOLDS, dtype=float)


def against_first(parameters):
    """Parameters of the other classes less those of the first."""
    return parameters[1:] - parameters[0]


def test_anes96(anes96):
    X, y = anes96
    assert X.shape == (944, 5)
    model = SoftmaxClassifier(np.inf).fit(X, y)
    np.testing.assert_allclose(against_first(model.coef_), ANES96[:, :-1], rtol=0, atol=1e-6)
    np.testing.assert_allclose(against_first(model.intercept_), ANES96[:, -1], rtol=0, atol=1e-6)
    np.testing.assert_allclose(-model.objective_, ANES96_LOG_LIKELIHOOD, rtol=0, atol=1e-6)
    own = model.predict_log_proba(X)[np.arange(len(y)), y].sum()
    np.testing.assert_allclose(own, ANES96_LOG_LIKELIHOOD, rtol=0, atol=1e-6)


def test_anes96_in_other_units(anes96):
    X, y = anes96
    units, origin = np.array([1e6, 1e-6, 1e3, 1e-3, 1.0]), np.array([0, 0, 1e4, 1, -5])
    model = SoftmaxClassifier(np.inf).fit(X * units + origin, y)
    np.testing.assert_allclose(against_first(model.coef_) * units, ANES96[:, :-1], rtol=0, atol=1e-6)
    np.testing.assert_allclose(-model.objective_, ANES96_LOG_LIKELIHOOD, rtol=0, atol=1e-6)


def test_housing_with_frequency_weights(housing):
    X, y, households = housing
    assert households.sum() == 1681
    model = SoftmaxClassifier(np.inf).fit(X, y, sample_weight=households)
    np.testing.assert_allclose(against_first(model.coef_), HOUSING[:, 1:], rtol=0, atol=1e-4)
    np.testing.assert_allclose(against_first(model.intercept_), HOUSING[:, 0], rtol=0, atol=1e-4)
    np.testing.assert_allclose(-model.objective_, HOUSING_LOG_LIKELIHOOD, rtol=0, atol=1e-5)


def test_housing_with_a_row_for_each_household(housing):
    X, y, households = housing
    repeat = np.repeat(np.arange(len(y)), households.astype(int))
    model = SoftmaxClassifier(np.inf).fit(X[repeat], y[repeat])
    np.testing.assert_allclose(against_first(model.coef_), HOUSING[:, 1:], rtol=0, atol=1e-4)
    np.testing.assert_allclose(-model.objective_, HOUSING_LOG_LIKELIHOOD, rtol=0, atol=1e-5)


def test_housing_table_is_the_published_one(housing):
    """Marginal sums, to check by eye against R's `xtabs(Freq ~ Sat, MASS::housing)`."""
    _, y, households = housing
    np.testing.assert_array_equal(np.bincount(y, weights=households), [567, 446, 668])
