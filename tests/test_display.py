"""Displays draw what the fits and losses say, with labels, and their errors say what to do."""

import builtins
import itertools
import re

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.cbook import is_math_text
from matplotlib.colors import SymLogNorm
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.datasets import load_breast_cancer, load_digits, load_iris
from sklearn.exceptions import NotFittedError
from sklearn.feature_selection import SelectKBest
from sklearn.linear_model import LogisticRegression, SGDClassifier
from sklearn.model_selection import GridSearchCV
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from sklearn.svm import SVC

from sk_linear_losses import MulticlassSVMClassifier, SoftmaxClassifier
from sk_linear_losses.display import CoefficientsDisplay, ConvergenceDisplay, LossDisplay
from sk_linear_losses.losses import CrammerSingerLoss, SoftmaxLoss, WestonWatkinsLoss

X, Y = load_iris(return_X_y=True)
COEF = np.arange(-4.0, 8.0).reshape(3, 4)
# Nothing was certified at the second iteration; the last gap is below the round-off of the objective.
HISTORY = {"objective": [8.0, 4.0, 2.0], "gap": [4.0, np.inf, 1e-17], "seconds": [0.5, 0.6, 0.9]}


@pytest.fixture(autouse=True)
def _closed_figures():
    yield
    plt.close("all")


@pytest.fixture(scope="module")
def softmax():
    return SoftmaxClassifier().fit(X, Y)


@pytest.fixture(scope="module")
def svm():
    return MulticlassSVMClassifier().fit(X, Y)


def legend_of(display):
    return [text.get_text() for text in display.ax_.get_legend().get_texts()]


def tick_labels(axis):
    return [text.get_text() for text in axis.get_ticklabels()]


@pytest.mark.parametrize("against", ["iterations", "seconds"])
@pytest.mark.parametrize("quantity", ["gap", "objective"])
def test_convergence_draws_the_history(softmax, quantity, against):
    display = ConvergenceDisplay.from_estimator(softmax, quantity=quantity, against=against)
    x, y = display.line_.get_data()
    history = softmax.history_
    assert_array_equal(
        x, np.arange(1, softmax.n_iter_ + 1) if against == "iterations" else history["seconds"]
    )
    assert_array_equal(
        y, history["gap"] / history["objective"] if quantity == "gap" else history["objective"]
    )
    assert display.ax_.get_yscale() == {"gap": "log", "objective": "linear"}[quantity]
    assert (
        display.ax_.get_xlabel()
        == {
            "iterations": "Iterations",
            "seconds": "Time since the start of the fit (s)",
        }[against]
    )
    assert display.ax_.get_ylabel() == {"gap": "Relative duality gap", "objective": "Objective"}[quantity]
    assert legend_of(display) == ["SoftmaxClassifier"]
    assert display.figure_ is display.ax_.figure


def test_convergence_of_several_fits(softmax, svm):
    first = ConvergenceDisplay.from_estimator(softmax, name="softmax", color="C3")
    second = ConvergenceDisplay.from_estimator(svm, name="hinge", ax=first.ax_, linestyle="--")
    assert second.ax_ is first.ax_
    assert second.figure_ is first.figure_
    assert first.ax_.lines[:] == [first.line_, second.line_]
    assert legend_of(second) == ["softmax", "hinge"]
    assert (first.line_.get_color(), second.line_.get_linestyle()) == ("C3", "--")


def test_convergence_leaves_out_what_was_not_certified():
    x, y = ConvergenceDisplay(HISTORY).plot().line_.get_data()
    assert_array_equal(x, [1, 3])
    assert_array_equal(y, [0.5, np.finfo(float).eps])
    x, y = ConvergenceDisplay(HISTORY).plot(against="seconds").line_.get_data()
    assert_array_equal(x, [0.5, 0.9])
    assert_array_equal(ConvergenceDisplay(HISTORY).plot(quantity="objective").line_.get_ydata(), [8, 4, 2])


