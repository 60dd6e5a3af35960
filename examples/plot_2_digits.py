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
# Blue weights vote for a class, red ones against it. The templates of all classes sum to zero at
# each pixel: the penalty leaves no reason to raise or lower all scores together.


def draw_templates(coef, name):
    """One image for each class, all on the same scale."""
    fig, axes = plt.subplots(2, 5, figsize=(8, 3.6), layout="constrained")
    largest = np.abs(coef).max()
    for k, ax in enumerate(axes.flat):
        ax.imshow(coef[k].reshape(8, 8), cmap="RdBu", vmin=-largest, vmax=largest)
        ax.set_title(str(k), fontsize="medium")
        ax.set(xticks=[], yticks=[])
    fig.suptitle(name)
    plt.show()


softmax = models["SoftmaxClassifier", 1e-3]
assert np.abs(softmax.coef_.sum(axis=0)).max() < 1e-12
draw_templates(softmax.coef_, "SoftmaxClassifier, C = 0.001")

# %%
# The hinge stops looking at a digit once it is classified with the margin to spare, so its
# templates are made of fewer, harder cases.

svm = models["MulticlassSVMClassifier", 1e-3]
draw_templates(svm.coef_, "MulticlassSVMClassifier, C = 0.001")

# %%
# With a weak penalty the same model draws on single pixels. It makes no mistake on the training
# half, and more on the test half.

loose = models["MulticlassSVMClassifier", 1.0]
draw_templates(loose.coef_, "MulticlassSVMClassifier, C = 1")
assert loose.score(X_train, y_train) > svm.score(X_train, y_train)
assert loose.score(X_test, y_test) < svm.score(X_test, y_test)

# %%
# The digits that the SVM is least sure of, by the lead of the best class over the second.

ranked = np.sort(svm.decision_function(X_test), axis=1)
unsure = np.argsort(ranked[:, -1] - ranked[:, -2])[:10]
predicted = svm.predict(X_test)
fig, axes = plt.subplots(2, 5, figsize=(8, 4), layout="constrained")
for k, ax in zip(unsure, axes.flat, strict=True):
    ax.imshow(X_test[k].reshape(8, 8), cmap="gray_r")
    ax.set_title(f"{y_test[k]}, seen as {predicted[k]}", fontsize="small")
    ax.set(xticks=[], yticks=[])
plt.show()
