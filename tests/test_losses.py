"""Every public loss against plain loops, finite differences and the inequalities that define it."""

import math
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from sk_linear_losses.losses import CrammerSingerLoss, HingeLoss, SoftmaxLoss, WestonWatkinsLoss, _flows_of


def pair_margins(n_classes):
    """Margins in steps of a half, so that half-integer scores meet kinks exactly; the diagonal is noise."""
    margins = np.random.default_rng(n_classes).integers(0, 6, size=(n_classes, n_classes)) / 2
    np.fill_diagonal(margins, 99)
    return margins


def softmax(loss, scores, right):
    """Cross-entropy of one sample from its definition."""
    normaliser = sum(math.exp(score) for score in scores)
    value = 0.0
    for j, score in enumerate(scores):
        target = (1 - loss.label_smoothing) * (j == right) + loss.label_smoothing / len(scores)
        value -= target * math.log(math.exp(score) / normaliser)
    return value


def shortfalls(loss, scores, right):
    """Shortfalls of one sample from its margins."""
    margins = np.broadcast_to(loss.margin, (len(scores), len(scores))).tolist()
    leads = enumerate(score - scores[right] for score in scores)
    return [max(0.0, margins[right][j] + lead) for j, lead in leads if j != right]


def weston_watkins(loss, scores, right):
    """Sum of one sample's shortfalls or of their squares."""
    return sum(shortfall ** (2 if loss.squared else 1) for shortfall in shortfalls(loss, scores, right))


def crammer_singer(loss, scores, right):
    """Largest of one sample's shortfalls."""
    return max(shortfalls(loss, scores, right))


