"""SGD, RMSprop, Adagrad, Adadelta and Lion: update rules, each a function of one number, with Keras's arguments."""

from __future__ import annotations

from nblstm.arguments.validate import flag, number
from nblstm.symbolic.functions import maximum, sqrt, where
from nblstm.training.optimizers.base_optimizer import OPTIMIZERS, Optimizer
from nblstm.training.optimizers.schedules import LearningRateLike


@OPTIMIZERS.register("sgd")
class SGD(Optimizer):
    """Stochastic gradient descent, with momentum.

    ::

        m = momentum m - learning_rate g
        p = p + m                                 without momentum: p - learning_rate g
        p = p + momentum m - learning_rate g      with nesterov

    Parameters
    ----------
    learning_rate : float or callable, default 0.01
    momentum : float, default 0
        From 0 to 1.
    nesterov : bool, default False
    modules, weight_decay, clipnorm, clipvalue, global_clipnorm, name
        As in `Optimizer`.

    References
    ----------
    I. Sutskever et al., "On the importance of initialization and momentum in deep learning", ICML 2013.
    """

    def __init__(
        self, modules=None, learning_rate: LearningRateLike = 0.01, momentum: float = 0.0, nesterov: bool = False, *,
        weight_decay: float | None = None, clipnorm: float | None = None, clipvalue: float | None = None,
        global_clipnorm: float | None = None, name: str | None = None,
    ):  # fmt: skip
        self.momentum = number("momentum", momentum, 0, 1)
        self.nesterov = flag("nesterov", nesterov)
        super().__init__(modules, learning_rate, weight_decay, clipnorm, clipvalue, global_clipnorm, name)

    def slot_names(self):
        """The moving average m, with momentum."""
        return ("momentum",) if self.momentum else ()

    def equation(self):
        """The rule for this momentum."""
        return (_sgd_nesterov if self.nesterov else _sgd_momentum) if self.momentum else _sgd

    def constants(self, rate):
        """The learning rate, and the momentum if it is not 0."""
        return (rate, self.momentum) if self.momentum else (rate,)


def _sgd(p, g, rate):
    return (p - rate * g,)


def _sgd_momentum(p, g, m, rate, momentum):
    m = momentum * m - rate * g
    return p + m, m


def _sgd_nesterov(p, g, m, rate, momentum):
    m = momentum * m - rate * g
    return p + momentum * m - rate * g, m


@OPTIMIZERS.register("rmsprop")
class RMSprop(Optimizer):
    """Steps divided by the root of a running mean of squared gradients.

    ::

        v = rho v + (1 - rho) g**2
        a = rho a + (1 - rho) g                              centered only, else a = 0
        m = momentum m + learning_rate g / sqrt(v - a**2 + epsilon)
        p = p - m

    Parameters
    ----------
    learning_rate : float or callable, default 0.001
    rho : float, default 0.9
    momentum : float, default 0
        Both from 0 to 1.
    epsilon : float, default 1e-7
    centered : bool, default False
    modules, weight_decay, clipnorm, clipvalue, global_clipnorm, name
        As in `Optimizer`.

    References
    ----------
    T. Tieleman and G. Hinton, "Lecture 6.5: RMSprop", Coursera, 2012; centered: A. Graves, "Generating sequences with
    recurrent neural networks", arXiv:1308.0850, section 4.2.
    """

    def __init__(
        self, modules=None, learning_rate: LearningRateLike = 0.001, rho: float = 0.9, momentum: float = 0.0,
        epsilon: float = 1e-7, centered: bool = False, *, weight_decay: float | None = None,
        clipnorm: float | None = None, clipvalue: float | None = None, global_clipnorm: float | None = None,
        name: str | None = None,
    ):  # fmt: skip
        self.rho, self.momentum = number("rho", rho, 0, 1), number("momentum", momentum, 0, high=1)
        self.epsilon = number("epsilon", epsilon, 0)
        self.centered = flag("centered", centered)
        super().__init__(modules, learning_rate, weight_decay, clipnorm, clipvalue, global_clipnorm, name)

    def slot_names(self):
        """The mean square v, with momentum m, and if centered the mean a."""
        return ("velocity", *["momentum"] * bool(self.momentum), *["average_gradient"] * self.centered)

    def equation(self):
        """The rule for this momentum, centered or not."""
        if self.centered:
            return _rmsprop_centered_momentum if self.momentum else _rmsprop_centered
        return _rmsprop_momentum if self.momentum else _rmsprop

    def constants(self, rate):
        """The learning rate, rho, 1 - rho, epsilon, and the momentum if it is not 0."""
        return (rate, self.rho, 1 - self.rho, self.epsilon, *(self.momentum,) * bool(self.momentum))


def _rmsprop(p, g, v, rate, rho, rest, epsilon):
    v = rho * v + rest * (g * g)
    return p - rate * g / sqrt(v + epsilon), v


def _rmsprop_momentum(p, g, v, m, rate, rho, rest, epsilon, momentum):
    v = rho * v + rest * (g * g)
    m = momentum * m + rate * g / sqrt(v + epsilon)
    return p - m, v, m


def _rmsprop_centered(p, g, v, a, rate, rho, rest, epsilon):
    v = rho * v + rest * (g * g)
    a = rho * a + rest * g
    # Never negative but for rounding, which under the root would give NaN where a gradient is constant.
    return p - rate * g / sqrt(maximum(v - a * a, 0.0) + epsilon), v, a


def _rmsprop_centered_momentum(p, g, v, m, a, rate, rho, rest, epsilon, momentum):
    v = rho * v + rest * (g * g)
    a = rho * a + rest * g
    m = momentum * m + rate * g / sqrt(maximum(v - a * a, 0.0) + epsilon)
    return p - m, v, m, a


