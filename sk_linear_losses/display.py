"""Pictures of fits, of coefficients and of losses, in the manner of scikit-learn's displays.

Knows fitted attributes and the values of losses. Knows nothing of data or of solvers. Matplotlib, the extra
`plot`, is imported only when something is drawn.
"""

from __future__ import annotations

import math
import textwrap
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol, Self

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp
from sklearn.pipeline import Pipeline
from sklearn.utils.validation import check_is_fitted

from ._checks import check_option
from ._typing import Array
from .losses import SoftmaxLoss, WestonWatkinsLoss

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["CoefficientsDisplay", "ConvergenceDisplay", "LossDisplay"]

QUANTITIES = {"gap": "Relative duality gap", "objective": "Objective"}
CLOCKS = {"iterations": "Iterations", "seconds": "Time since the start of the fit (s)"}
# A logarithmic axis has no zero, so smaller relative gaps are drawn at the round-off of the objective.
SMALLEST_GAP = float(np.finfo(np.float64).eps)

# Inches: width of a template's tile, height of its title, width of a character and height of a line of tick
# labels.
TILE, TITLE, CHARACTER, LINE = 1.3, 0.3, 0.09, 0.17
# LARGE_TITLE: how many times larger titles are than tick labels. LEAST_TITLE_FACTOR: least factor on the size
# of titles, which are made smaller until they take at most half of a tile.
LARGE_TITLE, LEAST_TITLE_FACTOR = 1.2, 0.4
# Inches: greatest width and height of a figure made by default, and its least height, for the colour bar.
LARGEST_FIGURE, LEAST_HEIGHT = 12.0, 1.6
# Dashes tell curves apart that coincide or are printed in grey.
DASHES = "-", "--", "-.", ":"