def test_convergence_leaves_the_history_as_it_is(softmax):
    before = {name: column.copy() for name, column in softmax.history_.items()}
    ConvergenceDisplay.from_estimator(softmax)
    for name, column in before.items():
        assert_array_equal(softmax.history_[name], column)


def test_convergence_to_an_objective_of_zero():
    history = {"objective": [1.0, 0.0], "gap": [1.0, 0.0], "seconds": [0.1, 0.2]}
    assert_array_equal(ConvergenceDisplay(history).plot().line_.get_ydata(), [1, np.finfo(float).eps])


def test_convergence_ticks_are_whole_iterations():
    display = ConvergenceDisplay(HISTORY).plot()
    assert_array_equal(display.ax_.get_xticks() % 1, 0)
    # Ticks that a user has set stay.
    display.ax_.set_xticks([1.5])
    again = ConvergenceDisplay(HISTORY).plot(display.ax_)
    assert_array_equal(again.ax_.get_xticks(), [1.5])


def test_convergence_without_a_name_has_no_legend():
    assert ConvergenceDisplay(HISTORY).plot().ax_.get_legend() is None
    assert legend_of(ConvergenceDisplay(HISTORY).plot(label="fit")) == ["fit"]


def test_convergence_names_that_start_with_an_underscore():
    assert [name.strip() for name in legend_of(ConvergenceDisplay(HISTORY, name="_x").plot())] == ["_x"]


def test_convergence_without_a_certificate():
    model = SoftmaxClassifier(C=np.inf).fit(X[50:], Y[50:])
    with pytest.raises(ValueError, match=r"quantity='gap' .*C=inf.* Use quantity='objective'"):
        ConvergenceDisplay.from_estimator(model)
    ConvergenceDisplay.from_estimator(model, quantity="objective")


def test_convergence_without_iterations():
    empty = dict.fromkeys(HISTORY, ())
    for quantity in ("gap", "objective"):
        with pytest.raises(ValueError, match=r"no iteration.*warm_start=False"):
            ConvergenceDisplay(empty).plot(quantity=quantity)


@pytest.mark.parametrize("value", ["nonsense", ["gap"]])
@pytest.mark.parametrize("option", ["quantity", "against"])
def test_convergence_checks_options(softmax, option, value):
    message = rf"{option}={re.escape(repr(value))} must be one of '\w+', '\w+'\."
    with pytest.raises(ValueError, match=message):
        ConvergenceDisplay.from_estimator(softmax, **{option: value})
    assert not plt.get_fignums()


@pytest.mark.parametrize("display", [ConvergenceDisplay, CoefficientsDisplay])
def test_estimator_must_be_fitted(display):
    for model in (SoftmaxClassifier(), make_pipeline(StandardScaler(), SoftmaxClassifier())):
        with pytest.raises(NotFittedError):
            display.from_estimator(model)


@pytest.mark.parametrize("display", [ConvergenceDisplay, CoefficientsDisplay])
def test_estimator_of_another_kind(display):
    with pytest.raises(
        TypeError, match=r"estimator=GaussianNB\(\) has no .* Pass a fitted SoftmaxClassifier"
    ):
        display.from_estimator(GaussianNB().fit(X, Y))


def test_coefficients_of_pairs_are_not_those_of_classes():
    """Three classes have three pairs."""
    with pytest.raises(ValueError, match=r"SVC has coefficients for pairs of classes\. Pass a fitted Multi"):
        CoefficientsDisplay.from_estimator(SVC(kernel="linear").fit(X, Y))
    model = SVC(kernel="linear").fit(X, Y == 1)
    assert_array_equal(CoefficientsDisplay.from_estimator(model).coef, model.coef_)


def test_sparse_coefficients():
    model = SGDClassifier(random_state=0).fit(X, Y)
    dense = model.coef_.copy()
    assert_array_equal(CoefficientsDisplay.from_estimator(model.sparsify()).coef, dense)


