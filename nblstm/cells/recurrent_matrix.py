"""Recurrent matrices that are made of parameters: the weights that kernels multiply, and their gradient's way back.

A matrix is made once for each change of the parameters, so it costs nothing in the loop over time.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, ClassVar

import numpy as np

from nblstm.arguments import validate

Arrays = dict[str, np.ndarray]


class RecurrentMatrix:
    """A function from parameters to the recurrent weights R (G, H, H) of a layer, of G gates, and its gradient.

    With a projection, R of a matrix that is not ``square`` is (G, H, K): `shapes` and `drawn` are given K then.
    """

    kinds: ClassVar[dict[str, type[RecurrentMatrix]]] = {}

    #: Whether training draws a matrix anew in each pass.
    is_noisy: ClassVar[bool] = False

    #: Whether R is square; otherwise it can be (G, H, K), of fewer columns, as behind a projection.
    square: ClassVar[bool] = True

    def __init_subclass__(cls):
        if not cls.__name__.startswith("_"):
            RecurrentMatrix.kinds[cls.__name__] = cls

    def shapes(self, G: int, H: int) -> dict[str, tuple[int, ...]]:
        """Shapes of its parameters by name.

        Raises
        ------
        ValueError
            If there is no such matrix for H.
        """
        raise NotImplementedError

    def weights(self, parameters: Arrays, G: int, H: int) -> np.ndarray:
        """R, shape (G, H, H)."""
        raise NotImplementedError

    def gradients(self, parameters: Arrays, dR: np.ndarray) -> Arrays:
        """Gradients of the parameters, from that of R (G, H, H)."""
        raise NotImplementedError

    def drawn(self, generator: np.random.Generator, G: int, H: int) -> RecurrentMatrix:
        """The matrix of one training pass of one layer and direction; itself where nothing is drawn."""
        return self

    def as_data(self) -> dict[str, Any]:
        """Its name and numbers, for files."""
        return {"kind": type(self).__name__, **asdict(self)}  # type: ignore[call-overload]  # subclasses are dataclasses


def matrix_from_data(data: dict[str, Any]) -> RecurrentMatrix:
    """The matrix that `RecurrentMatrix.as_data` describes."""
    numbers = dict(data)
    kind = RecurrentMatrix.kinds.get(numbers.pop("kind"))
    if kind is None:
        raise ValueError(f"a cell in a file has the matrix {data['kind']!r}, which nblstm lacks; make the file anew")
    return kind(**numbers)


@dataclass(frozen=True)
class antisymmetric(RecurrentMatrix):  # noqa: N801  # an argument, such as matrix=heads(4)
    """``R = W - W' - gamma I`` for each gate (Chang et al. 2019: AntisymmetricRNN).

    Parameters
    ----------
    gamma : float, default 0.01
        Diffusion, 0 or more.
    """

    gamma: float = 0.01

    def __post_init__(self):
        validate.number("gamma", self.gamma, 0)

    def shapes(self, G: int, H: int) -> dict[str, tuple[int, ...]]:
        """``weight_hh`` (G H, H)."""
        return {"weight_hh": (G * H, H)}

    def weights(self, parameters: Arrays, G: int, H: int) -> np.ndarray:
        """W - W' - gamma I."""
        W = parameters["weight_hh"].reshape(G, H, H)
        return W - W.swapaxes(1, 2) - self.gamma * np.eye(H, dtype=W.dtype)

    def gradients(self, parameters: Arrays, dR: np.ndarray) -> Arrays:
        """dR - dR'."""
        return {"weight_hh": dR - dR.swapaxes(1, 2)}


