"""A training pass through one layer that is the same each time: what does not change from call to call is done once."""

from __future__ import annotations

import numpy as np

from nblstm.buffers import memory
from nblstm.buffers.batch import uniform_batch
from nblstm.cells.cell import Cell
from nblstm.cpu import threads
from nblstm.cpu.jobs import address
from nblstm.cpu.layer import set_vectors
from nblstm.cpu.plans import backward_plan, forward_plan
from nblstm.cpu.turn import Return, Turn, target_names
from nblstm.cpu.weights import Packer
from nblstm.process import locks

#: The first of `TARGETS`, which every layer has.
FIRST = "weight_ih_l0"


class Repeated:
    """Forward and BPTT through one layer, all directions, over sequences of equal length.

    It has arrays of its own, to which the kernels' arguments refer for good, and writes into them in each call: the
    caller fills and reads them. For one thread at a time.

    Parameters
    ----------
    cell : Cell
    parameters : dict of str to ndarray
        By torch's names; the arrays stay where they are.
    T, B : int
        Steps and sequences.
    directions : int

    Attributes
    ----------
    x, dx : ndarray, shape (T, B, I)
        Inputs; the gradient with respect to them.
    y, dy : ndarray, shape (T, B, D H)
        Outputs; the gradient with respect to them.
    version : object
        Of the parameters that it has, see `Module._pack`.
    lock : Lock
        For BPTT, as several threads may use one tape.
    states, d_states : ndarray, shape (S, D, B, H)
        Those before the first step, and after `forward` those after the last; the gradient with respect to them, and
        after `backward` to the initial ones.
    """

    def __init__(self, cell: Cell, parameters: dict[str, np.ndarray], T: int, B: int, directions: int):
        w_ih = parameters[FIRST]
        I, H, S = w_ih.shape[1], parameters["weight_hh_l0"].shape[1], len(cell.states)
        self._cell, self._threads = cell, threads.num_threads()
        self._names, first = target_names(0, directions), address(parameters[FIRST])
        self._deltas = [
            [address(parameters[name]) - first if name in parameters else None for name in names]
            for names in self._names
        ]
        self._packers = [Packer(cell, parameters, 0, d, True) for d in range(directions)]
        self._weights = [packer.weights for packer in self._packers]
        batch = uniform_batch(T, B)
        self.states, self.d_states = (memory.zeros((S, directions, B, H), w_ih.dtype) for _ in range(2))
        self._turn = Turn(cell, forward_plan(cell, batch, I, self.states, True, None), 0, self.states)
        self._return = Return(backward_plan(cell, batch, I, self.d_states, None), self._turn)
        self._x, self._dy = memory.empty((T * B, I), w_ih.dtype), memory.empty((T * B, directions * H), w_ih.dtype)
        self._dx = memory.empty((directions, T * B, I), w_ih.dtype)
        self._d_vectors = np.zeros((directions, B, len(cell.vectors) * H), w_ih.dtype) if cell.vectors else None
        self._turn.bind(self._weights, self._x, self.states)
        self._starts = [
            (history[:B], state)
            for d, record in enumerate(self._turn.records)
            for history, state in zip(record.histories, self.states[:, d], strict=True)
        ]
        self._from_zero = False
        self._bound: tuple = ()
        self._targets: dict | None = None  # kept, so that no other has its identity
        self.lock = locks.lock()
        self.version: object = None
        assert self._turn.y is not None  # the directions have the same rows
        self.x, self.dy, self.dx = (rows.reshape(T, B, -1) for rows in (self._x, self._dy, self._dx[0]))
        self.y = self._turn.y[B:].reshape(T, B, -1)

    @property
    def current(self) -> bool:
        """Whether work would be cut in the same way now."""
        return self._threads == threads.num_threads()

    def pack(self) -> None:
        """Take the parameters as they are now."""
        for packer in self._packers:
            packer.pack()

    def forward(self, from_zero: bool = True) -> None:
        """From ``x`` and ``states``, or zeros in their place, to ``y`` and ``states``."""
        if from_zero:
            self.states.fill(0)
        if not (from_zero and self._from_zero):
            self._from_zero = False  # while some are written and some not, as an exception may end this anywhere
            for history, state in self._starts:
                history[...] = state
            self._from_zero = from_zero
        self._turn.launch(self.states)

    def refuse_if_under_way(self) -> None:
        """Refuse BPTT within BPTT, as in a signal's handler: it would overwrite what the other has half done.

        Raises
        ------
        RuntimeError
            If this thread is within it.
        """
        if self.lock._is_owned():  # type: ignore[attr-defined]
            raise RuntimeError("backward() of this tape is under way on this thread; give a handler a pass of its own")

    @property
    def nbytes(self) -> int:
        """Of its arrays."""
        own = [self._x, self._dy, self._dx, self.states, self.d_states, *(w.packed for w in self._weights)]
        return self._turn.nbytes + self._return.nbytes + sum(array.nbytes for array in own)

    def backward(self, targets: dict[str, np.ndarray], outputs: bool, inputs: bool, alike: bool = False) -> None:
        """From ``d_states`` and ``dy`` to ``targets``, ``dx`` and ``d_states``, after `forward`.

        Parameters
        ----------
        targets : dict of str to ndarray
            By torch's names: gradients of the parameters, which are set. A bias may be left out.
        outputs : bool
            Whether there is a ``dy``; otherwise it counts as 0.
        inputs : bool
            Whether ``dx`` is wanted.
        alike : bool
            Whether the targets lie in one buffer as the parameters do in theirs: one address instead of four or eight.
        """
        if targets is not self._targets:
            self._targets = None
            if alike:
                self._return.aim_at(targets[FIRST], self._deltas)
            else:
                self._return.aim([[targets.get(name) for name in names] for names in self._names])
            self._targets = targets
        if self._bound != (outputs, inputs):
            self._bound = ()
            self._return.bind(
                self._weights, self._x, self._dy if outputs else None, self.d_states, self._d_vectors,
                self._dx if inputs else None,
            )  # fmt: skip
            self._bound = outputs, inputs
        if self._d_vectors is not None:
            self._d_vectors.fill(0)
        self._return.run()
        if self._d_vectors is not None:
            set_vectors(self._cell, self._d_vectors, targets, 0)
        if inputs and len(self._dx) > 1:
            self._dx[0] += self._dx[1]