def test_classifier_inside_pipeline_and_search():
    pipeline = make_pipeline(StandardScaler(), SoftmaxClassifier())
    search = GridSearchCV(pipeline, {"softmaxclassifier__C": [0.1, 1]}).fit(X, Y)
    inner = search.best_estimator_[-1]
    display = ConvergenceDisplay.from_estimator(search, quantity="objective")
    assert_array_equal(display.line_.get_ydata(), inner.history_["objective"])
    assert legend_of(display) == ["SoftmaxClassifier"]
    display = CoefficientsDisplay.from_estimator(search)
    assert_array_equal(display.coef, inner.coef_)
    assert display.feature_names == ["x0", "x1", "x2", "x3"]


def test_feature_names_of_frames_and_pipelines():
    frame = pd.DataFrame(X, columns=list("abcd"))
    assert CoefficientsDisplay.from_estimator(SoftmaxClassifier().fit(frame, Y)).feature_names == list("abcd")
    scaled = make_pipeline(StandardScaler(), SoftmaxClassifier()).fit(frame, Y)
    assert CoefficientsDisplay.from_estimator(scaled).feature_names == list("abcd")
    selected = make_pipeline(StandardScaler(), SelectKBest(k=2), SoftmaxClassifier()).fit(frame, Y)
    assert CoefficientsDisplay.from_estimator(selected).feature_names == list("cd")
    squared = make_pipeline(FunctionTransformer(np.square), SoftmaxClassifier()).fit(X, Y)
    assert CoefficientsDisplay.from_estimator(squared).feature_names is None
    # A step that returns a frame need not provide names of features.
    squared.fit(frame, Y)
    assert CoefficientsDisplay.from_estimator(squared).feature_names == list("abcd")


def test_heat_map_of_a_fit(softmax):
    names = ["sepal length", "sepal width", "petal length", "petal width"]
    display = CoefficientsDisplay.from_estimator(
        softmax, feature_names=names, class_names=["setosa", "versicolor", "virginica"]
    )
    (image,) = display.images_
    assert_array_equal(image.get_array(), softmax.coef_.T)
    largest = np.abs(softmax.coef_).max()
    assert image.get_clim() == (-largest, largest)
    assert tick_labels(display.ax_.yaxis) == names
    assert tick_labels(display.ax_.xaxis) == ["setosa", "versicolor", "virginica"]
    assert display.axes_ == [display.ax_]
    assert display.colorbar_.ax.get_ylabel() == "Coefficient"
    assert (display.ax_.get_xlabel(), display.ax_.get_ylabel()) == ("Class", "Feature")


def test_heat_map_numbers_features_without_names(softmax):
    display = CoefficientsDisplay.from_estimator(softmax)
    assert tick_labels(display.ax_.xaxis) == ["0", "1", "2"]
    assert_array_equal(display.ax_.get_yticks() % 1, 0)


def test_heat_map_of_two_classes():
    data = load_breast_cancer(as_frame=True)
    model = LogisticRegression(C=1e-3).fit(data.data / data.data.std(), data.target_names[data.target])
    display = CoefficientsDisplay.from_estimator(model)
    assert_array_equal(display.images_[0].get_array(), model.coef_.T)
    assert tick_labels(display.ax_.xaxis) == ["malignant against benign"]
    assert tick_labels(display.ax_.yaxis) == list(data.feature_names)


def test_heat_map_shows_as_many_names_as_fit():
    names = [f"word{i}" for i in range(400)]
    display = CoefficientsDisplay(np.ones((3, 400)), class_names=["a", "b", "c"], feature_names=names).plot()
    display.figure_.canvas.draw()
    places, labels = display.ax_.get_yticks(), tick_labels(display.ax_.yaxis)
    assert 10 < len(labels) < 100
    assert labels == [names[place] for place in places]
    boxes = [text.get_window_extent() for text in display.ax_.get_yticklabels()]
    assert all(below.y1 <= above.y0 for above, below in itertools.pairwise(boxes))


