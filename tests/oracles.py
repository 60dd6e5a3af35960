"""What tests share: data, textbook solutions in plain numpy, the losses written out, and counted calls."""

from functools import cache
from unittest import mock

import numpy as np
import scipy.sparse as sp
from scipy.linalg import cho_factor, cho_solve, lu_factor, lu_solve
from scipy.special import log_softmax, logsumexp
from sklearn import datasets

# A small problem in integers, which float32 holds exactly; some rows have no weight.
N_SAMPLES, N_FEATURES, N_CLASSES = 103, 6, 3
INTEGERS = np.random.default_rng(0).integers(-3, 4, size=(N_SAMPLES, N_FEATURES)).astype(float)
Y = np.arange(N_SAMPLES) % N_CLASSES
WEIGHT = np.arange(N_SAMPLES) % 4 / 2
COEF = np.random.default_rng(1).normal(size=(N_FEATURES, N_CLASSES))
INTERCEPT = np.array([1.0, -2.0, 0.5])


def counted(owner, name):
    """A context that counts calls of a function of a class or module, as ``call_count`` of the mock."""
    return mock.patch.object(owner, name, autospec=True, side_effect=getattr(owner, name))


@cache
def bundled(name):
    """X and y of a data set that comes with scikit-learn, unscaled."""
    return getattr(datasets, f"load_{name}")(return_X_y=True)


