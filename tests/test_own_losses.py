"""Losses of the user's own by their equations: values and gradients against oracles, layouts, options, mistakes."""

import math

import numpy as np
import pytest
from messages import message_of
from tolerances import DTYPES, OUTPUT, assert_close

import nblstm
from nblstm import CellError, abs, exp, log, maximum, softplus, where
from nblstm.training import losses

RNG = np.random.default_rng(5)
B, T, K = 6, 4, 3
TARGET = RNG.normal(size=(B, T, K))
WEIGHT, MASK = RNG.uniform(0.5, 2, (B, T)), RNG.random((B, T)) < 0.6


@nblstm.loss
def pinball(y_true, y_pred, q=0.5):
    """Koenker and Bassett 1978."""
    return maximum(q * (y_true - y_pred), (q - 1) * (y_true - y_pred))


@nblstm.loss(outputs="mean variance")
def gaussian(y_true, mean, variance):
    """Negative log-likelihood of a normal distribution."""
    return 0.5 * (log(2 * math.pi * variance) + (y_true - mean) ** 2 / variance)


def mixture(n):
    """Negative log-likelihood of n normal distributions: weights as logits, means, logarithms of scales."""

    @nblstm.loss(outputs=" ".join(f"{kind}_{k}" for kind in ("logit", "mean", "log_scale") for k in range(n)))
    def mixture(y_true, *outputs):
        logits, means, scales = outputs[:n], outputs[n : 2 * n], outputs[2 * n :]
        terms = [a - ((y_true - m) * exp(-s)) ** 2 / 2 - s for a, m, s in zip(logits, means, scales, strict=True)]
        return _log_sum_exp(logits) - _log_sum_exp(terms) + math.log(2 * math.pi) / 2

    return mixture


def _log_sum_exp(terms):
    top = terms[0]
    for term in terms[1:]:
        top = where(term > top, term, top)
    return top + log(sum(exp(term - top) for term in terms))


def quantiles(*levels):
    """Several quantiles of each target, as `losses.Quantile` has them."""

    @nblstm.loss(outputs=" ".join(f"q{k}" for k in range(len(levels))))
    def quantiles(y_true, *outputs):
        parts = [maximum(q * (y_true - p), (q - 1) * (y_true - p)) for q, p in zip(levels, outputs, strict=True)]
        return sum(parts) / len(levels)

    return quantiles


LOSSES = {
    "pinball": pinball.replace(q=0.9),
    "gaussian": gaussian,
    "mixture": mixture(2),
    "quantiles": quantiles(0.1, 0.5, 0.9),
}


def predictions(loss, dtype="float64"):
    """Predictions for `TARGET`, above 0 where they are variances."""
    p = np.random.default_rng(1).normal(size=(*TARGET.shape, len(loss.outputs)))
    if "variance" in loss.outputs:
        p[..., 1] = np.exp(p[..., 1])
    return p.reshape(B, T, -1).astype(dtype)


def differences(function, x, step=1e-6):
    gradient = np.empty_like(x)
    for at in np.ndindex(x.shape):
        ahead, behind = x.copy(), x.copy()
        ahead[at] += step
        behind[at] -= step
        gradient[at] = (function(ahead) - function(behind)) / (2 * step)
    return gradient


# --- oracles --------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize(
    "options", [{}, {"sample_weight": WEIGHT}, {"mask": MASK}, {"sample_weight": WEIGHT, "mask": MASK}]
)
@pytest.mark.parametrize("reduction", losses.base_loss.REDUCTIONS)
def test_the_gradient_is_that_of_central_differences(name, options, reduction):
    loss = LOSSES[name].replace(reduction=reduction)
    p = predictions(loss)
    value, gradient = loss.value_and_gradient(TARGET, p, **options)
    assert value == loss(TARGET, p, **options)
    np.testing.assert_allclose(
        gradient, differences(lambda x: loss(TARGET, x, **options), p), atol=2e-8 * max(1, abs(value))
    )


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize(
    "options", [{}, {"sample_weight": WEIGHT}, {"mask": MASK}, {"sample_weight": WEIGHT, "mask": MASK}]
)
def test_reductions_are_those_of_all_losses(name, options):
    """By their definition in `Loss`, of the values of rows."""
    loss = LOSSES[name]
    p, w, k = (
        predictions(loss),
        options.get("sample_weight", np.ones((B, T))),
        options.get("mask", np.ones((B, T), bool)),
    )
    rows = loss.values(TARGET, p)
    assert rows.shape == (B, T)
    total = (rows * w * k).sum()
    for reduction, divisor in (
        ("sum", 1),
        ("mean", k.sum()),
        ("sum_over_batch_size", k.sum()),
        ("mean_with_sample_weight", (w * k).sum()),
    ):
        assert loss.replace(reduction=reduction)(TARGET, p, **options) == pytest.approx(total / divisor, rel=1e-12)


