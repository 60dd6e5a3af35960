"""Types as a user's strict mypy sees them: programs that it accepts, and mistakes that it finds."""

import re
import subprocess
import sys

import pytest

ACCEPTED = """
import numpy as np
import numpy.typing as npt
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sk_linear_losses import MulticlassSVMClassifier, SoftmaxClassifier, __version__
from sk_linear_losses.losses import CrammerSingerLoss, SoftmaxLoss, WestonWatkinsLoss

rng = np.random.default_rng(0)
X: npt.NDArray[np.float64] = rng.normal(size=(60, 4))
y: list[str] = ["ant", "bee", "cat"] * 20

softmax: SoftmaxClassifier = SoftmaxClassifier(C=10, class_weight={"ant": 2.0}, n_jobs=1).fit(X, y)
hinge = MulticlassSVMClassifier(margin=np.ones((3, 3)), class_weight="balanced").fit(X, y, np.ones(60))
gap: float = softmax.duality_gap_ / softmax.objective_
last: float = hinge.history_["gap"][-1]
converged: bool = hinge.converged_
shapes: list[tuple[int, ...]] = [softmax.coef_.shape, hinge.intercept_.shape]
top: npt.NDArray[np.float64] = softmax.predict_proba(X).max(axis=1) - hinge.decision_function(X)[:, 0]
accuracy: float = make_pipeline(StandardScaler(), SoftmaxClassifier()).fit(X, y).score(X, y)
numbers: dict[int, int] = {0: 1, 1: 2}
weighted = SoftmaxClassifier(class_weight=numbers).fit(X, np.arange(60) % 3)
squared = MulticlassSVMClassifier(loss="squared_hinge", multi_class="weston_watkins")
deeper = SoftmaxClassifier().set_params(C=0.1).fit(X.astype(np.float32), y).predict_log_proba(X)

scores, labels = np.zeros((2, 3)), np.array([0, 2])
for loss in (SoftmaxLoss(label_smoothing=0.1), WestonWatkinsLoss(squared=True), CrammerSingerLoss(margin=2)):
    value, gradient = loss.value_and_gradient(scores, labels)
    total: float = value.sum() + gradient.sum()
print(__version__, gap, last, converged, shapes, top.mean(), accuracy, deeper.dtype, total, weighted, squared)
"""

DISPLAYED = """
import matplotlib.pyplot as plt
import numpy as np

from sk_linear_losses import SoftmaxClassifier
from sk_linear_losses.display import CoefficientsDisplay, ConvergenceDisplay, LossDisplay
from sk_linear_losses.losses import SoftmaxLoss

X, y = np.random.default_rng(0).normal(size=(60, 4)), np.arange(60) % 3
model = SoftmaxClassifier().fit(X, y)
figure, axes = plt.subplots(1, 3)
display = ConvergenceDisplay.from_estimator(model, quantity="objective", ax=axes[0], color="C1")
display.plot(display.ax_, against="seconds")
CoefficientsDisplay.from_estimator(model, image_shape=(2, 2), ax=axes[1])
CoefficientsDisplay(model.coef_, class_names=["a", "b", "c"], feature_names=list("wxyz")).plot()
LossDisplay.from_losses({"softmax": SoftmaxLoss()}, margins=[-1, 0, 1], ax=axes[2])
plt.close("all")
"""

# Each line ends with the code of the error that mypy must find there.
REJECTED = """
from sk_linear_losses import MulticlassSVMClassifier, SoftmaxClassifier
from sk_linear_losses.display import ConvergenceDisplay, LossDisplay
from sk_linear_losses.losses import WestonWatkinsLoss
SoftmaxClassifier(C="strong")  # arg-type
SoftmaxClassifier(margin=2.0)  # call-arg
MulticlassSVMClassifier(loss=None)  # arg-type
MulticlassSVMClassifier(loss="hinje")  # arg-type
MulticlassSVMClassifier(multi_class="crammer-singer")  # arg-type
SoftmaxClassifier(class_weight={"ant": "heavy"})  # dict-item
label: int = SoftmaxClassifier().fit([[0.0], [1.0]], [0, 1]).predict([[0.5]])  # assignment
WestonWatkinsLoss().value([[0.0, 1.0]], [1])  # arg-type
WestonWatkinsLoss().squared = True  # misc
ConvergenceDisplay.from_estimator(SoftmaxClassifier(), quantity=1)  # arg-type
LossDisplay.from_losses({"hinge": "hinge"})  # dict-item
"""


@pytest.fixture(scope="module")
def strict(tmp_path_factory):
    """A function that returns line and code of each error of mypy, run without this package's settings."""
    folder = tmp_path_factory.mktemp("typing")
    command = [
        "-m",
        "mypy",
        "--strict",
        "--ignore-missing-imports",
        "--config-file=",
        "--cache-dir=cache",
        "program.py",
    ]

    def check(program):
        (folder / "program.py").write_text(program, encoding="utf-8")
        result = subprocess.run(
            [sys.executable, *command], cwd=folder, capture_output=True, text=True, check=False
        )
        assert not result.stderr
        errors = re.findall(r"^program\.py:(\d+): error: .*\[([\w-]+)\]$", result.stdout, re.MULTILINE)
        assert bool(errors) == bool(result.returncode), result.stdout
        return sorted({(int(line), code) for line, code in errors})

    return check


@pytest.mark.parametrize("program", [ACCEPTED, DISPLAYED], ids=["classifiers", "displays"])
def test_accepted_and_runs(strict, program):
    assert strict(program) == []
    exec(program, {})


def test_mistakes_are_found(strict):
    wanted = [
        (number, line.rpartition("  # ")[2])
        for number, line in enumerate(REJECTED.splitlines(), start=1)
        if "  # " in line
    ]
    assert strict(REJECTED) == wanted