def generated(seed, n_samples, n_features, n_classes, noise=1.0):
    """Random features, and labels that depend on them with noise; every class occurs."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n_samples, n_features))
    scores = X @ rng.normal(size=(n_features, n_classes))
    y = (scores + noise * rng.gumbel(size=scores.shape)).argmax(axis=1)
    y[:n_classes] = np.arange(n_classes)
    return X, y


def relative_error(found, wanted):
    """Norm of the difference as a share of the norm wanted."""
    return np.linalg.norm(np.asarray(found) - wanted) / np.linalg.norm(wanted)


def word_counts(seed, n_samples, n_words, n_classes, length=80):
    """Counts of Zipf-distributed words in texts of very different lengths, which depend on the class; CSR."""
    rng = np.random.default_rng(seed)
    y = np.arange(n_samples) % n_classes
    shares = np.exp(0.7 * rng.standard_normal((n_classes, n_words))) / (3 + np.arange(n_words))
    shares /= shares.sum(axis=1, keepdims=True)
    lengths = np.maximum(rng.lognormal(np.log(length), 1, n_samples), 5).astype(int)
    counts = [rng.multinomial(n, shares[k]) for n, k in zip(lengths, y, strict=True)]
    return sp.csr_array(np.array(counts, dtype=float)), y


def slopes(function, point, step=1e-5):
    """Central differences of an array or number in each entry of the point, on the last axes."""
    units = step * np.eye(point.size).reshape(-1, *point.shape)
    return np.stack([(function(point + u) - function(point - u)) / (2 * step) for u in units], axis=-1)


def softmax_loss(scores, y, smoothing=0.0):
    """Cross-entropy of each row of scores with the smoothed target, exact also where it is tiny."""
    rivals = np.where(np.eye(scores.shape[1], dtype=bool)[y], -np.inf, scores)
    hard = np.logaddexp(0, logsumexp(rivals, axis=1) - scores[np.arange(len(y)), y])
    return (1 - smoothing) * hard + smoothing * (logsumexp(scores, axis=1) - scores.mean(axis=1))


def shortfalls(scores, y, margin=1.0):
    """Shortfall of the right class from its margin to each wrong class; zero for the right class itself."""
    rows = np.arange(len(y))
    margins = np.broadcast_to(margin, (scores.shape[1],) * 2)[y]
    short = np.maximum(margins + scores - scores[rows, y][:, None], 0)
    short[rows, y] = 0
    return short


def weston_watkins_loss(scores, y, margin=1.0):
    """Sum of the shortfalls of each row."""
    return shortfalls(scores, y, margin).sum(axis=1)


def squared_loss(scores, y, margin=1.0):
    """Sum of the squared shortfalls of each row."""
    return (shortfalls(scores, y, margin) ** 2).sum(axis=1)


def crammer_singer_loss(scores, y, margin=1.0):
    """Largest shortfall of each row."""
    return shortfalls(scores, y, margin).max(axis=1)


def primal(loss, X, y, coef, intercept, C=1.0, weight=None, **options):
    """Half the squared norm of the coefficients plus C times the weighted losses; no norm for C=inf."""
    scores = X @ coef.T + intercept
    if len(coef) == 1:
        scores = np.hstack([-scores / 2, scores / 2])
    losses = loss(scores, y, **options)
    total = losses.sum() if weight is None else weight @ losses
    return total if np.isinf(C) else (coef**2).sum() / 2 + C * total


def softmax_newton(X, y, C=1.0, weight=None, fit_intercept=True, smoothing=0.0):
    """Coefficients and intercepts of the softmax by Newton's method with line search, on centred rows.

    Two classes have a vector each and twice the penalty, which gives the penalty of the binary model.
    """
    n_classes, n_features = y.max() + 1, X.shape[1]
    weight = np.ones(len(y)) if weight is None else weight
    mean = weight @ X / weight.sum() if fit_intercept else np.zeros(n_features)
    rows = np.hstack([X - mean, np.ones((len(y), int(fit_intercept)))])
    penalty = np.full(rows.shape[1], 0.0 if np.isinf(C) else 2.0 if n_classes == 2 else 1.0)
    penalty[n_features:] = 0
    strength = weight * (1.0 if np.isinf(C) else C)
    theta = np.zeros((n_classes, rows.shape[1]))

    def value(theta):
        return (penalty * theta**2).sum() / 2 + strength @ softmax_loss(rows @ theta.T, y, smoothing)

    final_steps = 0
    for _ in range(200):
        probabilities = np.exp(log_softmax(rows @ theta.T, axis=1))
        slopes = _softmax_slopes(probabilities, y, smoothing)
        gradient = penalty * theta + (strength[:, None] * slopes).T @ rows
        step = _newton_step(rows, probabilities, strength, penalty, gradient)
        slope, share = (gradient * step).sum(), 1.0
        if -slope <= 1e-9 * value(theta):
            # The value does not show so small a decrement. Three such steps double the digits three times.
            final_steps += 1
        else:
            while value(theta + share * step) > value(theta) + 1e-4 * share * slope:
                share /= 2
        theta = theta + share * step
        if final_steps == 3:
            return _as_fitted(theta, n_features, mean)
    raise AssertionError("the oracle did not converge")


def hinge_program(X, y, C=1.0, weight=None, fit_intercept=True, margin=1.0, squared=False, worst=False):
    """Coefficients and intercepts of a hinge from its quadratic program, whose slacks are the losses.

    ``worst`` gives each row one slack, as Crammer and Singer's hinge does, instead of one for each wrong
    class. C=inf allows no slack: that is the hard margin of separable classes, to which all hinges tend.
    """
    n_classes, n_features = y.max() + 1, X.shape[1]
    weight = np.ones(len(y)) if weight is None else weight
    X, y, weight = X[weight > 0], y[weight > 0], weight[weight > 0]
    mean = weight @ X / weight.sum() if fit_intercept else np.zeros(n_features)
    scale = abs(X - mean).max(axis=0)
    rows = np.hstack([(X - mean) / scale, np.ones((len(y), int(fit_intercept)))])
    size = n_classes * rows.shape[1]
    sample, wrong = np.nonzero(y[:, None] != np.arange(n_classes))
    towards = np.eye(n_classes)[wrong] - np.eye(n_classes)[y[sample]]
    scores = np.einsum("ij,ik->ijk", towards, rows[sample]).reshape(len(sample), size)
    slack = sample if worst else np.arange(len(sample))
    use = np.eye(slack[-1] + 1)[slack][:, : None if np.isfinite(C) else 0]
    n_slacks = use.shape[1]
    G = np.block([[scores, -use], [np.zeros((n_slacks, size)), -np.eye(n_slacks)]])
    h = np.append(-np.broadcast_to(margin, (n_classes,) * 2)[y[sample], wrong], np.zeros(n_slacks))
    price = C * (use * weight[sample, None]).max(axis=0)
    quadratic = (2.0 if n_classes == 2 else 1.0) / scale**2
    quadratic = np.tile(np.append(quadratic, np.zeros(int(fit_intercept))), n_classes)
    P = np.diag(np.append(quadratic, 2 * price * squared))
    if fit_intercept:
        # Raising all intercepts alike changes no loss, so any price on that leaves the rest as it is.
        intercepts = np.arange(n_features, size, rows.shape[1])
        P[np.ix_(intercepts, intercepts)] += P.max() + price.sum()
    solution = quadratic_program(P, np.append(np.zeros(size), price * (not squared)), G, h)
    theta = solution[:size].reshape(n_classes, -1)
    return _as_fitted(theta / np.append(scale, np.ones(int(fit_intercept))), n_features, mean)


def quadratic_program(P, q, G, h):
    """Minimiser of x'Px / 2 + q'x subject to Gx <= h, by Mehrotra's interior-point method."""
    largest = max(abs(q).max(), P.max())
    x, slack, price = np.zeros(len(q)), np.maximum(h, 1.0), np.full(len(h), largest)
    previous_gap = np.inf
    for _ in range(100):
        stationarity = P @ x + q + G.T @ price
        feasibility = G @ x + slack - h
        gap = slack @ price
        exact = abs(stationarity).max() <= 1e-9 * largest and abs(feasibility).max() <= 1e-9
        size = abs(q @ x) + x @ P @ x
        # Ten digits, and more for as long as round-off allows.
        if exact and (gap <= 1e-14 * size or (gap <= 1e-10 * size and gap > previous_gap / 10)):
            return x
        previous_gap = gap
        factor = lu_factor(np.block([[P, G.T], [G, -np.diag(slack / price)]]))
        target = slack * price
        for corrected in (False, True):
            step = lu_solve(factor, -np.append(stationarity, feasibility - target / price))
            x_step, price_step = step[: len(q)], step[len(q) :]
            slack_step = -feasibility - G @ x_step
            share = min(_share(slack, slack_step), _share(price, price_step))
            if not corrected:
                left = (slack + share * slack_step) @ (price + share * price_step)
                target = target + slack_step * price_step - (left / gap) ** 3 * gap / len(h)
        share = min(1.0, 0.995 * share)
        x, slack, price = x + share * x_step, slack + share * slack_step, price + share * price_step
    raise AssertionError("the oracle did not converge")


