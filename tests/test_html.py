"""The display of an estimator in notebooks: a link to its documentation, and tables with descriptions."""

import re
from importlib.metadata import metadata

import pytest
import sklearn
from sklearn.base import clone
from sklearn.datasets import load_iris
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import sk_linear_losses
from sk_linear_losses import MulticlassSVMClassifier, SoftmaxClassifier

# Tables describe parameters from scikit-learn 1.8 on, and fitted attributes from 1.9 on.
SKLEARN = tuple(int(part) for part in sklearn.__version__.split(".")[:2])


@pytest.fixture(params=[SoftmaxClassifier(), MulticlassSVMClassifier()], ids=["softmax", "svm"])
def estimator(request):
    """One of the estimators, fitted."""
    return clone(request.param).fit(*load_iris(return_X_y=True))


def page_of(estimator):
    """The address of an estimator's page in the documentation."""
    urls = dict(entry.split(", ") for entry in metadata("sk_linear_losses").get_all("Project-URL"))
    return f"{urls['Documentation']}api/generated/sk_linear_losses.{type(estimator).__name__}.html"


def test_link_to_the_documentation(estimator):
    assert f'href="{page_of(estimator)}"' in estimator._repr_html_()
    pipeline = make_pipeline(StandardScaler(), estimator)
    assert f'href="{page_of(estimator)}"' in pipeline._repr_html_()


def test_link_names_where_the_class_is_imported_from(estimator):
    name = re.search(r"generated/(\w+)\.(\w+)\.html", estimator._repr_html_())
    assert name.groups() == (sk_linear_losses.__name__, type(estimator).__name__)
    assert getattr(sk_linear_losses, name[2]) is type(estimator)


def test_tables_describe_every_entry(estimator):
    html = estimator._repr_html_()
    described = re.findall(r'"param-doc-description"[^>]*>\s*(\w+): [^<]+<br><br>[^<]', html)
    wanted = list(estimator.get_params()) if SKLEARN >= (1, 8) else []
    if SKLEARN >= (1, 9):
        wanted += [name for name in vars(estimator) if name.endswith("_") and not name.startswith("_")]
    assert sorted(described) == sorted(wanted)
    links = re.findall(r'class="param-doc-link"[^>]*href="([^"#]*)#', html)
    assert links == [page_of(estimator)] * len(wanted)