@OPTIMIZERS.register("adagrad")
class Adagrad(Optimizer):
    """Steps divided by the root of the sum of all squared gradients so far.

    ::

        v = v + g**2
        p = p - learning_rate g / sqrt(v + epsilon)

    Parameters
    ----------
    learning_rate : float or callable, default 0.001
    initial_accumulator_value : float, default 0.1
        Of v, 0 or more.
    epsilon : float, default 1e-7
    modules, weight_decay, clipnorm, clipvalue, global_clipnorm, name
        As in `Optimizer`.

    References
    ----------
    J. Duchi, E. Hazan and Y. Singer, "Adaptive subgradient methods for online learning and stochastic optimization",
    JMLR 12, 2011.
    """

    def __init__(
        self, modules=None, learning_rate: LearningRateLike = 0.001, initial_accumulator_value: float = 0.1,
        epsilon: float = 1e-7, *, weight_decay: float | None = None, clipnorm: float | None = None,
        clipvalue: float | None = None, global_clipnorm: float | None = None, name: str | None = None,
    ):  # fmt: skip
        self.initial_accumulator_value = number("initial_accumulator_value", initial_accumulator_value, 0)
        self.epsilon = number("epsilon", epsilon, 0)
        super().__init__(modules, learning_rate, weight_decay, clipnorm, clipvalue, global_clipnorm, name)

    def slot_names(self):
        """The sum of squares v."""
        return ("accumulator",)

    def slot_start(self, name):
        """The sum that there is before the first step."""
        return self.initial_accumulator_value

    def equation(self):
        """The rule."""
        return _adagrad

    def constants(self, rate):
        """The learning rate and epsilon."""
        return rate, self.epsilon


def _adagrad(p, g, v, rate, epsilon):
    v = v + g * g
    return p - rate * g / sqrt(v + epsilon), v


@OPTIMIZERS.register("adadelta")
class Adadelta(Optimizer):
    """Steps of the size that steps had before, divided by that of gradients.

    ::

        v = rho v + (1 - rho) g**2
        d = -g sqrt(u + epsilon) / sqrt(v + epsilon)
        u = rho u + (1 - rho) d**2
        p = p + learning_rate d

    Parameters
    ----------
    learning_rate : float or callable, default 0.001
        The paper has 1.
    rho : float, default 0.95
        From 0 to 1.
    epsilon : float, default 1e-7
    modules, weight_decay, clipnorm, clipvalue, global_clipnorm, name
        As in `Optimizer`.

    References
    ----------
    M. Zeiler, "ADADELTA: an adaptive learning rate method", arXiv:1212.5701, 2012.
    """

    def __init__(
        self, modules=None, learning_rate: LearningRateLike = 0.001, rho: float = 0.95, epsilon: float = 1e-7,
        *, weight_decay: float | None = None, clipnorm: float | None = None, clipvalue: float | None = None,
        global_clipnorm: float | None = None, name: str | None = None,
    ):  # fmt: skip
        self.rho, self.epsilon = number("rho", rho, 0, 1), number("epsilon", epsilon, 0)
        super().__init__(modules, learning_rate, weight_decay, clipnorm, clipvalue, global_clipnorm, name)

    def slot_names(self):
        """The mean squares of gradients, v, and of steps, u."""
        return "accumulated_grad", "accumulated_delta_var"

    def equation(self):
        """The rule."""
        return _adadelta

    def constants(self, rate):
        """The learning rate, rho, 1 - rho and epsilon."""
        return rate, self.rho, 1 - self.rho, self.epsilon


def _adadelta(p, g, v, u, rate, rho, rest, epsilon):
    v = rho * v + rest * (g * g)
    d = -(sqrt(u + epsilon) * g / sqrt(v + epsilon))
    return p + rate * d, v, rho * u + rest * (d * d)


@OPTIMIZERS.register("lion")
class Lion(Optimizer):
    """Steps of one size, by the sign of a mean of gradients.

    ::

        p = p - learning_rate sign(beta_1 m + (1 - beta_1) g)
        m = beta_2 m + (1 - beta_2) g

    Parameters
    ----------
    learning_rate : float or callable, default 0.001
        A third to a tenth of Adam's, as the paper says.
    beta_1 : float, default 0.9
        Above 0 and at most 1.
    beta_2 : float, default 0.99
        From 0 to 1.
    modules, weight_decay, clipnorm, clipvalue, global_clipnorm, name
        As in `Optimizer`.

    References
    ----------
    X. Chen et al., "Symbolic discovery of optimization algorithms", NeurIPS 2023.
    """

    def __init__(
        self, modules=None, learning_rate: LearningRateLike = 0.001, beta_1: float = 0.9, beta_2: float = 0.99,
        *, weight_decay: float | None = None, clipnorm: float | None = None, clipvalue: float | None = None,
        global_clipnorm: float | None = None, name: str | None = None,
    ):  # fmt: skip
        self.beta_1, self.beta_2 = number("beta_1", beta_1, 0, 1, above=True), number("beta_2", beta_2, 0, 1)
        super().__init__(modules, learning_rate, weight_decay, clipnorm, clipvalue, global_clipnorm, name)

    def slot_names(self):
        """The mean of gradients m."""
        return ("momentum",)

    def equation(self):
        """The rule."""
        return _lion

    def constants(self, rate):
        """The learning rate, and both factors with what they leave of 1."""
        return rate, self.beta_1, 1 - self.beta_1, self.beta_2, 1 - self.beta_2


def _lion(p, g, m, rate, beta_1, rest_1, beta_2, rest_2):
    mean = beta_1 * m + rest_1 * g
    step = where(mean > 0, rate, where(mean < 0, -rate, mean))  # 0 where the mean is, and NaN where it is
    return p - step, beta_2 * m + rest_2 * g