def _share(values, steps):
    """Largest share of the steps, at most 1, that leaves no value negative."""
    falling = steps < 0
    return min(1.0, (-values[falling] / steps[falling]).min(initial=1.0))


def _softmax_slopes(probabilities, y, smoothing):
    """Gradient of the cross-entropy in the scores; no digits cancel where the right class is near certain."""
    right = np.eye(probabilities.shape[1], dtype=bool)[y]
    hard = np.where(right, 0, probabilities)
    hard[right] = -hard.sum(axis=1)
    return (1 - smoothing) * hard + smoothing * (probabilities - 1 / probabilities.shape[1])


def _newton_step(rows, probabilities, strength, penalty, gradient):
    """Newton's step of the softmax, from the Hessian scaled to a unit diagonal."""
    n_classes, n_features = gradient.shape
    hessian = np.empty((n_classes, n_features, n_classes, n_features))
    for j in range(n_classes):
        for k in range(j):
            curvature = strength * probabilities[:, j] * probabilities[:, k]
            hessian[j, :, k] = hessian[k, :, j] = -rows.T @ (rows * curvature[:, None])
        hessian[j, :, j] = 0
    for j in range(n_classes):
        # Curvature sums to zero over classes. 1 - p would lose the digits of a p near 1.
        hessian[j, :, j] = -hessian[j].sum(axis=1)
    # Shifting all classes alike changes no loss, so any curvature there leaves the step as it is.
    between = np.einsum("jiki->jki", hessian)
    between += np.einsum("jij->i", np.einsum("jiki->jik", hessian)) / n_classes**2
    hessian = hessian.reshape(gradient.size, gradient.size)
    hessian[np.diag_indices(gradient.size)] += np.tile(penalty, n_classes)
    scale = np.sqrt(hessian.diagonal())
    factor = cho_factor(hessian / scale / scale[:, None])
    return -(cho_solve(factor, gradient.ravel() / scale) / scale).reshape(gradient.shape)


def _as_fitted(theta, n_features, mean):
    """Parameters for centred rows as coefficients and intercepts with the shapes of a fitted classifier."""
    coef = theta[:, :n_features]
    constant = theta[:, n_features] if theta.shape[1] > n_features else np.zeros(len(theta))
    intercept = constant - coef @ mean
    if len(theta) == 2:
        return coef[1:] - coef[:1], intercept[1:] - intercept[:1]
    return coef, intercept - intercept.mean()
