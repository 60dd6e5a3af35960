r"""
From scores to a trained classifier
===================================

A lesson on the two losses that lecture 3 of Stanford's course CS231n sets side by side: the
cross-entropy of the softmax and the multiclass hinge. It goes from the scores of one flower to two
trained classifiers on Iris, and every number on the way is computed, first with NumPy alone and
then with this package.
"""

# %%
import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_iris
from sklearn.model_selection import StratifiedKFold, cross_val_score

from sk_linear_losses import MulticlassSVMClassifier, SoftmaxClassifier
from sk_linear_losses.display import ConvergenceDisplay, LossDisplay
from sk_linear_losses.losses import SoftmaxLoss, WestonWatkinsLoss

X, y = load_iris(return_X_y=True)
names = load_iris().target_names
print(X.shape, names)

# %%
# Four features, three scores
# ---------------------------
#
# A linear classifier has one row of weights for each class. The product of that 3 x 4 matrix with
# the four features of a flower, plus one number for each class, gives three scores; the class with
# the largest score is the prediction. Here is a matrix set by hand, and an Iris versicolor, the
# second class.

flower = X[50]
W = np.array(
    [
        [0.2, 0.3, -0.1, 0.0],
        [0.3, 0.1, 0.1, 0.0],
        [0.1, -0.2, 0.0, 0.0],
    ]
)
b = np.zeros(3)
scores = W @ flower + b
print("features", flower)
print("scores  ", scores.round(2))

# %%
# From scores to probabilities
# ----------------------------
#
# The softmax makes the scores positive by the exponential function and divides by the sum, so that
# they add up to one. The target is the vector that puts all probability on the right class,
# "one-hot".


def softmax(scores):
    """Probabilities from scores; subtracting the maximum changes nothing but keeps exp from overflowing."""
    terms = np.exp(scores - scores.max())
    return terms / terms.sum()


def cross_entropy(target, probabilities):
    """Cross-entropy in nats; where the target is zero, nothing is added."""
    counted = target > 0
    return -(target[counted] * np.log(probabilities[counted])).sum()


probabilities = softmax(scores)
target = np.array([0.0, 1.0, 0.0])
print("probabilities", probabilities.round(2))
print("target       ", target)

# %%
# The *cross-entropy* compares the two: :math:`H(t, p) = -\sum_k t_k \ln p_k`. With a one-hot target
# a single term is left, minus the logarithm of the probability of the right class.

rounded = probabilities.round(2)
print(f"cross-entropy of {rounded} against {target}: {cross_entropy(target, rounded):.3f}")
print(f"-ln 0.70 = {-np.log(0.70):.3f}")
assert np.allclose(rounded, [0.26, 0.70, 0.04])
assert np.isclose(cross_entropy(target, rounded), -np.log(0.70))

# %%
# Targets need not be one-hot. The cross-entropy of a distribution with itself is its *entropy*, the
# least that any guess can cost; what a wrong guess costs on top is the Kullback-Leibler divergence.

truth = np.array([0.8, 0.1, 0.1])
guess = np.array([0.2, 0.2, 0.6])
entropy = cross_entropy(truth, truth)
print(f"entropy of {truth}: {entropy:.3f}")
print(f"cross-entropy, guessed as {guess}: {cross_entropy(truth, guess):.3f}")
print(f"Kullback-Leibler divergence: {cross_entropy(truth, guess) - entropy:.3f}")

# %%
# One more with a one-hot target: half of the probability at the right place costs :math:`-\ln 0.5`.

print(f"{cross_entropy(np.array([0.0, 0.0, 1.0]), np.array([0.2, 0.3, 0.5])):.3f}")
assert np.isclose(cross_entropy(np.array([0.0, 0.0, 1.0]), np.array([0.2, 0.3, 0.5])), np.log(2))

# %%
# The example of the course notes: both losses on the same scores
# ---------------------------------------------------------------
#
# Weights, features and intercepts of the notes on linear classification. The third class is right.

W = np.array([[0.01, -0.05, 0.1, 0.05], [0.7, 0.2, 0.05, 0.16], [0.0, -0.45, -0.2, 0.03]])
x = np.array([-15.0, 22.0, -44.0, 56.0])
b = np.array([0.0, 0.2, -0.3])
right = 2
scores = W @ x + b
print("scores", scores.round(2))
assert np.allclose(scores, [-2.85, 0.86, 0.28])

# %%
# The *hinge* asks the right class to lead each wrong class by a margin of 1, and costs what is
# missing: :math:`\sum_{j \ne y} \max(0,\, s_j - s_y + 1)`.

