"""SGD, RMSprop, Adam and AdamW: their update rules, each a function of one number, with Keras's arguments."""

from __future__ import annotations

from nblstm.arguments.validate import flag, number
from nblstm.symbolic.functions import maximum, sqrt
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


@OPTIMIZERS.register("adam")
class Adam(Optimizer):
    """Adaptive moment estimation.

    ::

        m = beta_1 m + (1 - beta_1) g
        v = beta_2 v + (1 - beta_2) g**2
        p = p - learning_rate sqrt(1 - beta_2**t) / (1 - beta_1**t) m / (sqrt(v) + epsilon)

    Parameters
    ----------
    learning_rate : float or callable, default 0.001
        A number may be changed between steps.
    beta_1, beta_2 : float, default 0.9 and 0.999
        0 or more and below 1.
    epsilon : float, default 1e-7
    amsgrad : bool, default False
        Divide by the root of the largest v so far.
    modules, weight_decay, clipnorm, clipvalue, global_clipnorm, name
        As in `Optimizer`.

    References
    ----------
    D. Kingma and J. Ba, "Adam: a method for stochastic optimization", ICLR 2015: the form before section 2.1.
    S. Reddi, S. Kale and S. Kumar, "On the convergence of Adam and beyond", ICLR 2018.
    """

    def __init__(
        self, modules=None, learning_rate: LearningRateLike = 0.001, beta_1: float = 0.9, beta_2: float = 0.999,
        epsilon: float = 1e-7, amsgrad: bool = False, *, weight_decay: float | None = None,
        clipnorm: float | None = None, clipvalue: float | None = None, global_clipnorm: float | None = None,
        name: str | None = None,
    ):  # fmt: skip
        self.beta_1 = number("beta_1", beta_1, 0, 1, below=True)
        self.beta_2 = number("beta_2", beta_2, 0, 1, below=True)
        self.epsilon = number("epsilon", epsilon, 0)
        self.amsgrad = flag("amsgrad", amsgrad)
        super().__init__(modules, learning_rate, weight_decay, clipnorm, clipvalue, global_clipnorm, name)

    def slot_names(self):
        """Both moments m and v, and with amsgrad the largest v so far."""
        return ("momentum", "velocity", *["velocity_hat"] * self.amsgrad)

    def equation(self):
        """The rule, with amsgrad or without."""
        return _adam_amsgrad if self.amsgrad else _adam

    def constants(self, rate):
        """The learning rate corrected for the number of steps, 1 - beta_1, 1 - beta_2 and epsilon."""
        t = self.iterations + 1
        alpha = rate * (1 - self.beta_2**t) ** 0.5 / (1 - self.beta_1**t)
        return alpha, 1 - self.beta_1, 1 - self.beta_2, self.epsilon


def _adam(p, g, m, v, alpha, rest_1, rest_2, epsilon):
    m += rest_1 * (g - m)
    v += rest_2 * (g * g - v)
    return p - alpha * m / (sqrt(v) + epsilon), m, v


def _adam_amsgrad(p, g, m, v, largest, alpha, rest_1, rest_2, epsilon):
    m += rest_1 * (g - m)
    v += rest_2 * (g * g - v)
    largest = maximum(largest, v)
    return p - alpha * m / (sqrt(largest) + epsilon), m, v, largest


@OPTIMIZERS.register("adamw")
class AdamW(Adam):
    """`Adam` with weight decay apart from the gradient: ``p = p - weight_decay learning_rate p`` before each update.

    Parameters
    ----------
    learning_rate : float or callable, default 0.001
    weight_decay : float, default 0.004
    beta_1, beta_2, epsilon, amsgrad
        As in `Adam`.
    modules, clipnorm, clipvalue, global_clipnorm, name
        As in `Optimizer`.

    References
    ----------
    I. Loshchilov and F. Hutter, "Decoupled weight decay regularization", ICLR 2019.
    """

    def __init__(
        self, modules=None, learning_rate: LearningRateLike = 0.001, weight_decay: float = 0.004, beta_1: float = 0.9,
        beta_2: float = 0.999, epsilon: float = 1e-7, amsgrad: bool = False, *, clipnorm: float | None = None,
        clipvalue: float | None = None, global_clipnorm: float | None = None, name: str | None = None,
    ):  # fmt: skip
        super().__init__(
            modules, learning_rate, beta_1, beta_2, epsilon, amsgrad,
            weight_decay=number("weight_decay", weight_decay, 0), clipnorm=clipnorm, clipvalue=clipvalue,
            global_clipnorm=global_clipnorm, name=name,
        )  # fmt: skip
