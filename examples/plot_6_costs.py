r"""
Mistakes that cost more than others
===================================

Sending home a patient who is getting worse costs more than seeing a healthy one again. The hinge can
take this into account. Let the margin :math:`\Delta_{yj}` be proportional to the cost of predicting
class j if y is right. The hinge then asks for a wide lead over the costly mistakes and a small lead
over the cheap ones, and it bounds the cost of each sample from above.

Here the disease progression of the diabetes data is cut into three classes, and costs are set by
hand. All numbers are means over the same random halves of the data.
"""

# %%
import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_diabetes
from sklearn.metrics import confusion_matrix
from sklearn.model_selection import StratifiedShuffleSplit

from sk_linear_losses import MulticlassSVMClassifier, SoftmaxClassifier

X, progression = load_diabetes(return_X_y=True, scaled=False)
X = (X - X.mean(axis=0)) / X.std(axis=0)
y = np.digitize(progression, np.quantile(progression, [0.5, 0.85]))
N_SPLITS = 15
labels = ["slow", "medium", "fast"]
print("samples of each class:", np.bincount(y))

# Rows are the right class, columns the predicted one.
cost = np.array([[0.0, 1.0, 2.0], [3.0, 0.0, 1.0], [10.0, 4.0, 0.0]])

# %%
# Besides `C`, only the ratios of the margins matter. They are divided by their mean, so that `C` has
# about the same meaning for both SVMs.

margin = cost / cost[~np.eye(3, dtype=bool)].mean()
plain = MulticlassSVMClassifier(C=0.1)
costly = MulticlassSVMClassifier(C=0.1, margin=margin)
softmax = SoftmaxClassifier(C=0.1)


def cheapest(model, X):
    """The class of least expected cost under the model's probabilities."""
    return (model.predict_proba(X) @ cost).argmin(axis=1)


rules = {
    "margin 1": lambda X: plain.predict(X),
    "margin from costs": lambda X: costly.predict(X),
    "margin 1, least expected cost": lambda X: cheapest(plain, X),
    "softmax, least expected cost": lambda X: cheapest(softmax, X),
}

# %%
# The last two rules are the classical remedy: leave the training alone and predict the class whose
# expected cost is least. They need good probabilities; the margins do not need any.

splits = StratifiedShuffleSplit(N_SPLITS, test_size=0.5, random_state=0)
costs, accuracies, confusions = [], [], np.zeros((len(rules), 3, 3))
for train, test in splits.split(X, y):
    for model in (plain, costly, softmax):
        model.fit(X[train], y[train])
    predictions = [rule(X[test]) for rule in rules.values()]
    costs.append([cost[y[test], predicted].mean() for predicted in predictions])
    accuracies.append([(predicted == y[test]).mean() for predicted in predictions])
    confusions += [confusion_matrix(y[test], predicted) for predicted in predictions]
mean_cost = np.mean(costs, axis=0)
for name, mean, accuracy in zip(rules, mean_cost, np.mean(accuracies, axis=0), strict=True):
    print(f"{name:30}  mean cost {mean:.3f}   accuracy {accuracy:.3f}")
saved = np.subtract(*np.transpose(costs)[:2])
print(f"\nmargins from costs save {saved.mean():.3f} +- {saved.std():.3f},")
print(f"in {(saved > 0).sum()} of {N_SPLITS} splits")
assert saved.mean() > 0

# %%
# Where the predictions went, in samples of a test half. With margins from costs hardly any fast
# case is taken for a slow one; the price is paid in cheap mistakes.

_, axes = plt.subplots(1, 4, figsize=(11, 3.6), layout="compressed")
for ax, name, confusion in zip(axes, rules, confusions / N_SPLITS, strict=True):
    ax.imshow(confusion, cmap="Blues", vmin=0, vmax=confusions.max() / N_SPLITS)
    for (row, column), count in np.ndenumerate(confusion):
        shade = "white" if count > 0.6 * confusions.max() / N_SPLITS else "black"
        ax.text(column, row, f"{count:.0f}", ha="center", va="center", color=shade)
    ax.set_title(name.replace(", ", ",\n"), fontsize="medium")
    ax.set_xticks(range(3), labels)
    ax.set_yticks(range(3), labels if ax is axes[0] else [])
    ax.set_xlabel("predicted class")
axes[0].set_ylabel("right class")
plt.show()

# %%
# Margins from costs are much better than margin 1, and they cost nothing in prediction. But on
# these data the classical remedy does better still, both with the softmax and with the SVM's own
# probabilities: where probabilities can be had, decide with them. Margins remain where the costs
# belong to the training itself, for example because only scores or rankings are passed on.

best = list(rules)[int(np.argmin(mean_cost))]
print(f"lowest mean cost: {best}")