@pytest.mark.parametrize(("n_classes", "n_features"), [(3, 500), (200, 4)])
def test_heat_map_of_many_features_or_classes_is_no_larger_than_a_page(n_classes, n_features):
    names = {"class_names": map(str, range(n_classes)), "feature_names": map(str, range(n_features))}
    display = CoefficientsDisplay(np.ones((n_classes, n_features)), **names).plot()
    assert display.figure_.get_size_inches().max() <= 12


def test_heat_map_has_no_grid_where_the_style_draws_one():
    with plt.rc_context({"axes.grid": True}):
        ax = CoefficientsDisplay(COEF, class_names="abc").plot().ax_
    assert not any(line.get_visible() for line in ax.get_xgridlines() + ax.get_ygridlines())


@pytest.mark.parametrize("name", ["x", "comp.sys.ibm.pc.hardware"])
def test_heat_map_labels_of_classes_do_not_overlap(name):
    names = [f"{name}{k}" for k in range(20)]
    display = CoefficientsDisplay(np.ones((20, 4)), class_names=names).plot()
    turned = {text.get_rotation() for text in display.ax_.get_xticklabels()}
    assert turned == ({0.0} if name == "x" else {45.0})


@pytest.mark.parametrize("feature_length", [1, 60])
@pytest.mark.parametrize("size", [None, (6, 4)])
@pytest.mark.parametrize(("name", "count"), [("class_", 60), ("comp.sys.ibm.pc.hardware", 60), ("c", 15)])
def test_heat_map_shows_as_many_classes_as_fit(feature_length, size, name, count):
    names = [f"{name}{k}" for k in range(count)]
    features = [str(k) * feature_length for k in range(4)]
    ax = None if size is None else plt.figure(figsize=size).add_subplot()
    display = CoefficientsDisplay(np.ones((count, 4)), class_names=names, feature_names=features).plot(ax)
    display.figure_.canvas.draw()
    places, labels = display.ax_.get_xticks(), tick_labels(display.ax_.xaxis)
    assert labels == [names[place] for place in places]
    first, second, *_ = display.ax_.get_xticklabels()
    if first.get_rotation() == 0:
        assert first.get_window_extent().x1 < second.get_window_extent().x0
    else:
        step = display.ax_.bbox.width / count * (places[1] - places[0])
        height = first.get_fontsize() * display.figure_.dpi / 72
        assert 1 <= step / (2**0.5 * height) < 4


def test_templates_of_a_fit():
    X, y = load_digits(return_X_y=True)
    model = MulticlassSVMClassifier(C=1e-3, loss="squared_hinge").fit(X, y)
    display = CoefficientsDisplay.from_estimator(model, image_shape=(8, 8))
    largest = np.abs(model.coef_).max()
    assert [ax.get_title() for ax in display.axes_] == list("0123456789")
    assert len(display.images_) == 10
    for image, ax, row in zip(display.images_, display.axes_, model.coef_, strict=True):
        assert_array_equal(image.get_array(), row.reshape(8, 8))
        assert image.get_clim() == (-largest, largest)
        assert image.axes is ax
    display.figure_.canvas.draw()
    assert len({round(ax.get_window_extent().y0) for ax in display.axes_}) == 2, "two rows of five"
    assert not display.ax_.axison
    assert display.colorbar_.mappable is display.images_[0]
    assert (display.colorbar_.vmin, display.colorbar_.vmax) == (-largest, largest)


def test_templates_of_two_classes():
    X, y = load_digits(n_class=2, return_X_y=True)
    model = SoftmaxClassifier(C=1e-3).fit(X, y)
    display = CoefficientsDisplay.from_estimator(model, image_shape=(4, 16), colorbar=False)
    (image,), (ax,) = display.images_, display.axes_
    assert_array_equal(image.get_array(), model.coef_.reshape(4, 16))
    assert ax.get_title() == "1 against 0"
    assert display.colorbar_ is None