def loss_of_the_guide():
    """The loss that CONTRIBUTING.md defines."""
    guide = (Path(__file__).parents[1] / "CONTRIBUTING.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"^```python\n(.*?)^```", guide, re.MULTILINE | re.DOTALL)
    namespace = {}
    exec(code, namespace)
    return namespace["LeastSquaresLoss"]()


def least_squares(loss, scores, right):
    """Half the squared distance of one sample's centred scores from its centred target."""
    mean = sum(scores) / len(scores)
    targets = ((j == right) - 1 / len(scores) for j in range(len(scores)))
    return sum((score - mean - target) ** 2 for score, target in zip(scores, targets, strict=True)) / 2


def bank(n_classes):
    """Name, loss, and the loss of one sample by its definition, for each loss that must pass the tests."""
    for share in (0.0, 0.1, 0.9):
        yield f"softmax-{share}", SoftmaxLoss(label_smoothing=share), softmax
    yield "least-squares", loss_of_the_guide(), least_squares
    for margin in (0.5, 1.0, 3.0, pair_margins(n_classes)):
        name = "pairs" if np.ndim(margin) else margin
        yield f"ww-{name}", WestonWatkinsLoss(margin), weston_watkins
        yield f"ww-squared-{name}", WestonWatkinsLoss(margin, squared=True), weston_watkins
        yield f"cs-{name}", CrammerSingerLoss(margin), crammer_singer


NAIVE_CASES = [
    pytest.param(loss, n_classes, naive, id=f"{name}-K{n_classes}")
    for n_classes in (2, 3, 7)
    for name, loss, naive in bank(n_classes)
]
CASES = [pytest.param(*case.values[:2], id=case.id) for case in NAIVE_CASES]
MARGIN_CASES = [case for case in CASES if isinstance(case.values[0], HingeLoss)]
SOFTMAX_CASES = [case for case in CASES if isinstance(case.values[0], SoftmaxLoss)]


def samples(n_classes, n_samples=60):
    """Scores and classes; the first third of the scores lies at exact ties and kinks, and at zero."""
    rng = np.random.default_rng(n_classes)
    scores = rng.normal(scale=2, size=(n_samples, n_classes))
    scores[: n_samples // 3] = np.round(2 * scores[: n_samples // 3]) / 2
    scores[:n_classes] = 0
    return scores, np.arange(n_samples) % n_classes


def generic_samples(n_classes):
    """Scores and classes without ties."""
    scores, y = samples(n_classes)
    return scores[20:], y[20:]


def admissible_flows(y, n_classes):
    """Flows to the wrong classes that are slopes of every hinge."""
    flows = np.random.default_rng(1).uniform(0, 0.5 / n_classes, size=(len(y), n_classes))
    flows[np.arange(len(y)), y] = 0
    return flows


def difference_quotients(function, scores, step):
    """Forward and backward difference quotients of ``function`` in each score, stacked on a last axis."""
    forward, backward = [], []
    for k in range(scores.shape[1]):
        move = np.zeros(scores.shape[1])
        move[k] = step
        centre = function(scores)
        forward.append((function(scores + move) - centre) / step)
        backward.append((centre - function(scores - move)) / step)
    return np.stack(forward, axis=-1), np.stack(backward, axis=-1)


def assert_derivative(function, derivative, scores, step=1e-5):
    """Compare with central differences in rows where the one-sided quotients agree, so not at kinks."""
    forward, backward = difference_quotients(function, scores, step)
    apart = np.abs(forward - backward).reshape(len(scores), -1).max(axis=1)
    smooth = apart < 1e-3
    assert smooth.mean() > 0.7
    assert_allclose(derivative[smooth], (forward + backward)[smooth] / 2, rtol=1e-6, atol=1e-7)


def dense(curvature):
    """The matrices ``diag(d) - (l r' + r l') / 2``."""
    diagonal, left, right = curvature
    cross = np.einsum("ij,ik->ijk", left, right)
    return np.einsum("ij,jk->ijk", diagonal, np.eye(diagonal.shape[1])) - (cross + cross.swapaxes(1, 2)) / 2


@pytest.mark.parametrize(("loss", "n_classes", "naive"), NAIVE_CASES)
def test_value_is_the_naive_one(loss, n_classes, naive):
    scores, y = samples(n_classes)
    expected = [naive(loss, row.tolist(), int(right)) for row, right in zip(scores, y, strict=True)]
    assert_allclose(loss.value(scores, y), expected, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize(("loss", "n_classes"), CASES)
class TestEveryLoss:
    def test_curvature_is_the_difference_quotient(self, loss, n_classes):
        scores, y = generic_samples(n_classes)
        curvature = dense(loss.curvature(scores, y))
        assert_derivative(lambda moved: loss.gradient(moved, y), curvature, scores)

    def test_gradient_is_the_difference_quotient(self, loss, n_classes):
        scores, y = generic_samples(n_classes)
        assert_derivative(lambda moved: loss.value(moved, y), loss.gradient(scores, y), scores)

    def test_lies_above_its_tangents(self, loss, n_classes):
        scores, y = samples(n_classes)
        value, gradient = loss.value_and_gradient(scores, y)
        for shift in range(1, len(scores)):
            other = np.roll(scores, shift, axis=0)
            tangent = value + np.einsum("ij,ij->i", gradient, other - scores)
            assert (loss.value(other, y) >= tangent - 1e-12 * (1 + np.abs(tangent))).all()

    def test_gradient_sums_to_zero(self, loss, n_classes):
        gradient = loss.gradient(*samples(n_classes))
        assert_allclose(gradient.sum(axis=1), 0, atol=1e-13)

    def test_ignores_a_shift_of_all_scores(self, loss, n_classes):
        scores, y = generic_samples(n_classes)
        value, gradient = loss.value_and_gradient(scores, y)
        moved_value, moved_gradient = loss.value_and_gradient(scores + np.arange(len(y))[:, None], y)
        assert_allclose(moved_value, value, rtol=1e-12, atol=1e-12)
        assert_allclose(moved_gradient, gradient, rtol=1e-12, atol=1e-12)

    def test_does_not_know_the_order_of_classes(self, loss, n_classes):
        scores, y = generic_samples(n_classes)
        order = np.random.default_rng(0).permutation(n_classes)
        permuted = loss
        if np.ndim(getattr(loss, "margin", 0)):
            permuted = replace(loss, margin=loss.margin[np.ix_(order, order)])
        value, gradient = permuted.value_and_gradient(scores[:, order], np.argsort(order)[y])
        assert_allclose(value, loss.value(scores, y), rtol=1e-13, atol=1e-15)
        assert_allclose(gradient, loss.gradient(scores, y)[:, order], rtol=1e-12, atol=1e-15)

    def test_the_right_class_may_give_the_balancing_flow_to_any_other(self, loss, n_classes):
        given = loss._balancing_flow(n_classes, mean_objective=0.3)
        y, others = np.nonzero(~np.eye(n_classes, dtype=bool))
        gradient = given * (np.eye(n_classes)[others] - np.eye(n_classes)[y])
        assert np.isfinite(loss.conjugate(gradient, y)).all()

    def test_takes_each_sample_alone(self, loss, n_classes):
        scores, y = samples(n_classes)
        alone = [loss.value_and_gradient(scores[[i]], y[[i]]) for i in range(len(y))]
        value, gradient = loss.value_and_gradient(scores, y)
        assert_allclose(value, np.concatenate([part for part, _ in alone]), rtol=1e-13, atol=1e-15)
        assert_allclose(gradient, np.concatenate([part for _, part in alone]), rtol=1e-13, atol=1e-15)

    def test_value_and_gradient_are_value_and_gradient(self, loss, n_classes):
        scores, y = samples(n_classes)
        value, gradient = loss.value_and_gradient(scores, y)
        assert value.shape == y.shape
        assert gradient.shape == scores.shape
        assert_array_equal(value, loss.value(scores, y))
        assert_array_equal(gradient, loss.gradient(scores, y))

    @pytest.mark.parametrize("dtype", [np.float32, np.float64])
    def test_keeps_the_dtype(self, loss, n_classes, dtype):
        scores, y = generic_samples(n_classes)
        value, gradient = loss.value_and_gradient(scores.astype(dtype), y)
        assert value.dtype == gradient.dtype == dtype
        assert_allclose(value, loss.value(scores, y), rtol=1e-5, atol=1e-5)
        assert_allclose(gradient, loss.gradient(scores, y), rtol=1e-5, atol=1e-5)

    def test_takes_integers(self, loss, n_classes):
        scores, y = samples(n_classes)
        whole = np.round(scores).astype(int)
        value, gradient = loss.value_and_gradient(whole, y.astype(np.uint8))
        assert_array_equal(value, loss.value(whole.astype(float), y))
        assert_array_equal(gradient, loss.gradient(whole.astype(float), y))

    @pytest.mark.parametrize("wrong", [-1, 9, 1.0, True, "a"])
    def test_classes_must_be_indices(self, loss, n_classes, wrong):
        """Labels such as -1 would be taken for the last class."""
        scores, y = samples(n_classes)
        labels = y.astype(type(wrong))
        labels[3] = wrong
        for method in (loss.value, loss.gradient, loss.value_and_gradient, loss.curvature, loss.conjugate):
            with pytest.raises(ValueError, match=rf"y holds .* from 0 to {n_classes - 1}.*return_inverse"):
                method(scores, labels)

    def test_memory_order_does_not_matter(self, loss, n_classes):
        scores, y = samples(n_classes)
        for part, fortran in zip(
            loss.value_and_gradient(scores, y),
            loss.value_and_gradient(np.asfortranarray(scores), y),
            strict=True,
        ):
            assert_allclose(fortran, part, rtol=1e-13, atol=1e-15)

    def test_leaves_its_input_alone(self, loss, n_classes):
        scores, y = samples(n_classes)
        before = scores.copy(), y.copy()
        scores.flags.writeable = y.flags.writeable = False
        loss.value_and_gradient(scores, y)
        loss.conjugate(scores, y)
        assert_array_equal(scores, before[0])
        assert_array_equal(y, before[1])

    @pytest.mark.parametrize("dtype", [np.float32, np.float64])
    def test_is_finite_at_huge_scores(self, loss, n_classes, dtype):
        scores, y = samples(n_classes)
        value, gradient = loss.value_and_gradient(1e9 * np.sign(scores).astype(dtype), y)
        assert np.isfinite(value).all()
        assert np.isfinite(gradient).all()

    def test_attains_the_fenchel_young_equality(self, loss, n_classes):
        scores, y = samples(n_classes)
        value, gradient = loss.value_and_gradient(scores, y)
        product = np.einsum("ij,ij->i", scores, gradient)
        assert_allclose(value + loss.conjugate(gradient, y), product, rtol=1e-10, atol=1e-10)

    def test_gradients_in_single_precision_are_in_the_domain_of_the_conjugate(self, loss, n_classes):
        scores, y = samples(n_classes)
        exact = loss.conjugate(loss.gradient(scores, y), y)
        rounded = loss.conjugate(loss.gradient(scores.astype(np.float32), y), y)
        assert_allclose(rounded, exact, rtol=1e-4, atol=1e-4)

    def test_conjugate_is_infinite_where_the_gradient_does_not_sum_to_zero(self, loss, n_classes):
        gradient = np.full((1, n_classes), 0.5 / (n_classes - 1))
        gradient[0, 0] = 0
        assert np.isinf(loss.conjugate(gradient, np.array([0])))


@pytest.mark.parametrize(("loss", "n_classes"), SOFTMAX_CASES + MARGIN_CASES)
def test_leeway_stays_in_the_domain_of_the_conjugate(loss, n_classes):
    scores, y = samples(n_classes)
    rng = np.random.default_rng(0)
    gradient = loss.gradient(scores, y)
    if not isinstance(loss, SoftmaxLoss):
        gradient = loss._envelope_gradient(scores, y, np.zeros_like(scores), 2.0)
    matrix = loss.leeway(gradient, y)
    largest = 0.0
    for _ in range(50):
        change = matrix.product(rng.integers(0, 2, scores.shape) + rng.normal())
        largest = max(largest, np.abs(change).max())
        assert np.isfinite(loss.conjugate(gradient + change, y)).all()
    assert largest > 0.01


@pytest.mark.parametrize(("loss", "n_classes"), SOFTMAX_CASES + MARGIN_CASES)
@pytest.mark.parametrize("wrong", ["backwards", "too much"])
def test_conjugate_is_infinite_outside_its_domain(loss, n_classes, wrong):
    gradient = np.zeros((1, n_classes))
    if wrong == "backwards":
        gradient[0, :2] = 2, -2
    else:
        gradient[0, 1:] = 1.5 / (1 if isinstance(loss, WestonWatkinsLoss) else n_classes - 1)
        gradient[0, 0] = -gradient.sum()
    bounded = wrong == "backwards" or not getattr(loss, "squared", False)
    assert np.isinf(loss.conjugate(gradient, np.array([0])))[0] == bounded


@pytest.mark.parametrize(("loss", "n_classes"), MARGIN_CASES)
class TestEnvelope:
    def envelope(self, loss, n_classes):
        """Samples, a smoothing for each, and the envelope as a function of the scores."""
        scores, y = generic_samples(n_classes)
        flows = admissible_flows(y, n_classes)
        smoothing = np.linspace(0.5, 1, len(y))[:, None]
        return scores, y, smoothing, lambda moved: loss._envelope(moved, y, flows, smoothing)

    @pytest.mark.parametrize("smoothing", [1.0, 1e-3, 1e-9])
    def test_lies_below_the_loss_and_tends_to_it(self, loss, n_classes, smoothing):
        scores, y = samples(n_classes)
        flows = admissible_flows(y, n_classes)
        value, gradient = loss.value_and_gradient(scores, y)
        deficit = value - loss._envelope(scores, y, flows, smoothing).value
        gradient[np.arange(len(y)), y] = 0
        assert (deficit >= -1e-12 * (1 + value)).all()
        assert (deficit <= smoothing / 2 * ((gradient - flows) ** 2).sum(axis=1) + 1e-12 * (1 + value)).all()

    def test_gradient_is_the_difference_quotient(self, loss, n_classes):
        scores, _, _, envelope = self.envelope(loss, n_classes)
        assert_derivative(lambda moved: envelope(moved).value, envelope(scores).gradient, scores)

    def test_curvature_is_the_difference_quotient(self, loss, n_classes):
        scores, y, smoothing, envelope = self.envelope(loss, n_classes)
        curvature = loss._envelope_curvature(_flows_of(envelope(scores).gradient, y), y, smoothing)
        assert_derivative(lambda moved: envelope(moved).gradient, dense(curvature), scores)

    def test_carries_the_loss_and_its_conjugate(self, loss, n_classes):
        scores, y, _, envelope = self.envelope(loss, n_classes)
        point = envelope(scores)
        assert_allclose(point.loss, loss.value(scores, y), rtol=1e-14)
        assert_allclose(point.conjugate, loss.conjugate(point.gradient, y), rtol=1e-12, atol=1e-14)
        assert_allclose(point.gradient.sum(axis=1), 0, atol=1e-13)

    def test_is_the_loss_at_its_own_multipliers(self, loss, n_classes):
        scores, y = generic_samples(n_classes)
        flows = loss.gradient(scores, y)
        flows[np.arange(len(y)), y] = 0
        point = loss._envelope(scores, y, flows, 0.7)
        assert_allclose(point.value, loss.value(scores, y), rtol=1e-12, atol=1e-13)
        assert_allclose(point.gradient, loss.gradient(scores, y), rtol=1e-12, atol=1e-13)

    def test_leaves_its_input_alone(self, loss, n_classes):
        scores, y = samples(n_classes)
        flows = np.zeros_like(scores)
        scores.flags.writeable = y.flags.writeable = flows.flags.writeable = False
        point = loss._envelope(scores, y, flows, 0.5)
        implied = _flows_of(point.gradient, y)
        implied.flags.writeable = False
        loss._envelope_curvature(implied, y, 0.5)

    @pytest.mark.parametrize("smoothing", [1e-9, 1e9])
    def test_is_finite_and_admissible_at_huge_scores(self, loss, n_classes, smoothing):
        scores, y = samples(n_classes)
        point = loss._envelope(1e9 * np.sign(scores), y, np.zeros_like(scores), smoothing)
        for part in point:
            assert np.isfinite(part).all()
        assert np.isfinite(loss.conjugate(point.gradient, y)).all()


@pytest.mark.parametrize("loss", [WestonWatkinsLoss(), CrammerSingerLoss()])
def test_kinks_are_spread_over_the_width(loss):
    """Half the width lies on either side of the point where the right class leads by the margin."""
    scores = np.column_stack([[0.74, 0.76, 1.24, 1.26], np.zeros(4)])
    curvature = dense(loss._kink_curvature(scores, np.zeros(4, dtype=int), 0.5))
    expected = np.multiply.outer([0, 2, 2, 0], [[1, -1], [-1, 1]])
    assert_allclose(curvature, expected, atol=1e-12)


@pytest.mark.parametrize("n_classes", [2, 3, 4, 8])
@pytest.mark.parametrize("parts", [3, 5, 7, 30])
def test_crammer_singers_flows_where_several_are_about_to_vanish(n_classes, parts):
    """With multiples of a fraction, many flows are at the threshold up to round-off: a loop never ended."""
    rng = np.random.default_rng(parts)
    points = rng.integers(-parts, 2 * parts, size=(1000, n_classes)) / parts + 1 / 3
    points[:, 0] = 0
    y = np.zeros(len(points), dtype=int)
    gradient = CrammerSingerLoss(0.0)._envelope(points, y, np.zeros_like(points), 1.0).gradient
    # Optimality of the nearest point: positive flows were lowered by one common number, others by less.
    flows = gradient[:, 1:]
    lowered = points[:, 1:] - flows
    common = lowered.max(axis=1, initial=0)
    assert flows.min() >= 0
    assert flows.sum(axis=1).max() <= 1 + 1e-12
    assert (flows * (common[:, None] - lowered) <= 1e-12).all()
    assert_allclose(common * (1 - flows.sum(axis=1)), 0, atol=1e-12)


@pytest.mark.parametrize(("loss", "n_classes"), SOFTMAX_CASES)
class TestSoftmax:
    def test_gradient_is_softmax_minus_target(self, loss, n_classes):
        scores, y = generic_samples(n_classes)
        terms = np.exp(scores)
        target = (1 - loss.label_smoothing) * np.eye(n_classes)[y] + loss.label_smoothing / n_classes
        expected = terms / terms.sum(axis=1, keepdims=True) - target
        assert_allclose(loss.gradient(scores, y), expected, rtol=1e-12, atol=1e-15)

    def test_is_the_log_of_the_class_count_at_zero(self, loss, n_classes):
        value = loss.value(np.zeros((n_classes, n_classes)), np.arange(n_classes))
        assert_allclose(value, np.log(n_classes), rtol=1e-15)


@pytest.mark.parametrize("n_classes", [2, 3, 7])
def test_softmax_keeps_the_digits_of_a_confident_loss(n_classes):
    scores = np.full((1, n_classes), 3.0)
    scores[0, 1] += 50
    value, gradient = SoftmaxLoss().value_and_gradient(scores, np.array([1]))
    assert_allclose(value, math.exp(-50) * (n_classes - 1), rtol=1e-12)
    assert_allclose(gradient[0, 1], -math.exp(-50) * (n_classes - 1), rtol=1e-12)
    assert_allclose(np.delete(gradient[0], 1), math.exp(-50), rtol=1e-12)


@pytest.mark.skipif(np.finfo(np.longdouble).eps > 1e-18, reason="needs a longer float than float64")
@pytest.mark.parametrize("scale", [0.1, 3, 30, 300])
@pytest.mark.parametrize("n_classes", [2, 3, 10])
def test_softmax_has_all_digits_of_a_longer_float(n_classes, scale):
    rng = np.random.default_rng(0)
    scores = scale * rng.standard_normal((500, n_classes))
    y = rng.integers(n_classes, size=len(scores))
    own = np.arange(len(y)), y
    wrong = scores.astype(np.longdouble)
    wrong -= wrong[own][:, None]
    wrong[own] = -np.inf
    terms = np.exp(wrong)
    total = terms.sum(axis=1)
    gradient = terms / (1 + total)[:, None]
    gradient[own] = -total / (1 + total)

    found = SoftmaxLoss().value_and_gradient(scores, y)

    # Scores of this size are rounded by as much, and numbers below the smallest normal one have fewer digits.
    allowed = {"rtol": 20 * (1 + scale) * np.finfo(float).eps, "atol": np.finfo(float).tiny}
    assert_allclose(found[0], np.log1p(total).astype(float), **allowed)
    assert_allclose(found[1], gradient.astype(float), **allowed)


@pytest.mark.parametrize("n_classes", [2, 3, 7])
@pytest.mark.parametrize("loss", [SoftmaxLoss(), WestonWatkinsLoss(), CrammerSingerLoss()])
def test_confident_and_right_costs_nothing(loss, n_classes):
    value, gradient = loss.value_and_gradient(1000 * np.eye(n_classes), np.arange(n_classes))
    assert_array_equal(value, 0)
    assert_array_equal(gradient, 0)


@pytest.mark.parametrize("n_classes", [2, 3, 7])
@pytest.mark.parametrize("margin", [0.5, 1.0, 3.0])
def test_hinges_at_zero_scores(n_classes, margin):
    at_zero = np.zeros((n_classes, n_classes)), np.arange(n_classes)
    assert_allclose(WestonWatkinsLoss(margin).value(*at_zero), (n_classes - 1) * margin)
    assert_allclose(WestonWatkinsLoss(margin, squared=True).value(*at_zero), (n_classes - 1) * margin**2)
    assert_allclose(CrammerSingerLoss(margin).value(*at_zero), margin)


@pytest.mark.parametrize(
    ("loss", "expected"), [(WestonWatkinsLoss(), 1.58), (SoftmaxLoss(), 1.04), (CrammerSingerLoss(), 1.58)]
)
def test_worked_example(loss, expected):
    W = np.array([[0.01, -0.05, 0.1, 0.05], [0.7, 0.2, 0.05, 0.16], [0.0, -0.45, -0.2, 0.03]])
    scores = W @ [-15, 22, -44, 56] + [0.0, 0.2, -0.3]
    assert_allclose(scores, [-2.85, 0.86, 0.28], atol=1e-12)
    assert_allclose(loss.value(scores[None], np.array([2])), expected, atol=5e-3)


@pytest.mark.parametrize("margin", [0.5, 1.0, pair_margins(2)], ids=["0.5", "1.0", "pairs"])
def test_hinges_agree_on_two_classes(margin):
    scores, y = samples(2)
    for one, other in zip(
        WestonWatkinsLoss(margin).value_and_gradient(scores, y),
        CrammerSingerLoss(margin).value_and_gradient(scores, y),
        strict=True,
    ):
        assert_array_equal(one, other)


@pytest.mark.parametrize("n_classes", [2, 3, 7])
@pytest.mark.parametrize("loss", [WestonWatkinsLoss, CrammerSingerLoss])
def test_one_number_is_the_margin_of_every_pair(loss, n_classes):
    scores, y = samples(n_classes)
    every_pair = loss(np.full((n_classes, n_classes), 2.0))
    assert_array_equal(every_pair.value(scores, y), loss(2.0).value(scores, y))
    assert_array_equal(every_pair.gradient(scores, y), loss(2.0).gradient(scores, y))


@pytest.mark.parametrize("loss", [SoftmaxLoss(), WestonWatkinsLoss(), CrammerSingerLoss()])
def test_a_class_for_each_row(loss):
    """One row of scores is not broadcast to several classes in y."""
    methods = loss.value, loss.gradient, loss.value_and_gradient, loss.curvature, loss.conjugate, loss.leeway
    for method in methods:
        name = "gradient" if method in (loss.conjugate, loss.leeway) else "scores"
        with pytest.raises(ValueError, match=rf"{name} has shape \(1, 3\) and y has shape \(2,\)"):
            method(np.ones((1, 3)), np.array([0, 1]))
        with pytest.raises(ValueError, match=rf"{name} has shape \(2, 3\) and y has shape \(2, 1\)"):
            method(np.ones((2, 3)), np.array([[0], [1]]))
        with pytest.raises(ValueError, match=rf"{name} has shape \(2,\) and y has shape \(2,\)"):
            method(np.ones(2), np.array([0, 1]))
        message = rf"{name} has shape \(2, 0\) and y has shape \(2,\).* at least one class"
        with pytest.raises(ValueError, match=message):
            method(np.ones((2, 0)), np.array([0, 1]))
        with pytest.raises(ValueError, match=rf"For one sample, pass {name}\[None, :\] and \[y\]"):
            method(np.ones(3), 1)


@pytest.mark.parametrize("loss", [SoftmaxLoss(), WestonWatkinsLoss(), CrammerSingerLoss()])
def test_no_samples(loss):
    value, gradient = loss.value_and_gradient(np.ones((0, 3)), [])
    assert value.shape == (0,)
    assert gradient.shape == (0, 3)


def test_shares_of_float32_may_add_up_to_one_but_for_their_rounding():
    """Their sum is then constant, and the curvature is among these classes alone."""
    gradient = np.array([[-1, 0.07, 0.21, 0.16, 0.35, 0.21]])
    rounded = gradient.astype(np.float32)
    assert rounded[:, 1:].sum() < 1
    y = np.array([0])
    curvature = CrammerSingerLoss()._envelope_curvature(_flows_of(rounded, y), y, 0.5)
    expected = CrammerSingerLoss()._envelope_curvature(_flows_of(gradient, y), y, 0.5)
    assert_allclose(dense(curvature), dense(expected), atol=1e-6)


@pytest.mark.parametrize("value", [-0.1, 1.0, 5, np.nan, "0.1", True])
def test_label_smoothing_is_a_share(value):
    with pytest.raises(ValueError, match=re.escape(f"label_smoothing={value!r} must be a number in [0, 1)")):
        SoftmaxLoss(value)


@pytest.mark.parametrize("label_smoothing", [0.0, 0.3])
def test_constant_scores_of_the_softmax_have_no_slope_in_all(label_smoothing):
    loss, class_totals = SoftmaxLoss(label_smoothing), np.array([0.5, 3.0, 8.0])
    scores = np.tile(loss._constant_scores(class_totals), (3, 1))
    assert_allclose(class_totals @ loss.gradient(scores, np.arange(3)), 0, atol=1e-14)


@pytest.mark.parametrize("squared", ["no", 1, None])
def test_squared_is_a_boolean(squared):
    with pytest.raises(ValueError, match=f"squared={squared!r} must be True or False"):
        WestonWatkinsLoss(squared=squared)


@pytest.mark.parametrize("scores", [np.eye(2) * 1j, [["1", "2"], ["3", "4"]]])
def test_scores_are_numbers(scores):
    with pytest.raises(ValueError, match="must be a number or an array of numbers"):
        SoftmaxLoss().value(scores, [0, 1])


@pytest.mark.parametrize("loss", [WestonWatkinsLoss, CrammerSingerLoss])
class TestMarginOfALoss:
    @pytest.mark.parametrize("margin", [-2, np.nan, np.inf, [[0, -1], [1, 0]]])
    def test_is_finite_and_not_negative(self, loss, margin):
        with pytest.raises(ValueError, match="must be finite and not negative"):
            loss(margin)

    @pytest.mark.parametrize("margin", ["2", None, True, 1 + 2j, 10**400, [[0, 1], [1]], np.eye(2) * 1j])
    def test_is_made_of_numbers(self, loss, margin):
        with pytest.raises(ValueError, match="must be a number or an array of numbers"):
            loss(margin)

    @pytest.mark.parametrize("n_classes", [1, 2, 4])
    def test_has_the_classes_of_the_scores(self, loss, n_classes):
        scores, y = np.eye(3), np.arange(3)
        asking = loss(np.ones((n_classes, n_classes)))
        message = re.escape(f"margin has shape {(n_classes, n_classes)}, but ")
        for method in (asking.value, asking.gradient, asking.curvature, asking.conjugate, asking.leeway):
            name = "gradient" if method in (asking.conjugate, asking.leeway) else "scores"
            with pytest.raises(ValueError, match=f"{message}{name} has 3 columns"):
                method(scores, y)

    @pytest.mark.parametrize("margin", [np.ones(3), np.ones((4, 3)), np.ones((2, 2, 2))])
    def test_has_a_row_and_a_column_for_each_class(self, loss, margin):
        with pytest.raises(ValueError, match=re.escape(f"margin has shape {margin.shape}; pass a number")):
            loss(margin)

    def test_may_have_anything_on_its_diagonal(self, loss):
        scores, y = np.eye(3), np.arange(3)
        for nothing in (np.nan, 1e9, None):
            margin = np.where(np.eye(3), nothing, 2.0)
            assert_allclose(loss(margin).value(scores, y), loss(2.0).value(scores, y))
            assert_allclose(loss(margin).gradient(scores, y), loss(2.0).gradient(scores, y))
            assert loss(margin)._score_unit == 2.0