shortfalls = np.maximum(0, scores - scores[right] + 1)
shortfalls[right] = 0
hinge = shortfalls.sum()
print("shortfalls", shortfalls.round(2))
print(f"hinge {hinge:.2f}")

# %%
# The *softmax* loss is the cross-entropy of the probabilities.

probability = softmax(scores)[right]
print(f"probability of the right class {probability:.3f}")
print(f"softmax {-np.log(probability):.2f} nats")

# %%
# Some slides print 0.452 here. That is the same number with the logarithm to base 10:

print(f"-log10({probability:.3f}) = {-np.log10(probability):.3f} = {-np.log(probability):.2f} / ln 10")
assert np.isclose(-np.log10(probability), -np.log(probability) / np.log(10))

# %%
# The base of the logarithm does not change which of two models costs less. It does change all that
# follows. Only with the natural logarithm is the gradient *probabilities minus target*; only with it
# does the check at zero weights give ln K. Next to a penalty, a loss that is 2.3 times smaller is the
# same as a `C` that is 2.3 times smaller.
#
# The package has both losses as functions of arrays of scores, one row for each sample:

softmax_loss, hinge_loss = SoftmaxLoss(), WestonWatkinsLoss()
losses = {"softmax": softmax_loss, "hinge": hinge_loss}
one, label = scores[None, :], np.array([right])
print("hinge  ", hinge_loss.value(one, label).round(2))
print("softmax", softmax_loss.value(one, label).round(2))
assert np.isclose(hinge_loss.value(one, label)[0], hinge)
assert np.isclose(softmax_loss.value(one, label)[0], -np.log(probability))

# %%
# Jiggle the scores
# -----------------
#
# Three samples of the first class. Its score of 10 leads by more than the margin throughout, but by
# less and less.

jiggled = np.array([[10.0, -2.0, 3.0], [10.0, -2.5, 3.4], [10.0, 5.0, 8.5]])
first = np.zeros(3, dtype=int)
hinges, cross_entropies = hinge_loss.value(jiggled, first), softmax_loss.value(jiggled, first)
for row, h, c in zip(jiggled, hinges, cross_entropies, strict=True):
    print(f"scores {row}   hinge {h:.4f}   softmax {c:.6f}")

# %%
# The hinge is indifferent: beyond its margin nothing counts. The softmax is never satisfied: it
# always asks the right class to lead by more. The curves of both losses for one sample of two classes
# show this at a glance; the dotted line is the margin that the hinge asks for.

display = LossDisplay.from_losses(losses, margins=np.linspace(-3, 5, 401))
display.ax_.axvline(1, color="grey", linewidth=0.8, linestyle=":")
plt.show()

# %%
# A check before training: weights near zero
# ------------------------------------------
#
# With tiny random weights all scores are nearly equal. The softmax then gives each of K classes 1/K
# and costs ln K; each of the K - 1 wrong classes falls short by the whole margin of 1, so the hinge
# costs K - 1. A program that prints anything else here has a mistake.

generator = np.random.default_rng(0)
W0 = 1e-4 * generator.standard_normal((3, 4))
print(f"softmax {softmax_loss.value(X @ W0.T, y).mean():.4f}   ln 3 = {np.log(3):.4f}")
print(f"hinge   {hinge_loss.value(X @ W0.T, y).mean():.4f}   3 - 1 = 2")
assert np.isclose(softmax_loss.value(X @ W0.T, y).mean(), np.log(3), atol=1e-2)
assert np.isclose(hinge_loss.value(X @ W0.T, y).mean(), 2, atol=1e-2)

# %%
# A check of the gradient
# -----------------------
#
# The gradient of the mean loss in the weights is a product: the gradients in the scores, one row
# for each sample, times the features. Central differences, :math:`(f(w + h) - f(w - h)) / 2h`, must
# agree with it.


def mean_loss(loss, W):
    """Mean loss over all flowers, and its gradient in W."""
    value, gradient = loss.value_and_gradient(X @ W.T, y)
    return value.mean(), gradient.T @ X / len(X)


def numerical_gradient(loss, W, h=1e-5):
    """Central differences, one weight at a time."""
    gradient = np.empty_like(W)
    for k in np.ndindex(W.shape):
        step = np.zeros_like(W)
        step[k] = h
        gradient[k] = (mean_loss(loss, W + step)[0] - mean_loss(loss, W - step)[0]) / (2 * h)
    return gradient


W1 = 0.1 * generator.standard_normal((3, 4))
for name, loss in losses.items():
    exact, numerical = mean_loss(loss, W1)[1], numerical_gradient(loss, W1)
    error = np.abs(exact - numerical).max() / np.abs(exact).max()
    print(f"{name}: largest relative difference {error:.1e}")
    assert error < 1e-6

