"""Adam and what came of it, AdamW, Nadam and Adamax: update rules, each a function of one number."""

from __future__ import annotations

from nblstm.arguments.validate import flag, number
from nblstm.symbolic.functions import abs, maximum, sqrt
from nblstm.training.optimizers.base_optimizer import OPTIMIZERS, Optimizer
from nblstm.training.optimizers.schedules import LearningRateLike


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


@OPTIMIZERS.register("nadam")
class Nadam(Optimizer):
    """`Adam` with Nesterov's momentum: of the next step's mean of gradients, as far as it is known.

    ::

        m = beta_1 m + (1 - beta_1) g
        v = beta_2 v + (1 - beta_2) g**2
        u(t) = beta_1 (1 - 0.96**t / 2)        U = u(1) u(2) ... u(t)
        mean = u(t+1) m / (1 - U u(t+1)) + (1 - u(t)) g / (1 - U)
        p = p - learning_rate mean / (sqrt(v / (1 - beta_2**t)) + epsilon)

    Parameters
    ----------
    learning_rate : float or callable, default 0.001
    beta_1, beta_2 : float, default 0.9 and 0.999
        0 or more and below 1.
    epsilon : float, default 1e-7
    modules, weight_decay, clipnorm, clipvalue, global_clipnorm, name
        As in `Optimizer`.

    References
    ----------
    T. Dozat, "Incorporating Nesterov momentum into Adam", ICLR workshop, 2016.
    """

    def __init__(
        self, modules=None, learning_rate: LearningRateLike = 0.001, beta_1: float = 0.9, beta_2: float = 0.999,
        epsilon: float = 1e-7, *, weight_decay: float | None = None, clipnorm: float | None = None,
        clipvalue: float | None = None, global_clipnorm: float | None = None, name: str | None = None,
    ):  # fmt: skip
        self.beta_1 = number("beta_1", beta_1, 0, 1, below=True)
        self.beta_2 = number("beta_2", beta_2, 0, 1, below=True)
        self.epsilon = number("epsilon", epsilon, 0)
        self._product = 0, 1.0  # a number of steps t, and U behind them
        super().__init__(modules, learning_rate, weight_decay, clipnorm, clipvalue, global_clipnorm, name)

    def slot_names(self):
        """Both moments m and v."""
        return "momentum", "velocity"

    def equation(self):
        """The rule."""
        return _nadam

    def constants(self, rate):
        """Factors of m and of g in the step, the root of 1 - beta_2**t, 1 - beta_1, 1 - beta_2 and epsilon."""
        t = self.iterations + 1
        now, coming, product = self._momentum(t), self._momentum(t + 1), self._product_until(t)
        root = (1 - self.beta_2**t) ** 0.5
        return (
            rate * coming / (1 - product * coming), rate * (1 - now) / (1 - product), root, 1 - self.beta_1,
            1 - self.beta_2, self.epsilon,
        )  # fmt: skip

    def _momentum(self, t: int) -> float:
        return self.beta_1 * (1 - 0.5 * 0.96**t)

    def _product_until(self, t: int) -> float:
        """The product of the momenta of t steps, the last from the one before: it follows from t, so no file has it."""
        done, product = self._product if self._product[0] <= t else (0, 1.0)
        while done < t and product:
            done += 1
            product *= self._momentum(done)
        self._product = t, product
        return product


def _nadam(p, g, m, v, of_mean, of_g, root, rest_1, rest_2, epsilon):
    m += rest_1 * (g - m)
    v += rest_2 * (g * g - v)
    return p - (of_mean * m + of_g * g) / (sqrt(v) / root + epsilon), m, v


@OPTIMIZERS.register("adamax")
class Adamax(Optimizer):
    """`Adam` with the largest gradient in the place of the mean square.

    ::

        m = beta_1 m + (1 - beta_1) g
        u = max(beta_2 u, |g|)
        p = p - learning_rate / (1 - beta_1**t) m / (u + epsilon)

    Parameters
    ----------
    learning_rate : float or callable, default 0.001
    beta_1, beta_2 : float, default 0.9 and 0.999
        0 or more and below 1.
    epsilon : float, default 1e-7
    modules, weight_decay, clipnorm, clipvalue, global_clipnorm, name
        As in `Optimizer`.

    References
    ----------
    D. Kingma and J. Ba, "Adam: a method for stochastic optimization", ICLR 2015, section 7.1.
    """

    def __init__(
        self, modules=None, learning_rate: LearningRateLike = 0.001, beta_1: float = 0.9, beta_2: float = 0.999,
        epsilon: float = 1e-7, *, weight_decay: float | None = None, clipnorm: float | None = None,
        clipvalue: float | None = None, global_clipnorm: float | None = None, name: str | None = None,
    ):  # fmt: skip
        self.beta_1 = number("beta_1", beta_1, 0, 1, below=True)
        self.beta_2 = number("beta_2", beta_2, 0, 1, below=True)
        self.epsilon = number("epsilon", epsilon, 0)
        super().__init__(modules, learning_rate, weight_decay, clipnorm, clipvalue, global_clipnorm, name)

    def slot_names(self):
        """The mean m of gradients, and the largest, u."""
        return "momentum", "norm"

    def equation(self):
        """The rule."""
        return _adamax

    def constants(self, rate):
        """The learning rate corrected for the number of steps, 1 - beta_1, beta_2 and epsilon."""
        return rate / (1 - self.beta_1 ** (self.iterations + 1)), 1 - self.beta_1, self.beta_2, self.epsilon


def _adamax(p, g, m, u, alpha, rest_1, beta_2, epsilon):
    m += rest_1 * (g - m)
    u = maximum(beta_2 * u, abs(g))
    return p - alpha * m / (u + epsilon), m, u