class ConvergenceDisplay:
    """The certified gap or the objective of a fit, iteration by iteration.

    To draw several fits into one picture, pass `ax_` of one display as `ax` of the next. The gap is drawn
    relative to the objective, which is what `tol` is compared with.

    Parameters
    ----------
    history : dict of arrays of shape (n_iter,)
        ``"objective"``, ``"gap"`` and ``"seconds"`` after each iteration, as in the attribute `history_` of
        the classifiers.
    name : str, default=None
        Name of the fit in the legend; None makes no entry.

    Attributes
    ----------
    line_ : matplotlib.lines.Line2D
        The curve.
    ax_ : matplotlib.axes.Axes
        The axes that the curve is drawn in.
    figure_ : matplotlib.figure.Figure
        The figure that holds the axes.

    See Also
    --------
    ConvergenceDisplay.from_estimator : Draw the history of a fitted classifier.

    Examples
    --------
    >>> import matplotlib.pyplot as plt
    >>> from sklearn.datasets import load_iris
    >>> from sk_linear_losses import MulticlassSVMClassifier, SoftmaxClassifier
    >>> from sk_linear_losses.display import ConvergenceDisplay
    >>> X, y = load_iris(return_X_y=True)
    >>> display = ConvergenceDisplay.from_estimator(SoftmaxClassifier().fit(X, y), name="softmax")
    >>> svm = MulticlassSVMClassifier().fit(X, y)
    >>> display = ConvergenceDisplay.from_estimator(svm, name="hinge", ax=display.ax_)
    >>> [text.get_text() for text in display.ax_.get_legend().get_texts()]
    ['softmax', 'hinge']
    >>> plt.close(display.figure_)
    """

    def __init__(self, history: Mapping[str, npt.ArrayLike], *, name: str | None = None) -> None:
        given: Any = history
        if not isinstance(given, Mapping):
            raise ValueError(
                f"history={history!r} must be a dict, as is the history_ of a fitted classifier. "
                "ConvergenceDisplay.from_estimator takes the classifier itself."
            )
        self.history = history
        self.name = name

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        *,
        quantity: str = "gap",
        against: str = "iterations",
        name: str | None = None,
        ax: Axes | None = None,
        **line_kw: Any,
    ) -> Self:
        """Draw the history of a fitted classifier.

        Parameters
        ----------
        estimator : estimator
            A fitted :class:`~sk_linear_losses.SoftmaxClassifier` or
            :class:`~sk_linear_losses.MulticlassSVMClassifier`, or a pipeline or search that ends in one.
        quantity : {"gap", "objective"}, default="gap"
            The quantity to draw, as in :meth:`plot`.
        against : {"iterations", "seconds"}, default="iterations"
            What the quantity is drawn against, as in :meth:`plot`.
        name : str, default=None
            Name of the fit in the legend; None takes the name of the class.
        ax : matplotlib.axes.Axes, default=None
            Axes to draw in; None makes a figure.
        **line_kw : dict
            Keywords for :meth:`matplotlib.axes.Axes.plot`.

        Returns
        -------
        ConvergenceDisplay
            The display, drawn.

        Raises
        ------
        sklearn.exceptions.NotFittedError
            If the estimator is not fitted.
        TypeError
            If the estimator has no history.
        ValueError
            If an option is unknown, or the history holds no value to draw for it.
        ImportError
            If matplotlib is not installed.
        """
        classifier = _fitted(estimator, "history_")
        display = cls(classifier.history_, name=type(classifier).__name__ if name is None else name)
        return display.plot(ax, quantity=quantity, against=against, **line_kw)

    def plot(
        self,
        ax: Axes | None = None,
        *,
        quantity: str = "gap",
        against: str = "iterations",
        **line_kw: Any,
    ) -> Self:
        """Draw the history.

        Parameters
        ----------
        ax : matplotlib.axes.Axes, default=None
            Axes to draw in; None makes a figure.
        quantity : {"gap", "objective"}, default="gap"
            "gap" is the certified gap over the objective, on a logarithmic axis. Iterations at which nothing
            was certified are left out. Gaps below 2.2e-16, the round-off of the objective, are drawn at
            2.2e-16.
        against : {"iterations", "seconds"}, default="iterations"
            Iterations, from 1, or seconds since the start of the fit.
        **line_kw : dict
            Keywords for :meth:`matplotlib.axes.Axes.plot`.

        Returns
        -------
        ConvergenceDisplay
            The display itself.

        Raises
        ------
        ValueError
            If an option is unknown, or the history holds no value to draw for it.
        ImportError
            If matplotlib is not installed.
        """
        check_option("quantity", quantity, QUANTITIES)
        check_option("against", against, CLOCKS)
        x, y = self._points(quantity, against)
        self.ax_ = _axes("ConvergenceDisplay", ax)
        self.figure_ = self.ax_.figure
        label = None if self.name is None else _literal(self.name)
        style = _line_style({"marker": ".", "markersize": 4, "label": label}, line_kw)
        (self.line_,) = self.ax_.plot(x, y, **style)
        self.ax_.set(xlabel=CLOCKS[against], ylabel=QUANTITIES[quantity])
        if quantity == "gap":
            self.ax_.set_yscale("log")
        if against == "iterations":
            _whole_ticks(self.ax_.xaxis)
        if style["label"] is not None:
            self.ax_.legend()
        return self

    def _points(self, quantity: str, against: str) -> tuple[Array, Array]:
        """Coordinates of the points that can be drawn."""
        needed = {"objective", quantity, "seconds"} if against == "seconds" else {"objective", quantity}
        if missing := sorted(needed - set(self.history)):
            raise ValueError(
                f"history has no {' and no '.join(map(repr, missing))}, which quantity={quantity!r} with "
                f"against={against!r} needs. Add it, or draw what history has: {list(self.history)}."
            )
        objective = np.asarray(self.history["objective"], dtype=np.float64)
        y = objective
        if quantity == "gap":
            gap = np.array(self.history["gap"], dtype=np.float64)
            # If the objective is zero, since all margins are, the gap stays absolute.
            np.divide(gap, objective, out=gap, where=objective > 0)
            y = np.maximum(gap, SMALLEST_GAP)
        drawn = np.isfinite(y)
        if not drawn.any():
            reason = (
                "no gap was certified (C=inf has none). Use quantity='objective'."
                if len(y)
                else "the fit made no iteration, because it started at its optimum. "
                "If that was a warm start, use warm_start=False."
            )
            raise ValueError(f"quantity={quantity!r} has nothing to draw: {reason}")
        x = np.arange(1, len(y) + 1) if against == "iterations" else np.asarray(self.history["seconds"])
        return x[drawn], y[drawn]