@pytest.mark.parametrize("count", [1, 3, 10])
@pytest.mark.parametrize("image_shape", [(2, 2), (1, 4), (4, 1)])
@pytest.mark.parametrize("size", [None, (9, 2.5), (4, 9)])
def test_templates_do_not_overlap(count, image_shape, size):
    names = [str(k) for k in range(max(count, 2))]
    ax = None if size is None else plt.figure(figsize=size, layout="constrained").add_subplot()
    display = CoefficientsDisplay(np.ones((count, 4)), class_names=names, image_shape=image_shape).plot(ax)
    display.figure_.canvas.draw()
    boxes = [ax.get_tightbbox() for ax in display.axes_]
    assert len(boxes) == count
    figure = display.figure_.bbox
    for k, box in enumerate(boxes):
        assert not box.count_overlaps(boxes[:k] + boxes[k + 1 :])
        assert figure.x0 <= box.x0 < box.x1 <= figure.x1
        assert figure.y0 <= box.y0 < box.y1 <= figure.y1


@pytest.mark.parametrize("name", ["a rather long class name number ", "comp.sys.ibm.pc.hardware"])
@pytest.mark.parametrize("count", [1, 10, 20])
@pytest.mark.parametrize("size", [None, (8, 6)])
def test_titles_of_templates_do_not_overlap(name, count, size):
    names = [f"{name}{k}" for k in range(max(count, 2))]
    ax = None if size is None else plt.figure(figsize=size).add_subplot()
    display = CoefficientsDisplay(np.ones((count, 4)), class_names=names, image_shape=(2, 2)).plot(ax)
    display.figure_.canvas.draw()
    boxes = [ax.get_tightbbox() for ax in display.axes_]
    assert not any(box.count_overlaps(boxes[:k] + boxes[k + 1 :]) for k, box in enumerate(boxes))
    if count > 1:
        letters = ["".join(ax.get_title().split()) for ax in display.axes_]
        assert letters == [name.replace(" ", "") for name in names]


@pytest.mark.parametrize("count", [1, 3, 10])
def test_templates_leave_room_for_the_colour_bar(count):
    names = [str(k) for k in range(max(count, 2))]
    coef = np.linspace(-2, 2, 64 * count).reshape(count, 64)
    display = CoefficientsDisplay(coef, class_names=names, image_shape=(1, 64)).plot()
    display.figure_.canvas.draw()
    bar = display.colorbar_.ax
    assert bar.yaxis.label.get_window_extent().height < bar.bbox.height
    labels = [text.get_window_extent() for text in bar.get_yticklabels()]
    assert all(below.y1 < above.y0 for below, above in itertools.pairwise(labels))


@pytest.mark.parametrize("name", ["$a\\b$", "$5-$10", r"\$1", "_x", "a_b^c"])
def test_names_are_drawn_as_they_stand(name):
    def drawn(text):
        assert not is_math_text(text.get_text())
        return text.get_text().replace(r"\$", "$").strip()

    names = [name, "b", "c"]
    heat_map = CoefficientsDisplay(COEF, class_names=names, feature_names=[*names, "d"]).plot()
    templates = CoefficientsDisplay(COEF, class_names=names, image_shape=(2, 2)).plot()
    fit = ConvergenceDisplay(HISTORY, name=name).plot()
    losses = LossDisplay.from_losses({name: SoftmaxLoss()})
    for display in (heat_map, templates, fit, losses):
        display.figure_.canvas.draw()
    assert drawn(heat_map.ax_.get_xticklabels()[0]) == name
    assert drawn(heat_map.ax_.get_yticklabels()[0]) == name
    assert drawn(templates.axes_[0].title) == name
    assert drawn(fit.ax_.get_legend().get_texts()[0]) == name
    assert drawn(losses.ax_.get_legend().get_texts()[0]) == name


