"""
What a linear classifier looks for in a digit
=============================================

Each class has one weight for each pixel. Drawn as an image, these weights are a template: the score
of a class is large where an image is bright at positive weights and dark at negative ones. The data
are the 8 x 8 digits that come with scikit-learn, raw grey values from 0 to 16.
"""

# %%
import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from sk_linear_losses import MulticlassSVMClassifier, SoftmaxClassifier
from sk_linear_losses.display import CoefficientsDisplay

X, y = load_digits(return_X_y=True)
X_train, X_test, y_train, y_test = train_test_split(X, y, test_size=0.5, random_state=0, stratify=y)

# %%
# Both classifiers on one half of the digits, tested on the other. The grey values are large and the
# classes easy to separate, so small values of `C`, which are strong penalties, do well here.

models = {}
for C in (1.0, 1e-1, 1e-2, 1e-3, 1e-4):
    for model in (SoftmaxClassifier(C=C), MulticlassSVMClassifier(C=C)):
        model.fit(X_train, y_train)
        models[type(model).__name__, C] = model
        print(
            f"{type(model).__name__:24} C = {C:<6g} {model.score(X_train, y_train):.3f} right in training, "
            f"{model.score(X_test, y_test):.3f} in the test; gap {model.duality_gap_ / model.objective_:.0e}"
        )

# %%
# The weaker the penalty, the better the fit to the training half, up to no mistake at all. On the
# test half a stronger penalty does best. The best strength is not the same for both losses.
#
# Templates
# ---------
#
# Red weights vote for a class, blue ones against it. With a strong penalty the softmax weighs
# every digit a little, and its templates can be read: that of the zero is a ring around a hole.

softmax = models["SoftmaxClassifier", 1e-4]
CoefficientsDisplay.from_estimator(softmax, image_shape=(8, 8))
plt.show()

# %%
# The hinge ignores a digit once it is classified with the margin to spare. Its templates, here of
# ``MulticlassSVMClassifier(C=0.001)``, are therefore made of fewer, harder cases, and of single
# pixels that distinguish these.

svm = models["MulticlassSVMClassifier", 1e-3]
CoefficientsDisplay.from_estimator(svm, image_shape=(8, 8))
plt.show()

# %%
# At each pixel the templates of all classes sum to zero: the penalty leaves no reason to raise or
# lower all scores together. How many of the training digits have any pull on the SVM? Those that lead
# by more than the margin of 1 have none.

ranked = np.sort(svm.decision_function(X_train), axis=1)
satisfied = (svm.predict(X_train) == y_train) & (ranked[:, -1] - ranked[:, -2] > 1 + 1e-6)
print(f"{(~satisfied).sum()} of {len(X_train)} digits have a pull")
assert np.abs(svm.coef_.sum(axis=0)).max() < 1e-12

# %%
# Hard cases
# ----------
#
# These are the digits of which the SVM is least sure, by the lead of the best class over the second.
# It still gets most of them right.

ranked = np.sort(svm.decision_function(X_test), axis=1)
unsure = np.argsort(ranked[:, -1] - ranked[:, -2])[:10]
predicted = svm.predict(X_test)
print(f"{(predicted[unsure] == y_test[unsure]).sum()} of these {len(unsure)} are right")
_, axes = plt.subplots(2, 5, figsize=(8, 3.8), layout="compressed")
for k, ax in zip(unsure, axes.flat, strict=True):
    ax.imshow(X_test[k].reshape(8, 8), cmap="gray_r")
    ax.set_title(f"{y_test[k]}, seen as {predicted[k]}", fontsize="small")
    ax.set(xticks=[], yticks=[])
plt.show()