class CoefficientsDisplay:
    """The coefficients of each class: templates as images, or a heat map with the names of the features.

    Colours diverge from zero, on the same scale for all classes: coefficients that raise the score of a class
    have one hue, those that lower it the other. Coefficients are per unit of their feature; compare them
    across features only if the units are alike, as for pixels.

    Parameters
    ----------
    coef : array of shape (n_classes, n_features), or (1, n_features) for two classes
        Coefficients, as in the attribute `coef_` of classifiers.
    class_names : sequence of n_classes str
        Names of the classes. With two classes, A and B, the one row of coefficients is named "B against A":
        it is the coefficients of the second class minus those of the first.
    feature_names : sequence of n_features str, default=None
        Names for the rows of the heat map; None numbers them from 0.
    image_shape : tuple of (height, width), default=None
        Draw each class as an image of this shape, row by row; None draws the heat map.

    Attributes
    ----------
    images_ : list of matplotlib.image.AxesImage
        The image of each row of `coef`; the heat map is a single image.
    axes_ : list of matplotlib.axes.Axes
        The axes of each image.
    colorbar_ : matplotlib.colorbar.Colorbar
        The colour bar, or None.
    ax_ : matplotlib.axes.Axes
        The axes that everything is drawn in.
    figure_ : matplotlib.figure.Figure
        The figure that holds the axes.

    See Also
    --------
    CoefficientsDisplay.from_estimator : Draw the coefficients of a fitted classifier.

    Examples
    --------
    >>> import matplotlib.pyplot as plt
    >>> from sklearn.datasets import load_digits
    >>> from sk_linear_losses import SoftmaxClassifier
    >>> from sk_linear_losses.display import CoefficientsDisplay
    >>> X, y = load_digits(return_X_y=True)
    >>> model = SoftmaxClassifier(C=1e-3).fit(X, y)
    >>> display = CoefficientsDisplay.from_estimator(model, image_shape=(8, 8))
    >>> [ax.get_title() for ax in display.axes_]
    ['0', '1', '2', '3', '4', '5', '6', '7', '8', '9']
    >>> plt.close(display.figure_)
    """

    def __init__(
        self,
        coef: npt.ArrayLike,
        *,
        class_names: Sequence[str],
        feature_names: Sequence[str] | None = None,
        image_shape: tuple[int, int] | None = None,
    ) -> None:
        self.coef = np.atleast_2d(np.asarray(coef, dtype=np.float64))
        if self.coef.ndim > 2 or self.coef.size == 0:
            raise ValueError(
                f"coef has the shape {self.coef.shape}; expected (n_classes, n_features), or (1, n_features) "
                "for two classes."
            )
        if not np.isfinite(self.coef).all():
            value = self.coef[~np.isfinite(self.coef)][0]
            raise ValueError(
                f"coef has entries that are not finite, such as {value}, which cannot be drawn. Replace them "
                "by finite numbers."
            )
        self.class_names = [str(name) for name in class_names]
        self.feature_names = None if feature_names is None else [str(name) for name in feature_names]
        self.image_shape = image_shape
        n_rows, n_features = self.coef.shape
        _check_length("class_names", self.class_names, 2 if n_rows == 1 else n_rows, "class")
        if self.feature_names is not None:
            _check_length("feature_names", self.feature_names, n_features, "feature")
        if image_shape is not None and not _covers(image_shape, n_features):
            raise ValueError(
                f"image_shape={image_shape!r} must be a height and a width whose product is the number of "
                f"features, {n_features}."
            )

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        *,
        image_shape: tuple[int, int] | None = None,
        feature_names: Sequence[str] | None = None,
        class_names: Sequence[str] | None = None,
        cmap: Any = "RdBu_r",
        colorbar: bool = True,
        ax: Axes | None = None,
        **im_kw: Any,
    ) -> Self:
        """Draw the coefficients of a fitted classifier.

        Parameters
        ----------
        estimator : estimator
            A fitted linear classifier with `coef_` and `classes_`, of this package or another, or a pipeline
            or search that ends in one.
        image_shape : tuple of (height, width), default=None
            Draw each class as an image of this shape, row by row; None draws the heat map.
        feature_names : sequence of n_features str, default=None
            Names for the rows of the heat map; None takes `feature_names_in_`, or the output names of the
            steps of a pipeline, or numbers.
        class_names : sequence of n_classes str, default=None
            Names of the classes; None takes `classes_`.
        cmap : str or matplotlib.colors.Colormap, default="RdBu_r"
            A diverging colour map.
        colorbar : bool, default=True
            Whether to draw a colour bar.
        ax : matplotlib.axes.Axes, default=None
            Axes to draw in; None makes a figure.
        **im_kw : dict
            Keywords for :meth:`matplotlib.axes.Axes.imshow`.

        Returns
        -------
        CoefficientsDisplay
            The display, drawn.

        Raises
        ------
        sklearn.exceptions.NotFittedError
            If the estimator is not fitted.
        TypeError
            If the estimator has no coefficients or no classes.
        ValueError
            If names or shape do not fit the coefficients, or the coefficients are for pairs of classes.
        ImportError
            If matplotlib is not installed.
        """
        classifier = _fitted(estimator, "coef_", "classes_")
        if hasattr(classifier, "n_support_") and len(classifier.classes_) > 2:
            raise ValueError(
                f"{type(classifier).__name__} has coefficients for pairs of classes. Pass a fitted "
                "MulticlassSVMClassifier, or use CoefficientsDisplay(coef, class_names=names_of_pairs)."
            )
        coef = classifier.coef_
        display = cls(
            coef.toarray() if sp.issparse(coef) else coef,
            class_names=classifier.classes_ if class_names is None else class_names,
            feature_names=_feature_names(estimator) if feature_names is None else feature_names,
            image_shape=image_shape,
        )
        return display.plot(ax, cmap=cmap, colorbar=colorbar, **im_kw)

    def plot(
        self,
        ax: Axes | None = None,
        *,
        cmap: Any = "RdBu_r",
        colorbar: bool = True,
        **im_kw: Any,
    ) -> Self:
        """Draw the coefficients.

        Parameters
        ----------
        ax : matplotlib.axes.Axes, default=None
            Axes to draw in; None makes a figure. Images are tiled over these axes, which are hidden.
        cmap : str or matplotlib.colors.Colormap, default="RdBu_r"
            A diverging colour map.
        colorbar : bool, default=True
            Whether to draw a colour bar.
        **im_kw : dict
            Keywords for :meth:`matplotlib.axes.Axes.imshow`.

        Returns
        -------
        CoefficientsDisplay
            The display itself.

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        """
        largest = float(np.abs(self.coef).max())
        limit = largest if largest > 0 else 1.0
        scale = {} if "norm" in im_kw else {"vmin": -limit, "vmax": limit}
        style = {"cmap": cmap, "interpolation": "nearest", **scale} | im_kw
        size = self._map_size() if self.image_shape is None else self._tiles_size(*self.image_shape)
        self.ax_ = _axes("CoefficientsDisplay", ax, size)
        self.figure_ = self.ax_.figure
        if self.image_shape is None:
            self._draw_map(style)
        else:
            self._draw_tiles(self.image_shape, style)
        self.colorbar_ = (
            self.figure_.colorbar(self.images_[0], ax=self.ax_, label="Coefficient") if colorbar else None
        )
        return self

    def _labels(self) -> list[str]:
        """Names of the rows of coefficients."""
        if len(self.coef) > 1:
            return self.class_names
        return [f"{self.class_names[1]} against {self.class_names[0]}"]

    def _tiles_size(self, height: int, width: int) -> tuple[float, float]:
        """Width and height in inches for the images, about twice as wide as high, and a colour bar."""
        longest, stretch = max(self._labels(), key=len), height / width
        room = (TILE * stretch + _title_height(longest, TILE)) * np.sqrt(len(self.coef) / 2)
        n_down, n_across = _grid(len(self.coef), 2 * room, room, stretch, longest)
        # Templates may be larger if they are few.
        tile = max(TILE, 4.0 / n_across)
        title = _title_height(longest, tile)
        cell = title + max(title, tile * stretch)
        total = max(cell * n_down, LEAST_HEIGHT)
        return min(tile * n_across + 1.0, LARGEST_FIGURE), min(total, LARGEST_FIGURE)

    def _draw_tiles(self, image_shape: tuple[int, int], style: dict[str, Any]) -> None:
        """Draw a titled image for each row."""
        self.ax_.set_axis_off()
        width, height = _room(self.ax_)
        labels, stretch = self._labels(), image_shape[0] / image_shape[1]
        longest = max(labels, key=len)
        n_down, n_across = _grid(len(labels), width, height, stretch, longest)
        cell = width / n_across, height / n_down
        size = _title_size(longest, *cell)
        share = max(0.5, 1 - max(_title_height(label, cell[0], size) for label in labels) / cell[1])
        self.axes_, self.images_ = [], []
        for k, (row, label) in enumerate(zip(self.coef, labels, strict=True)):
            down, across = divmod(k, n_across)
            left, bottom = across / n_across, 1 - (down + 1) / n_down
            tile = self.ax_.inset_axes((left, bottom, 0.94 / n_across, share / n_down))
            self.images_.append(tile.imshow(row.reshape(image_shape), **style))
            tile.set(xticks=[], yticks=[], title=_literal(_wrapped(label, cell[0], size)))
            tile.title.set_size(size * tile.title.get_size())
            self.axes_.append(tile)

    def _map_size(self) -> tuple[float, float]:
        """Width and height in inches for the heat map with its labels and a colour bar."""
        longest = max(map(len, self._labels()))
        features = self.feature_names or [""]
        width = max(0.5, CHARACTER * (longest + 2)) * len(self.coef) + CHARACTER * max(map(len, features))
        height = max(2.5, 1.2 * LINE * len(features) + 1.0) if self.feature_names else 4.8
        return min(width + 2.0, LARGEST_FIGURE), min(height, LARGEST_FIGURE)

    def _draw_map(self, style: dict[str, Any]) -> None:
        """Draw features downwards, where their names can be read, and classes across."""
        ax, labels = self.ax_, self._labels()
        self.axes_, self.images_ = [ax], [ax.imshow(self.coef.T, **({"aspect": "auto"} | style))]
        if self.feature_names is not None:
            _name_ticks(ax.yaxis, self.feature_names, LINE / _inches(ax)[1])
        else:
            _whole_ticks(ax.yaxis)
        width, _ = _room(ax)
        wide = CHARACTER * (max(map(len, labels)) + 1)
        if wide * len(labels) <= width:
            _name_ticks(ax.xaxis, labels, 0)
        else:
            turned = {"rotation": 45, "ha": "right", "rotation_mode": "anchor"}
            _name_ticks(ax.xaxis, labels, math.sqrt(2) * LINE / width, **turned)
        ax.set(xlabel="Class", ylabel="Feature")
        # Some styles draw a grid over images.
        ax.grid(visible=False)


