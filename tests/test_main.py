"""The main job: what it says of losses and objectives is what the package computes."""

import numpy as np
import pytest
from sklearn.base import clone

from sk_linear_losses import MulticlassSVMClassifier, SoftmaxClassifier
from sk_linear_losses.__main__ import losses_of, main, objective

from .oracles import bundled


def test_an_unknown_data_set_is_an_error_of_one_line(capsys):
    with pytest.raises(SystemExit) as exit_:
        main(["roses"])
    assert exit_.value.code == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert "roses" in err
    assert len(err.splitlines()) == 1


def test_losses_of_the_worked_example():
    assert losses_of(np.array([-2.85, 0.86, 0.28]), 2) == pytest.approx((1.58, 1.04), abs=0.005)


@pytest.mark.parametrize("classes", [[0, 1, 2], [1, 2]])
@pytest.mark.parametrize("model", [SoftmaxClassifier(2.0), MulticlassSVMClassifier(2.0)], ids=repr)
def test_objective_is_that_of_the_fit(model, classes):
    X, y = bundled("iris")
    kept = np.isin(y, classes)
    model = clone(model).fit(X[kept], y[kept])
    assert objective(model, X[kept], y[kept]) == pytest.approx(model.objective_, rel=1e-9)