@dataclass(frozen=True)
class heads(RecurrentMatrix):  # noqa: N801  # an argument, such as matrix=heads(4)
    """Block-diagonal R: units in ``count`` heads of equal size, each recurrent on itself alone.

    Parameters
    ----------
    count : int
        H is a multiple of it.
    """

    count: int

    def __post_init__(self):
        validate.positive_integer("count", self.count)

    def shapes(self, G: int, H: int) -> dict[str, tuple[int, ...]]:
        """``weight_hh`` (G H, H / count)."""
        if H % self.count:
            raise ValueError(f"hidden_size is {H}; give a multiple of {self.count}, the number of heads")
        return {"weight_hh": (G * H, H // self.count)}

    def weights(self, parameters: Arrays, G: int, H: int) -> np.ndarray:
        """The heads' matrices on the diagonal."""
        own = parameters["weight_hh"].reshape(G, self.count, H // self.count, -1)
        R = np.zeros((G, self.count, H // self.count, self.count, H // self.count), own.dtype)
        for k in range(self.count):
            R[:, k, :, k] = own[:, k]
        return R.reshape(G, H, H)

    def gradients(self, parameters: Arrays, dR: np.ndarray) -> Arrays:
        """Blocks of dR on the diagonal."""
        G, H, _ = dR.shape
        blocks = dR.reshape(G, self.count, H // self.count, self.count, H // self.count)
        return {"weight_hh": np.stack([blocks[:, k, :, k] for k in range(self.count)], axis=1)}


@dataclass(frozen=True)
class dropconnect(RecurrentMatrix):  # noqa: N801  # an argument, such as matrix=dropconnect(0.3)
    """``R = mask * W / (1 - p)`` in training, the mask drawn for each pass; W in inference (Wan et al. 2013).

    Of weights of the recurrence as in haste and in the AWD-LSTM (Merity et al. 2018): all steps and sequences of a pass
    have the same mask.

    Parameters
    ----------
    p : float
        Probability that a weight is 0, below 1.
    """

    p: float
    is_noisy: ClassVar[bool] = True
    square: ClassVar[bool] = False

    def __post_init__(self):
        validate.probability("p", self.p)

    def shapes(self, G: int, H: int, K: int | None = None) -> dict[str, tuple[int, ...]]:
        """``weight_hh`` (G H, K)."""
        return {"weight_hh": (G * H, K or H)}

    def drawn(self, generator: np.random.Generator, G: int, H: int, K: int | None = None) -> RecurrentMatrix:
        """A mask of ones and zeros, scaled."""
        return _Masked((generator.random((G, H, K or H), np.float32) >= self.p) * np.float32(1 / (1 - self.p)))

    def weights(self, parameters: Arrays, G: int, H: int) -> np.ndarray:
        """W."""
        return parameters["weight_hh"].reshape(G, H, -1)

    def gradients(self, parameters: Arrays, dR: np.ndarray) -> Arrays:
        """The gradient dR itself."""
        return {"weight_hh": dR}


class _Masked(RecurrentMatrix):
    """The matrix of one pass with `dropconnect`.

    Parameters
    ----------
    mask : ndarray, shape (G, H, K)
    """

    def __init__(self, mask: np.ndarray):
        self._mask = mask

    def weights(self, parameters: Arrays, G: int, H: int) -> np.ndarray:
        """The mask times W."""
        return self._mask * parameters["weight_hh"].reshape(G, H, -1)

    def gradients(self, parameters: Arrays, dR: np.ndarray) -> Arrays:
        """The mask times dR."""
        return {"weight_hh": self._mask * dR}


@dataclass(frozen=True)
class low_rank(RecurrentMatrix):  # noqa: N801  # an argument, such as matrix=heads(4)
    """``R = U V`` for each gate, of a rank below H (Kusupati et al. 2018: FastGRNN).

    Parameters
    ----------
    rank : int
    """

    rank: int
    square: ClassVar[bool] = False

    def __post_init__(self):
        validate.positive_integer("rank", self.rank)

    def shapes(self, G: int, H: int, K: int | None = None) -> dict[str, tuple[int, ...]]:
        """``weight_hh`` U (G H, rank) and ``weight_hh_right`` V (G rank, K)."""
        if self.rank >= H:
            raise ValueError(f"hidden_size is {H}, and low_rank has rank {self.rank}; give a rank below hidden_size")
        return {"weight_hh": (G * H, self.rank), "weight_hh_right": (G * self.rank, K or H)}

    def _factors(self, parameters: Arrays, G: int, H: int) -> tuple[np.ndarray, np.ndarray]:
        U, V = parameters["weight_hh"], parameters["weight_hh_right"]
        return U.reshape(G, H, self.rank), V.reshape(G, self.rank, -1)

    def weights(self, parameters: Arrays, G: int, H: int) -> np.ndarray:
        """U V."""
        U, V = self._factors(parameters, G, H)
        return U @ V

    def gradients(self, parameters: Arrays, dR: np.ndarray) -> Arrays:
        """DU = dR V' and dV = U' dR."""
        U, V = self._factors(parameters, len(dR), dR.shape[1])
        return {"weight_hh": dR @ V.swapaxes(1, 2), "weight_hh_right": U.swapaxes(1, 2) @ dR}