class _ScoreLoss(Protocol):
    """What a loss must have to be drawn."""

    def value_and_gradient(self, scores: Array, y: Array) -> tuple[Array, Array]: ...


class LossDisplay:
    """The loss of one sample with two classes against the margin of its scores, for several losses.

    The margin of the scores is ``s_y - s_j``: by how much the right class y leads the wrong class j. With two
    classes there is one wrong class, so the largest shortfall (Crammer-Singer) equals the sum of shortfalls
    (Weston-Watkins): one hinge stands for both. The softmax loss is in nats, the hinge in units of the
    scores, the squared hinge in squares of these units.

    Parameters
    ----------
    margins : array of shape (n_margins,)
        Margins of the scores.
    values : dict of arrays of shape (n_margins,)
        The loss at each margin, by the name of the loss.

    Attributes
    ----------
    lines_ : list of matplotlib.lines.Line2D
        The curves, in the order of `values`.
    ax_ : matplotlib.axes.Axes
        The axes that the curves are drawn in.
    figure_ : matplotlib.figure.Figure
        The figure that holds the axes.

    See Also
    --------
    LossDisplay.from_losses : Compute the curves from losses and draw them.

    Examples
    --------
    >>> import matplotlib.pyplot as plt
    >>> from sk_linear_losses.display import LossDisplay
    >>> from sk_linear_losses.losses import SoftmaxLoss, WestonWatkinsLoss
    >>> display = LossDisplay.from_losses()
    >>> [line.get_label() for line in display.lines_]
    ['softmax', 'hinge', 'squared hinge']
    >>> plt.close(display.figure_)
    >>> hinges = {f"margin {margin}": WestonWatkinsLoss(margin) for margin in (0.5, 1, 2)}
    >>> display = LossDisplay.from_losses(hinges, margins=[0, 1, 2, 3])
    >>> display.values["margin 2"]
    array([2., 1., 0., 0.])
    >>> plt.close(display.figure_)
    """

    def __init__(self, margins: npt.ArrayLike, values: Mapping[str, npt.ArrayLike]) -> None:
        self.margins = np.asarray(margins)
        self.values = values

    @classmethod
    def from_losses(
        cls,
        losses: Mapping[str, _ScoreLoss] | None = None,
        *,
        margins: npt.ArrayLike | None = None,
        ax: Axes | None = None,
        **line_kw: Any,
    ) -> Self:
        """Compute the curves from losses and draw them.

        Parameters
        ----------
        losses : dict of losses, default=None
            Losses by name: objects with ``value_and_gradient(scores, y)``, such as those of
            :mod:`sk_linear_losses.losses`. None takes softmax, hinge and squared hinge.
        margins : array-like of shape (n_margins,), default=None
            Margins of the scores; None takes 501 from -2 to 3.
        ax : matplotlib.axes.Axes, default=None
            Axes to draw in; None makes a figure.
        **line_kw : dict
            Keywords for :meth:`matplotlib.axes.Axes.plot`, for all curves.

        Returns
        -------
        LossDisplay
            The display, drawn.

        Raises
        ------
        ValueError
            If `losses` is empty, holds an object that is not a loss, or holds a loss whose margins are not
            for two classes; or if `margins` is not one-dimensional.
        ImportError
            If matplotlib is not installed.
        """
        if losses is None:
            losses = {
                "softmax": SoftmaxLoss(),
                "hinge": WestonWatkinsLoss(),
                "squared hinge": WestonWatkinsLoss(squared=True),
            }
        given: Any = losses
        if not isinstance(given, Mapping) or not given:
            raise ValueError(
                f"losses={losses!r} must be a dict of at least one loss by name, such as {{'hinge': "
                "WestonWatkinsLoss()}. None draws softmax, hinge and squared hinge."
            )
        lead = np.linspace(-2, 3, 501) if margins is None else np.asarray(margins, dtype=np.float64)
        if lead.ndim != 1:
            raise ValueError(f"margins has shape {lead.shape}; expected one dimension. Pass margins.ravel().")
        values = {name: _two_class_value(name, loss, lead) for name, loss in losses.items()}
        return cls(lead, values).plot(ax, **line_kw)

    def plot(self, ax: Axes | None = None, **line_kw: Any) -> Self:
        """Draw the curves.

        Parameters
        ----------
        ax : matplotlib.axes.Axes, default=None
            Axes to draw in; None makes a figure.
        **line_kw : dict
            Keywords for :meth:`matplotlib.axes.Axes.plot`, for all curves.

        Returns
        -------
        LossDisplay
            The display itself.

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        """
        self.ax_ = _axes("LossDisplay", ax)
        self.figure_ = self.ax_.figure
        self.lines_ = []
        for name, value in self.values.items():
            dashes = DASHES[len(self.ax_.lines) % len(DASHES)]
            style = _line_style({"linestyle": dashes, "label": _literal(name)}, line_kw)
            self.lines_ += self.ax_.plot(self.margins, value, **style)
        self.ax_.set(xlabel="Margin of the scores, $s_y - s_j$", ylabel="Loss of the sample")
        self.ax_.legend()
        return self