@pytest.mark.parametrize("image_shape", [None, (2, 2)])
def test_each_coefficient_has_one_colour(image_shape):
    """This holds whatever interpolation the style sets for images."""
    with plt.rc_context({"image.interpolation": "bilinear"}):
        display = CoefficientsDisplay(COEF, class_names="abc", image_shape=image_shape).plot()
    assert {image.get_interpolation() for image in display.images_} == {"nearest"}


@pytest.mark.parametrize("image_shape", [None, (2, 2)])
def test_coefficients_in_given_axes(image_shape):
    figure, axes = plt.subplots(1, 2)
    display = CoefficientsDisplay(COEF, class_names="abc", image_shape=image_shape).plot(axes[1], cmap="PiYG")
    assert display.ax_ is axes[1]
    assert display.figure_ is figure
    assert {image.get_cmap().name for image in display.images_} == {"PiYG"}
    assert not axes[0].has_data()


def test_colours_of_zero_coefficients_and_of_the_caller():
    display = CoefficientsDisplay(np.zeros((3, 4)), class_names="abc").plot()
    assert display.images_[0].get_clim() == (-1, 1)
    display = CoefficientsDisplay(COEF, class_names="abc").plot(vmax=2)
    assert display.images_[0].get_clim() == (-7, 2)
    norm = SymLogNorm(0.1, vmin=-9, vmax=9)
    display = CoefficientsDisplay(COEF, class_names="abc", image_shape=(2, 2)).plot(norm=norm)
    assert {image.norm for image in display.images_} == {norm}


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"class_names": "ab"}, "class_names has 2 entries; expected 3, one for each class."),
        ({"feature_names": "abc"}, "feature_names has 3 entries; expected 4, one for each feature."),
        ({"image_shape": (2.0, 2.0)}, r"image_shape=\(2\.0, 2\.0\) must be a height and a width"),
        ({"image_shape": (2, 3)}, r"image_shape=\(2, 3\) must be a height and a width .* features, 4\."),
        ({"image_shape": (-2, -2)}, r"image_shape=\(-2, -2\) must"),
        ({"image_shape": (2, 2, 1)}, r"image_shape=\(2, 2, 1\) must"),
        ({"image_shape": 4}, "image_shape=4 must"),
    ],
)
def test_names_and_shape_must_fit(parameters, message):
    with pytest.raises(ValueError, match=message):
        CoefficientsDisplay(COEF, **({"class_names": "abc"} | parameters))


def test_names_of_two_classes_must_be_two():
    with pytest.raises(ValueError, match="class_names has 1 entries; expected 2"):
        CoefficientsDisplay(COEF[:1], class_names="a")


def test_loss_curves():
    display = LossDisplay.from_losses()
    m = display.margins
    expected = [np.log1p(np.exp(-m)), np.maximum(0, 1 - m), np.maximum(0, 1 - m) ** 2]
    assert legend_of(display) == ["softmax", "hinge", "squared hinge"]
    assert (m[0], m[-1], len(m)) == (-2, 3, 501)
    for line, value in zip(display.lines_, expected, strict=True):
        assert_array_equal(line.get_xdata(), m)
        assert_allclose(line.get_ydata(), value, rtol=1e-13, atol=1e-15)
    assert display.ax_.get_xlabel() == "Margin of the scores, $s_y - s_j$"
    assert display.ax_.get_ylabel() == "Loss of the sample"


def test_loss_curves_of_two_hinges_are_one():
    losses = {"all": WestonWatkinsLoss(2.0), "worst": CrammerSingerLoss(2.0)}
    display = LossDisplay.from_losses(losses, margins=[-1, 0, 2, 5], linewidth=4)
    assert_array_equal(display.values["all"], [3, 2, 0, 0])
    assert_array_equal(display.values["worst"], display.values["all"])
    assert {line.get_linewidth() for line in display.lines_} == {4}


def test_loss_curves_in_given_axes():
    _, ax = plt.subplots()
    first = LossDisplay.from_losses({"softmax": SoftmaxLoss()}, ax=ax)
    second = LossDisplay.from_losses({"smoothed": SoftmaxLoss(0.1)}, ax=ax)
    assert ax.lines[:] == first.lines_ + second.lines_
    assert legend_of(second) == ["softmax", "smoothed"]


