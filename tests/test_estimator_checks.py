"""scikit-learn's own checks of every variant; none is expected to fail."""

import pytest
from sklearn.utils.estimator_checks import parametrize_with_checks

from sk_linear_losses import MulticlassSVMClassifier, SoftmaxClassifier

# All have an intercept: no linear model without one passes the check that wants a heavy class predicted
# everywhere.
ESTIMATORS = [
    SoftmaxClassifier(),
    SoftmaxClassifier(label_smoothing=0.1),
    SoftmaxClassifier(class_weight="balanced"),
    SoftmaxClassifier(warm_start=True),
    SoftmaxClassifier(n_jobs=2),
    MulticlassSVMClassifier(),
    MulticlassSVMClassifier(loss="squared_hinge"),
    MulticlassSVMClassifier(multi_class="crammer_singer"),
    MulticlassSVMClassifier(margin=0.5),
    MulticlassSVMClassifier(class_weight="balanced"),
    MulticlassSVMClassifier(warm_start=True),
]
CHECKS = parametrize_with_checks(ESTIMATORS)


# Older scikit-learn returns a generator, about which newer pytest warns.
@pytest.mark.parametrize(CHECKS.args[0], list(CHECKS.args[1]), **CHECKS.kwargs)
def test_estimator_check(estimator, check):
    check(estimator)
