"""
Data that were never scaled
===========================

The wine data have thirteen measurements in units of their own: proline in the hundreds, the hue
near one. On such columns `LogisticRegression` gives up with its default settings and warns.
`SoftmaxClassifier` minimises the same objective at the same `C`. It does not need scaled columns,
and does not warn.
"""

# %%
import time
import warnings

import matplotlib.pyplot as plt
from sklearn.datasets import load_wine
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sk_linear_losses import SoftmaxClassifier
from sk_linear_losses.display import ConvergenceDisplay
from sk_linear_losses.losses import SoftmaxLoss

X, y = load_wine(return_X_y=True)
for name, spread in zip(load_wine().feature_names, X.std(axis=0), strict=True):
    print(f"{name:30} standard deviation {spread:8.3f}")

# %%
# Both at their defaults
# ----------------------

with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    logistic = LogisticRegression().fit(X, y)
(warning,) = [w for w in caught if issubclass(w.category, ConvergenceWarning)]
print("LogisticRegression warns:", str(warning.message).splitlines()[0])

with warnings.catch_warnings():
    warnings.simplefilter("error")  # a warning would stop the script here
    softmax = SoftmaxClassifier().fit(X, y)


def objective(model):
    """Half the squared norm of the coefficients plus C = 1 times the sum of the losses."""
    loss = SoftmaxLoss().value(X @ model.coef_.T + model.intercept_, y)
    return (model.coef_**2).sum() / 2 + loss.sum()


print(f"LogisticRegression: objective {objective(logistic):.4f} after {logistic.n_iter_[0]} iterations")
print(f"SoftmaxClassifier:  objective {objective(softmax):.4f} after {softmax.n_iter_} iterations")
print(f"proved: no coefficients have an objective below {softmax.objective_ - softmax.duality_gap_:.6f}")
assert objective(softmax) < objective(logistic)

# %%
# How many iterations would it have taken?
# ----------------------------------------
#
# The picture shows the distance to the optimum for `LogisticRegression` at larger and larger
# `max_iter`. For `SoftmaxClassifier` it shows the certified gap of each iteration, from its
# `history_`. The gap is an upper bound of the distance, computed without knowing the optimum. Far
# from the optimum the gap says little and is not computed in each iteration, so the line starts flat.
# Iterations of the two do not cost the same, since `SoftmaxClassifier` uses second derivatives now
# and then, so the times are printed as well. They are those of the machine that built this page.

optimum = SoftmaxClassifier(tol=1e-12).fit(X, y).objective_
budgets, distances = [10, 30, 100, 300, 1000, 3000, 10_000], []
for budget in budgets:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        start = time.perf_counter()
        model = LogisticRegression(max_iter=budget).fit(X, y)
    seconds = time.perf_counter() - start
    distances.append(objective(model) / optimum - 1)
    print(f"LogisticRegression(max_iter={budget:5}): {distances[-1]:.0e} above the optimum, {seconds:.4f} s")
start = time.perf_counter()
SoftmaxClassifier().fit(X, y)
seconds = time.perf_counter() - start
distance = max(softmax.objective_ / optimum - 1, 0)  # rounding may make it negative
print(f"SoftmaxClassifier():                 {distance:.0e} above the optimum, {seconds:.4f} s")

display = ConvergenceDisplay.from_estimator(softmax, name="SoftmaxClassifier, certified")
display.ax_.plot(budgets, distances, marker="o", label="LogisticRegression")
label = "Relative distance from the optimum\n(of SoftmaxClassifier: its certified bound)"
display.ax_.set(xscale="log", ylabel=label)
display.ax_.legend()
plt.show()

# %%
# So is scaling of no use?
# ------------------------
#
# Scaling is no longer needed *to converge*. It still chooses the model: the penalty counts all
# coefficients alike, so a column of small numbers, which needs large coefficients, is penalised more
# than one of large numbers. Scaled and raw columns are two problems with two solutions. Which one predicts
# better is a question for cross-validation.
#
# Nor is the more accurate fit always the one that predicts better: a fit that stops early acts like a
# fit with a stronger penalty. The difference is that `C` says how strong the penalty is.

for name, classifier in {
    "raw columns": SoftmaxClassifier(),
    "standardised": make_pipeline(StandardScaler(), SoftmaxClassifier()),
}.items():
    accuracy = cross_val_score(classifier, X, y, cv=10)
    print(f"{name}: accuracy {accuracy.mean():.3f} +- {accuracy.std():.3f}")