def _axes(caller: str, ax: Axes | None, size: tuple[float, float] | None = None) -> Any:
    """The axes to draw in: those given, or new ones of `size` inches."""
    try:
        import matplotlib.pyplot as plt
    except ImportError as error:
        raise ImportError(
            f"{caller} draws with matplotlib, which is not installed. Run pip install matplotlib."
        ) from error
    return plt.subplots(figsize=size, layout="constrained")[1] if ax is None else ax


def _fitted(estimator: Any, *attributes: str) -> Any:
    """The fitted classifier with these attributes, taken from the pipelines and searches around it."""
    check_is_fitted(estimator)
    inner = estimator
    while inner is not None and not all(hasattr(inner, attribute) for attribute in attributes):
        inner = _final(inner)
    if inner is None:
        raise TypeError(
            f"estimator={estimator!r} has no {' and '.join(attributes)}. Pass a fitted SoftmaxClassifier "
            "or MulticlassSVMClassifier, or a pipeline or search that ends in one."
        )
    return inner


def _final(estimator: Any) -> Any:
    """The estimator that a fitted search or pipeline ends in; None for any other."""
    if hasattr(estimator, "best_estimator_"):
        return estimator.best_estimator_
    return estimator[-1] if isinstance(estimator, Pipeline) else None


