"""
Probabilities of both classifiers
=================================

The softmax is a model of probabilities. The hinge is not: its scores say on which side of a
boundary a sample lies. `MulticlassSVMClassifier.predict_proba` divides them by a temperature before
the softmax. It fits the temperature to the scores that each training sample would have had if it had
been left out; this needs no refitting. How good are the probabilities, on samples that neither classifier
has seen?
"""

# %%
import matplotlib.pyplot as plt
import numpy as np
import scipy.special
from sklearn.datasets import make_classification
from sklearn.metrics import log_loss
from sklearn.model_selection import train_test_split

from sk_linear_losses import MulticlassSVMClassifier, SoftmaxClassifier

X, y = make_classification(
    n_samples=12_000,
    n_features=10,
    n_informative=4,
    n_classes=3,
    n_clusters_per_class=1,
    flip_y=0.05,
    random_state=0,
)
X_train, X_test, y_train, y_test = train_test_split(X, y, train_size=500, random_state=0, stratify=y)
print(f"{len(X_train)} samples to train on, {len(X_test)} to test on")

# %%
# Four sets of probabilities: both losses of the SVM at their fitted temperature, the softmax, and,
# for contrast, the softmax of the hinge's bare scores.

softmax = SoftmaxClassifier().fit(X_train, y_train)
hinge = MulticlassSVMClassifier().fit(X_train, y_train)
squared = MulticlassSVMClassifier(loss="squared_hinge").fit(X_train, y_train)
print(f"fitted temperatures: {hinge.temperature_:.2f} (hinge), {squared.temperature_:.2f} (squared hinge)")

forecasts = {
    "softmax": softmax.predict_proba(X_test),
    "hinge": hinge.predict_proba(X_test),
    "squared hinge": squared.predict_proba(X_test),
    "hinge, bare scores": scipy.special.softmax(hinge.decision_function(X_test), axis=1),
}

# %%
# A reliability diagram: of the predictions made with a confidence near 0.7, are 70 % right? Points
# above the diagonal were too timid, points below it too sure. The expected calibration error is the
# mean distance from the diagonal, over samples; the log-loss also counts how far probabilities tell
# samples apart, and guessing one third each would cost ln 3 = 1.099.


def reliability(probabilities, y, n_bins=12):
    """Mean confidence and share of right predictions of equally many samples, least confident first."""
    confidence, right = probabilities.max(axis=1), probabilities.argmax(axis=1) == y
    bins = np.array_split(np.argsort(confidence), n_bins)
    return np.array([(confidence[chosen].mean(), right[chosen].mean()) for chosen in bins]).T


_, ax = plt.subplots(figsize=(5.6, 5), layout="constrained")
ax.plot([1 / 3, 1], [1 / 3, 1], color="grey", linewidth=0.8, linestyle=":")
for (name, probabilities), marker in zip(forecasts.items(), "os^x", strict=True):
    confidence, right = reliability(probabilities, y_test)
    ax.plot(confidence, right, marker=marker, label=name)
    error = np.abs(confidence - right).mean()
    print(
        f"{name:18}  log-loss {log_loss(y_test, probabilities):.4f}   expected calibration error {error:.4f}"
    )
ax.set(xlabel="confidence", ylabel="share of right predictions", aspect="equal")
ax.legend()
plt.show()

# %%
# One training set proves little; ten training sets of 200 samples each, and the mean log-loss on
# the others:

losses = []
for seed in range(10):
    X_few, X_rest, y_few, y_rest = train_test_split(X, y, train_size=200, random_state=seed, stratify=y)
    losses.append(
        [
            log_loss(y_rest, model.fit(X_few, y_few).predict_proba(X_rest))
            for model in (softmax, hinge, squared)
        ]
    )
for name, mean, spread in zip(forecasts, np.mean(losses, axis=0), np.std(losses, axis=0), strict=False):
    print(f"{name:14}  log-loss {mean:.4f} +- {spread:.4f}")

# %%
# Dividing by the fitted temperature brings the SVM close to the softmax, without a second fit. But
# the temperature is one number for all classes: it makes the scores honest on the whole, not
# everywhere. Where probabilities are what the model is for, take the softmax.