def test_loss_curves_differ_by_dashes():
    display = LossDisplay.from_losses()
    again = LossDisplay.from_losses({"smoothed": SoftmaxLoss(0.1)}, ax=display.ax_)
    assert len({line.get_linestyle() for line in display.lines_ + again.lines_}) == 4


def test_style_of_lines_is_the_callers():
    assert {line.get_linestyle() for line in LossDisplay.from_losses(ls=":").lines_} == {":"}
    assert ConvergenceDisplay(HISTORY).plot(ms=9).line_.get_markersize() == 9


def test_loss_curves_of_margins_for_pairs():
    pairs = WestonWatkinsLoss(np.array([[0.0, 3.0], [1.0, 0.0]]))
    assert_array_equal(LossDisplay.from_losses({"pairs": pairs}, margins=[0.0]).values["pairs"], [3])
    with pytest.raises(ValueError, match=r"losses\['three'\] has margins of shape \(3, 3\)"):
        LossDisplay.from_losses({"three": WestonWatkinsLoss(np.ones((3, 3)))})


def test_coefficients_that_are_none():
    for coef in (np.ones((2, 2, 2)), np.ones((0, 4))):
        with pytest.raises(ValueError, match=re.escape(f"coef has the shape {coef.shape}; expected")):
            CoefficientsDisplay(coef, class_names="ab")
    with pytest.raises(ValueError, match="coef has entries that are not finite, such as nan"):
        CoefficientsDisplay([[1.0, np.nan], [0.0, 1.0]], class_names="ab")


def test_a_history_without_its_columns():
    for history in (None, SoftmaxClassifier(), ["objective", "gap", "seconds"]):
        with pytest.raises(ValueError, match=r"history=.* must be a dict, .*\.from_estimator"):
            ConvergenceDisplay(history)
    display = ConvergenceDisplay({"objective": [2.0, 1.0]})
    assert_array_equal(display.plot(quantity="objective").line_.get_ydata(), [2, 1])
    with pytest.raises(
        ValueError, match=r"history has no 'gap', which .* draw what history has: \['objective'\]"
    ):
        display.plot()
    with pytest.raises(ValueError, match="history has no 'seconds'"):
        display.plot(quantity="objective", against="seconds")


def test_loss_curves_check_what_they_are_given():
    for losses in ({}, [WestonWatkinsLoss()], WestonWatkinsLoss(), "hinge", pd.Series({"a": 1})):
        with pytest.raises(ValueError, match=r"(?s)losses=.* must be a dict of at least one loss by name"):
            LossDisplay.from_losses(losses)
    with pytest.raises(ValueError, match=r"losses\['a'\]=.* is a class. Pass an object"):
        LossDisplay.from_losses({"a": WestonWatkinsLoss})
    with pytest.raises(ValueError, match=r"losses\['a'\]=1 must have a method value_and_gradient"):
        LossDisplay.from_losses({"a": 1})
    with pytest.raises(ValueError, match=r"margins has shape \(2, 2\); expected one dimension"):
        LossDisplay.from_losses(margins=np.ones((2, 2)))


def test_message_without_matplotlib(monkeypatch, softmax):
    def no_matplotlib(name, *args, original=builtins.__import__, **kwargs):
        if name.partition(".")[0] == "matplotlib":
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        return original(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", no_matplotlib)
    for display, draw in [
        (ConvergenceDisplay, lambda: ConvergenceDisplay.from_estimator(softmax)),
        (CoefficientsDisplay, lambda: CoefficientsDisplay.from_estimator(softmax)),
        (LossDisplay, LossDisplay.from_losses),
    ]:
        message = rf"{display.__name__} draws with matplotlib.*pip install matplotlib"
        with pytest.raises(ImportError, match=message):
            draw()