@pytest.mark.parametrize("dtype", DTYPES)
def test_values_and_gradients_are_torchs(dtype):
    torch = pytest.importorskip("torch")
    for name, loss in LOSSES.items():
        given = predictions(loss, dtype)
        p = torch.tensor(given.astype("f8"), requires_grad=True)
        t, parts = torch.tensor(TARGET), p.reshape(*TARGET.shape, -1).unbind(-1)
        if name == "gaussian":
            expected = torch.nn.functional.gaussian_nll_loss(parts[0], t, parts[1], full=True, reduction="mean")
        elif name == "mixture":
            spread = torch.distributions.Normal(torch.stack(parts[2:4], -1), torch.stack(parts[4:], -1).exp())
            chosen = torch.distributions.Categorical(logits=torch.stack(parts[:2], -1))
            expected = -torch.distributions.MixtureSameFamily(chosen, spread).log_prob(t).mean()
        else:
            levels = [0.9] if name == "pinball" else [0.1, 0.5, 0.9]
            each = [torch.maximum(q * (t - x), (q - 1) * (t - x)) for q, x in zip(levels, parts, strict=True)]
            expected = torch.stack(each).mean()
        expected.backward()
        value, gradient = loss.value_and_gradient(TARGET.astype(dtype), given)
        assert gradient.dtype == dtype
        assert value == pytest.approx(expected.item(), rel=OUTPUT[dtype])
        assert_close(gradient, p.grad.numpy(), OUTPUT[dtype])


def test_values_are_those_of_scikit_learn():
    sklearn = pytest.importorskip("sklearn.metrics")
    t, p = TARGET.reshape(-1), predictions(pinball).reshape(-1)
    for q in (0.05, 0.5, 0.9):
        expected = sklearn.mean_pinball_loss(t, p, sample_weight=np.arange(1.0, 1 + t.size), alpha=q)
        weighted = pinball.replace(q=q, reduction="mean_with_sample_weight")
        assert weighted(t, p, np.arange(1.0, 1 + t.size)) == pytest.approx(expected, rel=1e-13)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("rows", [1, 7, 33, 1031])
def test_a_built_in_loss_written_as_an_equation_has_its_bits(rows, dtype):
    """One kernel runs both, at any size."""

    @nblstm.loss
    def squared(y_true, y_pred):
        return (y_pred - y_true) ** 2

    @nblstm.loss
    def quantile(y_true, y_pred, q=0.25):
        return where(y_true > y_pred, q * (y_true - y_pred), (1 - q) * (y_pred - y_true))

    t, p = RNG.normal(size=(2, rows, 3)).astype(dtype)
    for own, known in ((squared, losses.MeanSquaredError()), (quantile, losses.Quantile(0.25))):
        for weight in (None, np.linspace(0, 1, rows)):
            (value, gradient), (expected, d_expected) = (l.value_and_gradient(t, p, weight) for l in (own, known))
            assert value == expected
            np.testing.assert_array_equal(gradient, d_expected)
        np.testing.assert_array_equal(own.values(t, p), known.values(t, p))


# --- layout ---------------------------------------------------------------------------------------


