"""A piece of work and its numbers: the same for every contender, made from a seed in each process."""

from __future__ import annotations

import zlib
from dataclasses import dataclass, field, replace

import numpy as np

from benchmarks.shapes import GATES, Shape


@dataclass(frozen=True)
class Work:
    """What a contender is to compute.

    Attributes
    ----------
    cell : str
        ``"lstm"``, ``"gru"``, ``"rnn"``, or ``"peephole"``, the user's own cell; or a module of torchrecurrent's.
    T, B, I, H : int
    order : str
        Of the sequences in a ragged batch: ``"unsorted"`` or ``"sorted"`` by length, longest first.
    option : str
        What the network has beside, see `options`; the numbers are the same.
    """

    cell: str
    T: int
    B: int
    I: int
    H: int
    order: str = "unsorted"
    option: str = field(default="", repr=False)

    @classmethod
    def of(cls, shape: Shape, cell: str = "lstm", order: str = "unsorted") -> Work:
        """The work of a shape."""
        return cls(cell, *shape[1:], order)

    def tiny(self) -> Work:
        """The same code paths with next to no data, for warming up."""
        return replace(self, T=2, B=2, I=3, H=4)


@dataclass(frozen=True)
class Data:
    """The numbers of a `Work`, float32.

    Attributes
    ----------
    weights : dict of str to ndarray
        Under torch's names and in torch's order of gates; the own cell's peepholes are ``p_i_l0`` ... (H,). None for
        a module of torchrecurrent's.
    x, dy : ndarray, shape (T, B, I) and (T, B, H)
    state, dstate : tuple of ndarray, each (1, B, H)
        Initial states, and the gradient with respect to the final ones.
    lengths : ndarray of int64, shape (B,)
        Uniform in 1..T.
    """

    weights: dict[str, np.ndarray]
    x: np.ndarray
    dy: np.ndarray
    state: tuple[np.ndarray, ...]
    dstate: tuple[np.ndarray, ...]
    lengths: np.ndarray


def data(work: Work) -> Data:
    """Random numbers for a piece of work; equal for equal work, in any process."""
    generator = np.random.default_rng(zlib.crc32(repr(work).encode()))
    T, B, I, H, G = work.T, work.B, work.I, work.H, GATES.get(work.cell)
    shapes: dict[str, tuple[int, ...]] = {}
    if G is not None:
        shapes = {"weight_ih_l0": (G * H, I), "weight_hh_l0": (G * H, H), "bias_ih_l0": (G * H,)}
        shapes |= {"bias_hh_l0": (G * H,)}
    if work.cell == "peephole":
        shapes |= {f"p_{gate}_l0": (H,) for gate in "ifo"}
    bound = H**-0.5

    def normal(*shape):
        return generator.standard_normal(shape, np.float32)

    weights = {name: generator.uniform(-bound, bound, shape).astype(np.float32) for name, shape in shapes.items()}
    states = 2 if work.cell in ("lstm", "peephole") else 1
    lengths = generator.integers(1, T, B, endpoint=True)
    if work.order == "sorted":
        lengths = np.sort(lengths)[::-1].copy()
    return Data(
        weights, normal(T, B, I), normal(T, B, H), tuple(normal(1, B, H) for _ in range(states)),
        tuple(normal(1, B, H) for _ in range(states)), lengths,
    )  # fmt: skip


def trained(y, state, d_params, dx, d_state) -> dict[str, np.ndarray]:
    """Everything that training computes, named for comparison; all in the shapes of `Data`."""
    arrays = {"y": y, "dx": dx, **{f"d {name}": value for name, value in d_params.items()}}
    arrays |= {f"final state {k}": value for k, value in enumerate(state)}
    return arrays | {f"d initial state {k}": value for k, value in enumerate(d_state)}
