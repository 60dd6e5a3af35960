"""Checks for .ci/run that its tools do not make: ``python .ci/checks.py CHECK [ARGUMENT ...]``.

Each check is a function below. It prints what it found and raises SystemExit if the check fails.
"""

from __future__ import annotations

import importlib
import inspect
import re
import sys
import tarfile
import tomllib
import zipfile
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from xml.etree import ElementTree

# Tests that may be skipped: they ask for array libraries that this package does not support.
MAY_BE_SKIPPED = re.compile(r"\bcheck_array_api_")


def lower_bounds(pyproject: str) -> None:
    """Print the oldest versions that a pyproject.toml allows, as constraints for pip."""
    project = tomllib.loads(Path(pyproject).read_text())["project"]
    for requirement in project["dependencies"] + project["optional-dependencies"]["test"]:
        bound = re.fullmatch(r"([\w.-]+)>=([\w.]+)", requirement)
        if bound is None:
            raise SystemExit(f"{requirement!r} is not a lower bound and nothing else.")
        print(f"{bound[1]}=={bound[2]}")


def skipped(report: str, *, allowed: re.Pattern[str] = MAY_BE_SKIPPED) -> None:
    """Fail if a JUnit report holds a test that was skipped or expected to fail and is not `allowed` to be."""
    cases = list(ElementTree.parse(report).iter("testcase"))
    names = [
        f"{case.get('classname')}::{case.get('name')}" for case in cases if case.find("skipped") is not None
    ]
    needless = [name for name in names if not allowed.search(name)]
    print(f"{len(cases)} tests, {len(names)} skipped, {len(needless)} of them needlessly")
    if needless or len(cases) == len(names):
        raise SystemExit("\n".join(["Skipped or expected to fail, but need not be:", *needless]))


def unskipped(report: str) -> None:
    """Fail if a JUnit report holds any test that was skipped."""
    skipped(report, allowed=re.compile(r"(?!)"))


def archives(folder: str) -> None:
    """Fail if the wheel holds files outside the package, or if the wheel or the sdist lacks needed files."""
    (wheel,), (sdist,) = Path(folder).glob("*.whl"), Path(folder).glob("*.tar.gz")
    with zipfile.ZipFile(wheel) as archive:
        shipped = set(archive.namelist())
    with tarfile.open(sdist) as archive:
        source = {name.partition("/")[2] for name in archive.getnames()}
    foreign = {name for name in shipped if not re.match(r"sk_linear_losses(-[\w.]+\.dist-info)?/", name)}
    wanted = {"sk_linear_losses/__init__.py", "sk_linear_losses/py.typed"}
    missing = wanted - shipped
    wanted |= {"pyproject.toml", "LICENSE", "README.md", "CHANGELOG.md", "tests/test_package.py"}
    wanted |= {"docs/conf.py", "examples/plot_1_lesson.py"}
    missing |= wanted - source
    print(f"{wheel.name}: {len(shipped)} files; {sdist.name}: {len(source)} files")
    if foreign or missing:
        raise SystemExit(f"not of the package: {sorted(foreign)}; missing: {sorted(missing)}")


def docstrings(*modules: str) -> None:
    """Validate the docstrings of all public names of modules with the checks that pyproject.toml lists."""
    from numpydoc.hooks.validate_docstrings import parse_config
    from numpydoc.validate import validate

    checks = parse_config(".")["checks"]
    names = sorted({name for module in modules for name in _public_names(importlib.import_module(module))})
    findings = [
        f"{name}: {code} {message}"
        for name in names
        for code, message in validate(name)["errors"]
        if code in checks
    ]
    print(f"{len(names)} docstrings, {len(findings)} findings")
    if findings or not names:
        raise SystemExit("\n".join(findings))


def _public_names(module: ModuleType) -> Iterator[str]:
    """Dotted names that a module publishes, and of the methods that its package defines."""
    package = module.__name__.partition(".")[0]
    for name in module.__all__:
        item = getattr(module, name)
        yield f"{module.__name__}.{name}"
        if inspect.isclass(item):
            # A class method is a bound method of the class, not a function.
            methods = inspect.getmembers(
                item, lambda member: inspect.isfunction(member) or inspect.ismethod(member)
            )
            for method, function in methods:
                if not method.startswith("_") and function.__module__.startswith(package):
                    yield f"{module.__name__}.{name}.{method}"


CHECKS = (lower_bounds, skipped, unskipped, archives, docstrings)

if __name__ == "__main__":
    {check.__name__: check for check in CHECKS}[sys.argv[1]](*sys.argv[2:])