def test_outputs_of_a_target_lie_side_by_side():
    """As in `losses.Quantile`: column d n + k is output k of target d."""
    levels = (0.1, 0.5, 0.9)
    own, known, p = quantiles(*levels), losses.Quantile(levels), predictions(quantiles(*levels))
    np.testing.assert_allclose(own.values(TARGET, p), known.values(TARGET, p), rtol=1e-13)
    np.testing.assert_allclose(own.value_and_gradient(TARGET, p)[1], known.value_and_gradient(TARGET, p)[1], rtol=1e-13)
    mean, variance = predictions(gaussian)[..., 0::2], predictions(gaussian)[..., 1::2]
    expected = (0.5 * (np.log(2 * np.pi * variance) + (TARGET - mean) ** 2 / variance)).mean(-1)
    np.testing.assert_allclose(gaussian.values(TARGET, predictions(gaussian)), expected, rtol=1e-13)


def test_a_single_target_needs_no_last_dimension():
    p, t = predictions(gaussian)[:, 0, :2], TARGET[:, 0, 0]
    value = gaussian(t[:, None], p)
    assert gaussian(t, p) == gaussian(t[:, None, None], p) == value
    assert pinball(t, p[:, 0]) == pinball(t[:, None], p[:, :1])
    other = np.asfortranarray(p)
    assert gaussian(t, other) == value
    np.testing.assert_array_equal(*(gaussian.value_and_gradient(t, x)[1] for x in (p, other)))


# --- parameters -----------------------------------------------------------------------------------


def test_parameters_by_default_by_replace_and_by_a_factory():
    def made(q):
        @nblstm.loss
        def own(y_true, y_pred):
            return maximum(q * (y_true - y_pred), (q - 1) * (y_true - y_pred))

        return own

    p = predictions(pinball)
    for q in (0.1, 0.9):
        assert pinball.replace(q=q)(TARGET, p) == made(q)(TARGET, p) == losses.Quantile(q)(TARGET, p)
    high = pinball.replace(q=0.9, reduction="sum", name="high")
    assert high.get_config() == {"q": 0.9, "reduction": "sum", "name": "high"}
    assert repr(high) == "<loss high of y_true, y_pred, q=0.9>"
    assert high.replace(q=0.2).reduction == "sum"
    assert pinball.parameters == {"q": 0.5}
    assert pinball.__doc__ == "Koenker and Bassett 1978."
    assert pinball.value(3.0, 1.0) == 1.0  # plain numbers


# --- mistakes -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("equation", "options", "said"),
    [
        (3, {}, ("loss() decorates 3", "a function of y_true and y_pred")),
        (lambda y: y, {}, ("has the arguments y", "needs y_true and y_pred", "outputs='mean scale'")),
        (lambda y, mean, scale: y, {}, ("has the arguments y, mean, scale", "outputs='mean scale'")),
        (lambda y, *p: y, {}, ("has the arguments y, *", "outputs=")),
        (lambda y_pred, y_true: y_pred, {}, ("takes y_pred, y_true; the order is y_true, y_pred",)),
        (lambda y, b, a: y, {"outputs": "a b"}, ("arguments y, b, a; for outputs='a b' it needs y_true, a, b",)),
        (lambda y, a, *p: y, {"outputs": "a b"}, ("arguments y, a, *; for outputs='a b' it needs y_true, *outputs",)),
        (lambda y, a: y, {"outputs": "a a"}, ("outputs='a a'", "each its own")),
        (lambda y, a: y, {"outputs": "y_true"}, ("outputs='y_true'", "none y_true")),
        (lambda y, a: y, {"outputs": ["a"]}, ("outputs=['a']", "in one string")),
        (lambda y, p, **others: y, {}, ("has the argument **others", "a default, as q=0.5")),
        (lambda y, p, *, q: y, {}, ("has the argument q", "a default, as q=0.5")),
        (lambda y, p, name=1.0: y, {}, ("has the argument name=1.0", "a name of their own")),
        (lambda y, p, kind="l2": y, {}, ("has the parameter kind='l2'", "a finite number")),
        (lambda y, q=1.0, *p: y, {"outputs": "a b"}, ("has the parameter q=1.0 before *",)),
    ],
)  # fmt: skip
def test_declarations_that_do_not_fit(equation, options, said):
    message_of(CellError, lambda: nblstm.loss(equation, **options), *said)