def _feature_names(estimator: Any) -> Any:
    """Names of the features that the classifier in a fitted estimator was given, or None."""
    if (final := _final(estimator)) is None:
        return getattr(estimator, "feature_names_in_", None)
    names = _feature_names(final)
    if names is None and isinstance(estimator, Pipeline) and len(estimator) > 1:
        try:
            return estimator[:-1].get_feature_names_out()
        except (AttributeError, ValueError):
            # A step does not name its output features.
            return None
    return names


def _two_class_value(name: str, loss: _ScoreLoss, margins: Array) -> Array:
    """Loss of a sample of class 0, out of two classes, at each margin of its scores."""
    if not hasattr(loss, "value_and_gradient"):
        raise ValueError(
            f"losses[{name!r}]={loss!r} must have a method value_and_gradient(scores, y), as the losses of "
            "sk_linear_losses.losses have."
        )
    if isinstance(loss, type):
        raise ValueError(f"losses[{name!r}]={loss!r} is a class. Pass an object: {loss.__name__}().")
    pairs = np.shape(getattr(loss, "margin", 1.0))
    if pairs not in {(), (2, 2)}:
        raise ValueError(
            f"losses[{name!r}] has margins of shape {pairs}; the curve is for two classes. Use a number or "
            "shape (2, 2)."
        )
    scores = np.stack([margins, np.zeros_like(margins)], axis=1)
    return loss.value_and_gradient(scores, np.zeros(len(margins), dtype=int))[0]


