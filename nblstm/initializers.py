"""Initial values of parameters, with Keras's names, arguments and defaults."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from nblstm.arguments import seeds, validate
from nblstm.arguments.configured import Configured, Registry, plain
from nblstm.arguments.missing import explain_missing_names
from nblstm.process import blas

__all__ = [
    "Constant", "GlorotNormal", "GlorotUniform", "HeNormal", "HeUniform", "Identity", "Initializer", "LecunNormal",
    "LecunUniform", "Ones", "Orthogonal", "RandomNormal", "RandomUniform", "TruncatedNormal", "VarianceScaling",
    "Zeros", "constant", "get", "glorot_normal", "glorot_uniform", "he_normal", "he_uniform", "identity",
    "lecun_normal", "lecun_uniform", "ones", "orthogonal", "random_normal", "random_uniform", "truncated_normal",
    "variance_scaling", "zeros",
]  # fmt: skip


def __dir__() -> list[str]:
    return __all__


explain_missing_names(__name__)


INITIALIZERS = Registry("initializer")


class Initializer(Configured):
    """Base class: calling it gives the values of one parameter.

    A subclass gives ``_values(shape, generator)``, where the generator is None if the caller gave none. With a
    ``seed``, it draws the same values at each call.
    """

    seed: int | None = None

    def __call__(self, shape: tuple[int, ...], dtype="float32", generator: np.random.Generator | None = None):
        """Initial values.

        Parameters
        ----------
        shape : tuple of int
        dtype : {"float32", "float64"}
        generator : Generator, optional
            Source of randomness where the initializer has no seed of its own; a fresh one if not given.

        Returns
        -------
        ndarray, of that shape and dtype
        """
        if self.seed is not None:
            generator = np.random.default_rng(self.seed)
        return self._values(tuple(shape), generator).astype(validate.dtype_name(dtype), copy=False)

    def _values(self, shape, generator) -> np.ndarray:
        raise NotImplementedError(f"{type(self).__name__} has no _values; write it")


@INITIALIZERS.register("constant")
class Constant(Initializer):
    """The same value everywhere, or an array's values, such as those of an embedding that is known.

    Parameters
    ----------
    value : float or array_like, default 0
        An array has the parameter's shape; a file has it in its text, as a nested list.
    """

    def __init__(self, value: Any = 0.0):
        self.value: float | np.ndarray
        if isinstance(value, list | tuple) or getattr(value, "ndim", 0) > 0:
            self.value = validate.real_array("value", value, "float64").copy()
            if not np.isfinite(self.value).all():
                raise ValueError(f"value contains {self.value[~np.isfinite(self.value)][0]}; give finite numbers")
        else:
            self.value = validate.number("value", value)

    def _values(self, shape, generator):
        if isinstance(self.value, float):
            return np.full(shape, self.value)
        return validate.shaped("the value of Constant", self.value, shape, "that of the parameter").copy()

    def _plain(self, name: str, value):
        return value.tolist() if isinstance(value, np.ndarray) else super()._plain(name, value)


@INITIALIZERS.register("zeros", "zero")
class Zeros(Initializer):
    """0 everywhere."""

    def _values(self, shape, generator):
        return np.zeros(shape)


@INITIALIZERS.register("ones", "one")
class Ones(Initializer):
    """1 everywhere."""

    def _values(self, shape, generator):
        return np.ones(shape)


@INITIALIZERS.register("identity")
class Identity(Initializer):
    """``gain`` on the diagonal of a matrix, 0 elsewhere."""

    def __init__(self, gain: float = 1.0):
        self.gain = validate.number("gain", gain)

    def _values(self, shape, generator):
        if len(shape) != 2:
            raise ValueError(f"the parameter has shape {shape}; the initializer 'identity' needs a matrix")
        return self.gain * np.eye(*shape)


@INITIALIZERS.register("random_normal", "normal")
class RandomNormal(Initializer):
    """Normally distributed."""

    def __init__(self, mean: float = 0.0, stddev: float = 0.05, seed: int | None = None):
        self.seed = _checked_seed(seed)
        self.mean, self.stddev = validate.number("mean", mean), validate.number("stddev", stddev, 0)

    def _values(self, shape, generator):
        generator = generator or seeds.generator()
        return generator.normal(self.mean, self.stddev, shape)


@INITIALIZERS.register("truncated_normal")
class TruncatedNormal(RandomNormal):
    """Normally distributed; what lies beyond two standard deviations is drawn again."""

    def _values(self, shape, generator):
        generator = generator or seeds.generator()
        return self.mean + self.stddev * _within_two(shape, generator)


@INITIALIZERS.register("random_uniform", "uniform")
class RandomUniform(Initializer):
    """Uniformly distributed in [minval, maxval)."""

    def __init__(self, minval: float = -0.05, maxval: float = 0.05, seed: int | None = None):
        self.seed = _checked_seed(seed)
        self.minval, self.maxval = validate.number("minval", minval), validate.number("maxval", maxval, float(minval))

    def _values(self, shape, generator):
        generator = generator or seeds.generator()
        return generator.uniform(self.minval, self.maxval, shape)


@INITIALIZERS.register("variance_scaling")
class VarianceScaling(Initializer):
    """Zero mean and variance ``scale / n``, with n the fan in, the fan out or their mean.

    Parameters
    ----------
    scale : float, default 1.0
    mode : {"fan_in", "fan_out", "fan_avg"}
    distribution : {"truncated_normal", "untruncated_normal", "uniform"}
    seed : int, optional
    """

    def __init__(self, scale: float = 1.0, mode="fan_in", distribution="truncated_normal", seed: int | None = None):
        self.seed = _checked_seed(seed)
        self.scale = validate.number("scale", scale, 0)
        self.mode = validate.choice("mode", mode, ("fan_in", "fan_out", "fan_avg"))
        kinds = ("truncated_normal", "untruncated_normal", "uniform")
        self.distribution = validate.choice("distribution", distribution, kinds)

    def _values(self, shape, generator):
        generator = generator or seeds.generator()
        fan_in, fan_out = fans(shape)
        fan = {"fan_in": fan_in, "fan_out": fan_out, "fan_avg": (fan_in + fan_out) / 2}[self.mode]
        deviation = math.sqrt(self.scale / max(1.0, fan))
        if self.distribution == "uniform":
            return generator.uniform(-math.sqrt(3) * deviation, math.sqrt(3) * deviation, shape)
        if self.distribution == "untruncated_normal":
            return generator.normal(0, deviation, shape)
        return deviation / 0.87962566103423978 * _within_two(shape, generator)  # that is the truncated one's deviation


@INITIALIZERS.register("glorot_uniform")
class GlorotUniform(VarianceScaling):
    """Uniform in ±sqrt(6 / (fan_in + fan_out)) (Glorot & Bengio 2010)."""

    def __init__(self, seed: int | None = None):
        super().__init__(1.0, "fan_avg", "uniform", seed)


@INITIALIZERS.register("glorot_normal")
class GlorotNormal(VarianceScaling):
    """Truncated normal, variance 2 / (fan_in + fan_out) (Glorot & Bengio 2010)."""

    def __init__(self, seed: int | None = None):
        super().__init__(1.0, "fan_avg", "truncated_normal", seed)


@INITIALIZERS.register("he_uniform")
class HeUniform(VarianceScaling):
    """Uniform in ±sqrt(6 / fan_in) (He et al. 2015)."""

    def __init__(self, seed: int | None = None):
        super().__init__(2.0, "fan_in", "uniform", seed)


@INITIALIZERS.register("he_normal")
class HeNormal(VarianceScaling):
    """Truncated normal, variance 2 / fan_in (He et al. 2015)."""

    def __init__(self, seed: int | None = None):
        super().__init__(2.0, "fan_in", "truncated_normal", seed)


@INITIALIZERS.register("lecun_uniform")
class LecunUniform(VarianceScaling):
    """Uniform in ±sqrt(3 / fan_in) (LeCun et al. 1998)."""

    def __init__(self, seed: int | None = None):
        super().__init__(1.0, "fan_in", "uniform", seed)


@INITIALIZERS.register("lecun_normal")
class LecunNormal(VarianceScaling):
    """Truncated normal, variance 1 / fan_in (LeCun et al. 1998)."""

    def __init__(self, seed: int | None = None):
        super().__init__(1.0, "fan_in", "truncated_normal", seed)


@INITIALIZERS.register("orthogonal")
class Orthogonal(Initializer):
    """A random matrix with orthonormal rows or columns, whichever are fewer (Saxe et al. 2014).

    Parameters with more than two dimensions are matrices of their last one.
    """

    def __init__(self, gain: float = 1.0, seed: int | None = None):
        self.seed = _checked_seed(seed)
        self.gain = validate.number("gain", gain)

    def _values(self, shape, generator):
        generator = generator or seeds.generator()
        if len(shape) < 2:
            raise ValueError(
                f"the parameter has shape {shape}; the initializer 'orthogonal' needs 2 dimensions or more"
            )
        rows, columns = math.prod(shape[:-1]), shape[-1]
        long, short = max(rows, columns), min(rows, columns)
        drawn = generator.normal(size=(long, short))
        q, r = blas.alone(2 * long * short**2, np.linalg.qr, drawn)
        q = q * np.where(np.diagonal(r) < 0, -1, 1)  # without it, q would not be uniformly distributed
        return self.gain * (q if rows >= columns else q.T).reshape(shape)


class Given(Initializer):
    """Values from the user: an array, or a function of ``shape`` and ``dtype``."""

    def __init__(self, source):
        self.source = source

    def record(self) -> str:  # type: ignore[override]
        """The function's name; values themselves cannot be saved."""
        return plain("the initializer", self.source)

    def _values(self, shape, generator):
        values = self.source(shape, dtype="float64") if callable(self.source) else self.source
        return validate.number_array("the initial values", values)