def test_options_that_do_not_fit():
    with pytest.raises(ValueError, match="reduction is 'none'; give one of"):
        nblstm.loss(lambda y, p: p - y, reduction="none")
    message_of(CellError, lambda: nblstm.loss(lambda y, p: p - y, name=3), "name of the loss is 3")
    message_of(TypeError, lambda: pinball.replace(p=1), "unknown parameter 'p'", "give one of q, reduction, name")
    with pytest.raises(TypeError, match="q is 'a' of type str; give a finite number"):
        pinball.replace(q="a")
    with pytest.raises(ValueError, match="reduction is 'all'"):
        pinball.replace(reduction="all")


@pytest.mark.parametrize(
    ("equation", "said"),
    [
        (lambda y, p: y * y, ("does not depend on 'p'", "use it, or leave it out")),
        (lambda y, p: (y, p), ("returns 2 values for y_true, p; return 1",)),
        (lambda y, p: np.exp(y - p), ("calls numpy.exp", "write nblstm.exp")),
        (lambda y, p: (y - p).mean(), ("takes .mean of a value",)),
        (lambda y, p: p if y > 0 else y, ("decides with `if`", "nblstm.where")),
        (lambda y, p: p * np.random.default_rng().random(), ("computes something else each time",)),
        (lambda y, p: None, ("returns NoneType; return scalars",)),
        (lambda y, p: p + undefined, ("could not be traced (name 'undefined' is not defined)",)),  # noqa: F821
    ],
)
def test_equations_that_cannot_be_traced(equation, said):
    own = nblstm.loss(equation, name="own")
    model = nblstm.Sequential([nblstm.Input((3,)), nblstm.layers.Dense(1)])
    for work in (
        lambda: own(TARGET, TARGET),
        lambda: model.compile("sgd", own),
        lambda: model.compile("sgd", "mse", metrics=[own]),
    ):
        message_of(CellError, work, "the loss 'own'", *said)


def test_a_variable_that_has_changed():
    factor = 2.0
    own = nblstm.loss(lambda y, p: factor * (p - y) ** 2, name="own")
    model = nblstm.Sequential([nblstm.Input((3,)), nblstm.layers.Dense(1)])
    model.compile("sgd", own)
    factor = 3.0
    message_of(CellError, lambda: model.compile("sgd", own), "reads a variable that has changed", "a parameter")


@pytest.mark.parametrize(
    ("target", "prediction", "said"),
    [
        (np.zeros((5, 3)), np.zeros((5, 4)), r"y_true has shape \(5, 3\); 2 outputs, mean variance, .* need \(5, 2\)"),
        (np.zeros((5, 2)), np.zeros((5, 3)), "its last dimension needs 2 outputs, mean variance, per target"),
        (np.zeros(5), np.zeros(5), r"y_pred has shape \(5, 1\); its last dimension needs 2 outputs"),
    ],
)
def test_targets_that_do_not_fit(target, prediction, said):
    with pytest.raises(ValueError, match=said):
        gaussian(target, prediction)
    with pytest.raises(ValueError, match=r"y_true has shape \(5,\); it needs that of y_pred"):
        pinball(np.zeros(5), np.zeros((5, 2)))


def test_without_a_model():
    """A network of `nn` learns a mean and a scale that depends on the input."""
    random = np.random.default_rng(0)
    x = random.uniform(-1, 1, (512, 1))
    y = 2 * x + np.exp(x) * random.normal(size=x.shape)

    @nblstm.loss(outputs="mean scale")
    def likelihood(y_true, mean, scale):
        s = softplus(scale)
        return log(s) + ((y_true - mean) / s) ** 2 / 2

    first, second = nblstm.nn.Linear(1, 2, seed=1), nblstm.training.Adam
    optimizer = second([first], 0.05)
    for _ in range(300):
        p, tape = first.forward(x)
        _, dp = likelihood.value_and_gradient(y, p)
        optimizer.step([first.backward(tape, dp)])
    mean, scale = first(np.array([[-1.0], [1.0]])).T
    np.testing.assert_allclose(mean, [-2, 2], atol=0.3)
    np.testing.assert_allclose(np.log1p(np.exp(scale)), np.exp([-1, 1]), rtol=0.35)
    assert abs(likelihood(y, first(x))) < 1
