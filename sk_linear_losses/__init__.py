"""Linear multiclass classifiers for scikit-learn: softmax and multiclass hinge, with certified accuracy."""

from . import display as display
from . import losses as losses
from ._classifiers import MulticlassSVMClassifier, SoftmaxClassifier

__version__ = "0.1.0"
__all__ = ["MulticlassSVMClassifier", "SoftmaxClassifier"]