def get(identifier) -> Initializer:
    """The initializer that is meant.

    Parameters
    ----------
    identifier : str, dict, Initializer, class, callable or ndarray
        A name such as ``"glorot_uniform"``, an object, what `get_config` gave with its class's name, a function of
        ``(shape, dtype)``, or the values themselves, which cannot be saved.
    """
    if isinstance(identifier, np.ndarray):
        return Given(identifier)
    made = INITIALIZERS.make(identifier)
    return made if isinstance(made, Initializer) else Given(made)


def _checked_seed(seed) -> int | None:
    if seed is not None and (isinstance(seed, bool) or not isinstance(seed, int | np.integer) or seed < 0):
        raise ValueError(f"seed is {seed!r}; give a whole number, 0 or more, or None")
    return None if seed is None else int(seed)


def fans(shape: tuple[int, ...]) -> tuple[int, int]:
    """Inputs and outputs of a unit; leading dimensions of a kernel are its receptive field."""
    if len(shape) < 2:
        return (shape[0], shape[0]) if shape else (1, 1)
    field = math.prod(shape[:-2])
    return shape[-2] * field, shape[-1] * field


def _within_two(shape, generator: np.random.Generator) -> np.ndarray:
    """Standard normal numbers between -2 and 2."""
    values = generator.normal(size=shape)
    while (outside := np.abs(values) > 2).any():
        values[outside] = generator.normal(size=int(outside.sum()))
    return values


glorot_uniform, glorot_normal, orthogonal = GlorotUniform, GlorotNormal, Orthogonal
he_uniform, he_normal, lecun_uniform, lecun_normal = HeUniform, HeNormal, LecunUniform, LecunNormal
random_normal, random_uniform, truncated_normal = RandomNormal, RandomUniform, TruncatedNormal
zeros, ones, constant, identity, variance_scaling = Zeros, Ones, Constant, Identity, VarianceScaling