def _whole_ticks(axis: Any) -> None:
    """Put ticks at whole numbers only, unless their positions were chosen already."""
    from matplotlib.ticker import MaxNLocator

    locator = axis.get_major_locator()
    if isinstance(locator, MaxNLocator):
        locator.set_params(integer=True)


def _name_ticks(axis: Any, names: Sequence[str], share: float, **text_kw: Any) -> None:
    """Name as many of the whole numbers from 0 as there is room for; a name takes `share` of the axis."""
    every = max(1, math.ceil(share * len(names)))
    axis.set_ticks(range(0, len(names), every), [_literal(name) for name in names[::every]], **text_kw)


def _literal(name: Any) -> str:
    """The name so that a dollar starts no formula, and a leading underscore does not hide it from legends."""
    text = str(name).replace("$", r"\$")
    return f" {text}" if text.startswith("_") else text


def _line_style(defaults: dict[str, Any], line_kw: dict[str, Any]) -> dict[str, Any]:
    """Keywords of a line: the caller's, under any alias, take precedence over the defaults."""
    from matplotlib.cbook import normalize_kwargs
    from matplotlib.lines import Line2D

    return defaults | normalize_kwargs(line_kw, Line2D)


def _inches(ax: Any) -> tuple[float, float]:
    """Width and height of axes in inches."""
    extent, dpi = ax.get_window_extent(), ax.figure.dpi
    return extent.width / dpi, extent.height / dpi


