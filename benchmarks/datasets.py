"""The data sets: those that scikit-learn bundles, seeded synthetic ones, and those in a folder of files."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse as sp
import sklearn.datasets
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.preprocessing import StandardScaler, normalize

SCALINGS = ("raw", "standardised")
BUNDLED = ("iris", "wine", "breast_cancer", "digits")
FILES = ("vowel", "vehicle", "dna", "satellite", "usps", "letter", "shuttle", "mnist")
NEWS_FILE = "20news_bydate_train.jsonl.gz"
# Number of documents that must contain a term for it to become a feature.
NEWS = {"20news-mindf2": 2, "20news-all": 1}


@dataclass(frozen=True)
class Dataset:
    """Features, a float64 array or CSR array of shape (n_samples, n_features), and classes 0 ... K - 1."""

    name: str
    X: Any
    y: np.ndarray

    @property
    def n_classes(self) -> int:
        """Number of classes."""
        return int(self.y.max()) + 1

    @property
    def is_sparse(self) -> bool:
        """Whether X is sparse."""
        return sp.issparse(self.X)

    @property
    def shape(self) -> str:
        """The size in words."""
        rows, features = self.X.shape
        return f"{rows} x {features}, {self.n_classes} classes" + (", sparse" if self.is_sparse else "")


def loaders(folder: Path | None, quick: bool) -> dict[str, Callable[[], Dataset]]:
    """A function that loads each data set, by name; with `quick` only small ones, none from the folder."""
    found: dict[str, Callable[[], Dataset]] = {name: partial(_bundled, name) for name in BUNDLED}
    if quick:
        found["digits"] = partial(_bundled, "digits", 400)
        found["ill-conditioned"] = partial(ill_conditioned, 1000, 20, 5)
        found["wide"] = partial(wide, 100, 500, 3)
        found["tall"] = partial(tall, 5000, 10, 3)
        found["many-classes"] = partial(many_classes, 600, 10, 30)
        return found
    found["ill-conditioned"] = partial(ill_conditioned, 20_000, 100, 10)
    found["wide"] = partial(wide, 500, 5000, 5)
    found["tall"] = partial(tall, 200_000, 50, 5)
    found["many-classes"] = partial(many_classes, 20_000, 100, 1000)
    if folder is not None:
        paths = {name: folder / f"{name}.npz" for name in FILES}
        found |= {name: partial(_from_file, name, path) for name, path in paths.items() if path.exists()}
        if (folder / NEWS_FILE).exists():
            found |= {name: partial(_news, name, folder / NEWS_FILE) for name in NEWS}
    return found


def scaled(data: Dataset, scaling: str) -> Dataset:
    """The data set as it is (raw), or with features of mean 0 and variance 1 (standardised)."""
    return data if scaling == "raw" else replace(data, X=StandardScaler().fit_transform(data.X))


def scalings(data: Dataset) -> tuple[str, ...]:
    """The scalings that make sense: centring would make sparse data dense."""
    return SCALINGS[:1] if data.is_sparse else SCALINGS


def ill_conditioned(n_samples: int, n_features: int, n_classes: int) -> Dataset:
    """Correlated features: singular values over four decades, then units over another four."""
    rng = np.random.default_rng(0)
    latent = rng.standard_normal((n_samples, n_features))
    mixing, _ = np.linalg.qr(rng.standard_normal((n_features, n_features)))
    X = (latent * np.logspace(0, -4, n_features)) @ mixing
    X *= rng.permutation(np.logspace(-2, 2, n_features))
    X += 3 * X.std(axis=0)
    return Dataset("ill-conditioned", X, _sampled_classes(latent, n_classes, rng))


def wide(n_samples: int, n_features: int, n_classes: int) -> Dataset:
    """More features than samples; a tenth of the features determines the classes."""
    rng = np.random.default_rng(1)
    X = rng.standard_normal((n_samples, n_features))
    return Dataset("wide", X, _sampled_classes(X[:, : n_features // 10], n_classes, rng))


def tall(n_samples: int, n_features: int, n_classes: int) -> Dataset:
    """Many samples with few features and overlapping classes."""
    rng = np.random.default_rng(2)
    X = rng.standard_normal((n_samples, n_features))
    return Dataset("tall", X, _sampled_classes(X, n_classes, rng))


def many_classes(n_samples: int, n_features: int, n_classes: int) -> Dataset:
    """Many classes, each one cloud of samples; the clouds overlap."""
    rng = np.random.default_rng(3)
    centres = rng.standard_normal((n_classes, n_features))
    y = np.arange(n_samples) % n_classes
    return Dataset("many-classes", centres[y] + 4 * rng.standard_normal((n_samples, n_features)), y)


def pixels(n_samples: int) -> Dataset:
    """Images of the size of MNIST's: 784 values up to 255, of which four fifths are zero."""
    rng = np.random.default_rng(4)
    X = rng.integers(1, 256, (n_samples, 784)) * (rng.random((n_samples, 784)) < 0.2)
    return Dataset("pixels", X.astype(np.float64), _sampled_classes((X - 25.6) / 64, 10, rng))


def text(n_samples: int) -> Dataset:
    """Normalised counts of Zipf-distributed terms: each document has some 150 different ones of 56000."""
    rng = np.random.default_rng(5)
    n_terms, length = 56_000, 165
    frequency = 1 / (10.0 + np.arange(n_terms))
    terms = rng.choice(n_terms, size=n_samples * length, p=frequency / frequency.sum())
    rows = np.repeat(np.arange(n_samples), length)
    X = sp.csr_array((np.ones(len(rows)), (rows, terms)), shape=(n_samples, n_terms))
    X = normalize(X)
    return Dataset("text", X, _sampled_classes(4 * X, 20, rng))


def _sampled_classes(features: Any, n_classes: int, rng: np.random.Generator) -> np.ndarray:
    """Classes drawn from a softmax model; where features have variance 1, its scores have variance 4."""
    coef = rng.standard_normal((features.shape[1], n_classes))
    scores = features @ (2 * coef / np.sqrt(features.shape[1]))
    winner = (scores + rng.gumbel(size=scores.shape)).argmax(axis=1)
    return np.unique(winner, return_inverse=True)[1]


def _bundled(name: str, most: int | None = None) -> Dataset:
    """A data set that comes with scikit-learn, or its first samples."""
    X, y = getattr(sklearn.datasets, f"load_{name}")(return_X_y=True)
    return Dataset(name, np.ascontiguousarray(X[:most], dtype=np.float64), y[:most])


def _from_file(name: str, path: Path) -> Dataset:
    """The training part of an .npz file."""
    with np.load(path) as arrays:
        X, y = arrays["X_train"], arrays["y_train"]
    return Dataset(name, np.ascontiguousarray(X, dtype=np.float64), np.unique(y, return_inverse=True)[1])


def _news(name: str, path: Path) -> Dataset:
    """Normalised tf-idf of the terms in a file that holds a JSON object with `text` and `y` on each line."""
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        records = [json.loads(line) for line in lines]
    X = TfidfVectorizer(min_df=NEWS[name]).fit_transform([record["text"] for record in records])
    y = np.unique([record["y"] for record in records], return_inverse=True)[1]
    return Dataset(name, sp.csr_array(X), y)