# %%
# The loss goes down
# ------------------
#
# This is gradient descent as the course has it: a small step against the gradient, again and again,
# with the penalty :math:`\lambda \sum W^2` added to the mean loss. This package minimises
# :math:`\tfrac12 \|W\|^2 + C \sum_i \text{loss}_i`. If :math:`C = 1 / (2 \lambda n)`, this is the same
# function times the constant :math:`C n`. There are no intercepts here, so that both have the same
# parameters.

lam = 1e-3
C = 1 / (2 * lam * len(X))
models = {
    "softmax": SoftmaxClassifier(C=C, fit_intercept=False).fit(X, y),
    "hinge": MulticlassSVMClassifier(C=C, fit_intercept=False).fit(X, y),
}
_, axes = plt.subplots(1, 2, figsize=(9, 3.8), layout="constrained")
for ax, (name, loss) in zip(axes, losses.items(), strict=True):
    W, descent = np.zeros((3, 4)), []
    at_zero = C * len(X) * mean_loss(loss, W)[0]
    for _step in range(2000):
        W -= 0.01 * (mean_loss(loss, W)[1] + 2 * lam * W)
        descent.append(C * len(X) * (mean_loss(loss, W)[0] + lam * (W**2).sum()))
    model = models[name]
    ax.axhline(model.objective_, color="black", linewidth=1, linestyle=":", label="optimum")
    slow = ConvergenceDisplay({"objective": descent}, name="gradient descent, step 0.01")
    slow.plot(ax, quantity="objective", marker="")
    ConvergenceDisplay.from_estimator(model, quantity="objective", name="this package", ax=ax)
    ax.set(title=name, xscale="log")
    print(
        f"{name}: {at_zero:.2f} at zero weights, {descent[-1]:.2f} after 2000 steps; "
        f"{model.objective_:.4f} by {type(model).__name__} in {model.n_iter_} iterations"
    )
    assert model.objective_ <= min(descent)
axes[0].get_legend().remove()  # one is enough
plt.show()

# %%
# How do we know that the dotted line is the optimum? Each fit proves it: `duality_gap_` bounds from
# above how far the objective can be from the best one. `history_` has this bound for each iteration.
# Far from the optimum it says little; near it, it is about as small as the square of the gradient.

_, ax = plt.subplots(figsize=(6, 3.5), layout="constrained")
for name, model in models.items():
    ConvergenceDisplay.from_estimator(model, name=name, ax=ax)
    print(f"{name}: objective {model.objective_:.6f}, at most {model.duality_gap_:.1e} above the optimum")
    assert model.duality_gap_ <= 1e-6 * model.objective_
plt.show()

# %%
# Two trained classifiers
# -----------------------
#
# With all four features and an intercept for each class, in ten-fold cross-validation:

folds = StratifiedKFold(10, shuffle=True, random_state=0)
for classifier in (SoftmaxClassifier(), MulticlassSVMClassifier()):
    accuracy = cross_val_score(classifier, X, y, cv=folds)
    print(f"{type(classifier).__name__}: accuracy {accuracy.mean():.3f} +- {accuracy.std():.3f}")

# %%
# And on the two petal features, so that the decision regions can be drawn. The boundaries are
# straight lines for both; they differ because the hinge looks at the flowers near the boundary
# alone, the softmax at all of them.

# sphinx_gallery_thumbnail_number = 4
petals = X[:, 2:]
grid = np.meshgrid(np.linspace(0.5, 7.5, 400), np.linspace(-0.2, 2.8, 400))
fig, axes = plt.subplots(1, 2, figsize=(10, 4.2), layout="constrained", sharey=True)
for ax, classifier in zip(axes, (SoftmaxClassifier(), MulticlassSVMClassifier()), strict=True):
    classifier.fit(petals, y)
    regions = classifier.predict(np.column_stack([axis.ravel() for axis in grid])).reshape(400, 400)
    ax.pcolormesh(*grid, regions, cmap="viridis", alpha=0.3, rasterized=True)
    for k, (name, marker) in enumerate(zip(names, "os^", strict=True)):
        color = plt.get_cmap("viridis")(k / 2)
        ax.scatter(*petals[y == k].T, color=color, marker=marker, edgecolor="black", s=28, label=name)
    ax.set(title=type(classifier).__name__, xlabel="petal length (cm)")
    print(f"{type(classifier).__name__}: {(classifier.predict(petals) != y).sum()} of {len(y)} flowers wrong")
axes[0].set_ylabel("petal width (cm)")
axes[0].legend(loc="upper left")
plt.show()