def _room(ax: Any) -> tuple[float, float]:
    """Width and height of axes in inches after layout, less a fifth of the width for a colour bar."""
    ax.figure.figure.draw_without_rendering()
    width, height = _inches(ax)
    return 0.8 * width, height


def _grid(count: int, width: float, height: float, stretch: float, longest: str) -> tuple[int, int]:
    """The grid, rows and columns, in which titled images `stretch` times as high as wide are largest."""

    def tile_width(n_across: int) -> float:
        across, down = width / n_across, height / -(-count // n_across)
        title = _title_height(longest, across, _title_size(longest, across, down))
        return min(across, (down - title) / stretch)

    n_across = max(range(1, count + 1), key=tile_width)
    return -(-count // n_across), n_across


def _wrapped(title: str, width: float, size: float) -> str:
    """The title, wrapped to lines of `width` inches."""
    return textwrap.fill(title, max(1, int(width / (size * LARGE_TITLE * CHARACTER))))


def _title_height(title: str, width: float, size: float = 1.0) -> float:
    """Height in inches of a title wrapped to `width` inches."""
    n_lines = 1 + _wrapped(title, width, size).count("\n")
    return TITLE + LARGE_TITLE * LINE * (size * n_lines - 1)


def _title_size(title: str, width: float, height: float) -> float:
    """Factor on the size of a title so that it takes at most half of the height of its tile."""
    sizes = np.arange(1, LEAST_TITLE_FACTOR, -0.1)
    fitting = (size for size in sizes if _title_height(title, width, size) <= height / 2)
    return next(fitting, LEAST_TITLE_FACTOR)


def _covers(image_shape: Any, n_features: int) -> bool:
    """Whether an image of this shape has a pixel for each feature."""
    shape = np.asarray(image_shape)
    is_size = shape.shape == (2,) and shape.dtype.kind in "iu" and shape.min() > 0
    return bool(is_size and shape.prod() == n_features)


def _check_length(name: str, values: Sequence[str], wanted: int, of: str) -> None:
    """Raise ValueError unless there is one value for each class or feature."""
    if len(values) != wanted:
        raise ValueError(f"{name} has {len(values)} entries; expected {wanted}, one for each {of}.")
