"""The package as a whole: its layers, its imports, and its statements about itself."""

import ast
import importlib
import inspect
import re
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest
from sklearn.datasets import load_iris

import sk_linear_losses
from sk_linear_losses import SoftmaxClassifier, display, losses

ROOT = Path(__file__).parents[1]
PACKAGE = Path(sk_linear_losses.__file__).parent
NAME = sk_linear_losses.__name__

# Each module may import those before it.
LAYERS = [
    "_typing",
    "_checks",
    "losses",
    "_numerics",
    "_threads",
    "_blocks",
    "_rows",
    "_shifted_rows",
    "_row_space",
    "_objective",
    "_envelope",
    "_curvature",
    "_correction",
    "_certificate",
    "_cost",
    "_roots",
    "_leading",
    "_low_rank",
    "_preconditioner",
    "_run",
    "_stage",
    "_ascent",
    "_smooth",
    "_multipliers",
    "_solver",
    "_model",
    "_fit",
    "_callbacks",
    "_calibration",
    "_problem",
    "_classifiers",
    "display",
    "__init__",
    "__main__",
]
MODULES = [sk_linear_losses, losses, display]
PUBLIC = [getattr(module, name) for module in MODULES for name in module.__all__]


def imports_of(source):
    """Dotted names that a module of the package imports, at its top or inside a function."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level < 2, "the package has no packages inside"
            base = ".".join(filter(None, [NAME * node.level, node.module]))
            yield from (f"{base}.{alias.name}" for alias in node.names)


def layer_of(dotted):
    """Module of the package that holds the object with a dotted name."""
    module = dotted.split(".")[1:2]
    return module[0] if module and module[0] in LAYERS else "__init__"


def test_imports_of_finds_every_form():
    source = """
import numpy.linalg as la, sk_linear_losses._rows
from . import losses
from ._solver import solve
def f():
    from sk_linear_losses import SoftmaxClassifier
    from sklearn.utils import _param_validation
"""
    found = sorted(imports_of(source))
    assert found == [
        "numpy.linalg",
        "sk_linear_losses.SoftmaxClassifier",
        "sk_linear_losses._rows",
        "sk_linear_losses._solver.solve",
        "sk_linear_losses.losses",
        "sklearn.utils._param_validation",
    ]
    assert [layer_of(name) for name in found[1:5]] == ["__init__", "_rows", "_solver", "losses"]


def test_layers_name_every_module():
    assert sorted(LAYERS) == sorted(path.stem for path in PACKAGE.glob("*.py"))
    assert not list(PACKAGE.glob("*/*.py"))


@pytest.mark.parametrize("module", LAYERS)
def test_imports_go_one_way(module):
    names = imports_of((PACKAGE / f"{module}.py").read_text(encoding="utf-8"))
    inside = {layer_of(name) for name in names if name.partition(".")[0] == NAME}
    assert inside <= set(LAYERS[: LAYERS.index(module)])


@pytest.mark.parametrize("module", LAYERS)
def test_nothing_private_of_others_is_imported(module):
    names = imports_of((PACKAGE / f"{module}.py").read_text(encoding="utf-8"))
    outside = [name for name in names if name.partition(".")[0] not in {NAME, "__future__"}]
    assert not [name for name in outside if re.search(r"(^|\.)_", name)]


def test_callbacks_of_scikit_learn_are_known_in_one_place():
    """The interface of callbacks is experimental."""
    sources = {module: (PACKAGE / f"{module}.py").read_text(encoding="utf-8") for module in LAYERS}
    knowing = [
        module
        for module, source in sources.items()
        if "_skl_" in source or any(name.startswith("sklearn.callback") for name in imports_of(source))
    ]
    assert knowing == ["_callbacks"]


@pytest.mark.parametrize("module", sorted(set(LAYERS) - {"__init__", "__main__"}))
def test_the_explanation_says_what_each_module_is_for(module):
    page = (ROOT / "docs" / "how_it_works.md").read_text(encoding="utf-8")
    table = [line for line in page.splitlines() if line.startswith("|")]
    assert any(f"`{module}`" in line for line in table)


def blocks_of(page, language):
    """Fenced blocks of a language in a Markdown file."""
    text = (ROOT / page).read_text(encoding="utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


def test_the_blocks_on_adding_a_loss_run_in_order():
    namespace = {}
    for block in blocks_of("CONTRIBUTING.md", "python") + blocks_of("docs/adding_a_loss.md", "python"):
        exec(block, namespace)
    X, y = load_iris(return_X_y=True)
    assert namespace["LeastSquaresClassifier"]().fit(X, y).converged_


def test_the_guide_shows_the_lines_that_a_fit_prints(capsys):
    (shown,) = blocks_of("docs/user_guide/progress.md", "text")
    SoftmaxClassifier(verbose=1).fit(*load_iris(return_X_y=True))
    shown, printed = (re.sub(r"\d[\d.]*(e[-+]\d+)?", "#", text) for text in (shown, capsys.readouterr().out))
    assert shown == printed


def test_the_package_knows_its_public_modules():
    code = f"import {NAME} as package; package.display.LossDisplay, package.losses.SoftmaxLoss"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_importing_main_runs_nothing(capsys):
    importlib.import_module(f"{NAME}.__main__")
    assert capsys.readouterr() == ("", "")


def test_version_is_the_same_everywhere():
    number = sk_linear_losses.__version__
    assert version(NAME) == number
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert re.search(rf"^## \[{re.escape(number)}\]", changelog, re.MULTILINE)
    citation = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    assert re.search(rf"^version: {re.escape(number)}$", citation, re.MULTILINE)


def test_types_are_published():
    assert (PACKAGE / "py.typed").is_file()


@pytest.mark.parametrize("module", MODULES)
def test_public_names_are_sorted_and_exist(module):
    assert module.__all__ == sorted(module.__all__)
    assert all(hasattr(module, name) for name in module.__all__)


@pytest.mark.parametrize("item", PUBLIC, ids=lambda item: item.__name__)
def test_public_names_have_docstrings(item):
    assert item.__doc__
    assert ">>> " in item.__doc__, "a class shows an example"
    methods = inspect.getmembers(item, inspect.isroutine)
    bare = [name for name, method in methods if not name.startswith("_") and not inspect.getdoc(method)]
    assert not bare


@pytest.mark.parametrize("module", LAYERS)
def test_modules_say_what_they_are(module):
    assert ast.get_docstring(ast.parse((PACKAGE / f"{module}.py").read_text(encoding="utf-8")))
