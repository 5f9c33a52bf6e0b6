"""A recurrent network one step at a time."""

from __future__ import annotations

from typing import Any

import numpy as np

from nblstm.arguments import validate
from nblstm.engine.inputs import check_names, set_states
from nblstm.engine.network import Network
from nblstm.engine.passes import Pass
from nblstm.engine.weights import weights_of


class Stepper:
    """A network that is given one time step per call and keeps its states. Made by `Recurrent.stepper`.

    Nothing is allocated per step: the returned outputs are the stepper's own buffer, overwritten by the next
    step; copy them to keep them. Changes of the network's parameters are seen at the next step. A stepper is for one
    thread at a time. A step that an exception of a signal's handler ends has been taken by all layers or by none.
    """

    def __init__(self, module: Any, batch_size: int = 1):
        network: Network = module._network
        if network.directions == (True,):
            raise ValueError("a network with reverse=True needs whole sequences; call it on one")
        if network.directions != (False,):
            raise ValueError("a bidirectional network needs whole sequences; call it on one, or make it unidirectional")
        self._module, self._network = module, network
        self._B = validate.positive_integer("batch_size", batch_size)
        self._arrays = network.backend.arrays
        self._shape, self._dtype = (self._B, network.input_size), network.numpy_dtype
        #: Memory of the signals, of which each row and unit has its own number.
        self._signals = {
            name: np.zeros((self._B, network.hidden_size), network.numpy_dtype) for name in network.cell.signals
        }
        with network.backend.active():
            self._pass = self._new_pass()
            set_states(network, module._flat, self._pass.states, None, self._pass.batch, True)
        self._kind: Any = None  # of the last input; states come out as it

    def __repr__(self):
        return f"<Stepper of {self._module!r}, batch_size {self._B}>"

    def _new_pass(self) -> Pass:
        self._threads = self._network.backend.num_threads()
        made = Pass(self._network, self._arrays.batch(1, self._B, None), True, False, copies=True)
        if self._signals:
            made.take(list(self._signals.values()))
        return made

    def __reduce__(self):
        return _resumed, (type(self), self._module, self._B, self.state)

    def __call__(self, x_t, signals=None) -> np.ndarray:
        """Advance by one step.

        Parameters
        ----------
        x_t : array_like, shape (B, I), or (I,) where B is 1
        signals : dict of str to array_like, optional
            What the cell takes beside x, by its names: (B,), or (B, H) for a number for each unit, (H,) where B is 1;
            or one number for all.

        Returns
        -------
        ndarray, shape (B, H), or (H,) for an input (I,)
            Outputs of the last layer; valid until the next step.
        """
        if signals is not None or self._signals:
            return self._step_with(x_t, signals)
        if type(x_t) is np.ndarray and x_t.shape == self._shape and x_t.dtype == self._dtype:
            return self._step(x_t, None)
        with self._network.backend.active():
            kind = self._arrays.kind(x_t)
            x_t = self._arrays.real("x_t", x_t, self._network.dtype)
            if x_t.ndim == 1 and self._B == 1:
                return self._step(validate.shaped("x_t", x_t, self._shape[1:], "(I,)")[None], kind)[0]
            return self._step(validate.shaped("x_t", x_t, self._shape, "(B, I)"), kind)

    def _checked(self, signals) -> list[np.ndarray]:
        """Arrays that fit (B, H), one for each signal."""
        check_names(self._network, signals)
        B, H, made = self._B, self._network.hidden_size, []
        for name in self._signals:
            array = signals[name]
            if type(array) is not np.ndarray or array.dtype != self._dtype:
                array = self._arrays.real(f"signals[{name!r}]", array, self._network.dtype)
            if array.shape not in ((), (B,), (B, H)) and not (B == 1 and array.shape == (H,)):
                needed = f"a number, (B,) = {(B,)}, or (B, H) = {(B, H)}{f', or (H,) = {(H,)}' * (B == 1)}"
                raise ValueError(f"signals[{name!r}] has shape {array.shape}; give {needed}")
            made.append(array[:, None] if array.shape == (B,) else array)
        return made

    def _step_with(self, x_t, signals):
        """Take one step with signals."""
        arrays = self._checked(signals)
        x_t = self._arrays.real("x_t", x_t, self._network.dtype)
        single = x_t.ndim == 1 and self._B == 1
        x_t = validate.shaped("x_t", x_t, self._shape[1:] if single else self._shape, "(I,)" if single else "(B, I)")
        for own, array in zip(self._signals.values(), arrays, strict=True):
            own[...] = array
        return self._step(x_t[None], None)[0] if single else self._step(x_t, None)

    def _step(self, x_t, kind):
        """Take one step from an array (B, I) of this network's dtype."""
        network = self._network
        context = None if network.on_host else network.enter()
        try:
            made = self._pass
            if network.backend.num_threads() != self._threads:
                states, made = made.states, self._new_pass()
                made.states[...] = states
                self._pass = made
            weights = weights_of(self._module, False)
            self._kind = kind
            if context is None:
                made.x[...] = x_t
            else:
                self._arrays.copy(made.x, x_t)
            if network.num_layers == 1:
                made.forward(weights, None, False)
            else:
                before = made.states.copy()
                try:
                    made.forward(weights, None, False)
                except BaseException:  # of a signal's handler, between two layers
                    made.states[...] = before
                    raise
            if context is None:
                return made.y[:, : network.output_size]
            network.backend.finish()
            return self._arrays.returned(made.y, kind)
        finally:
            if context is not None:
                context.close()

    def _state_copies(self) -> tuple:
        """The states (num_layers, B, H) as the kind of array that the last input was."""
        sizes = self._network.state_sizes
        with self._network.backend.active():
            return tuple(
                self._arrays.returned(state[..., :size].copy(), self._kind)
                for state, size in zip(self._pass.states, sizes, strict=True)
            )

    @property
    def state(self):
        """The states (num_layers, B, H), as calling the network returns them: copies. Can be assigned."""
        return self._module._from_tuple(self._state_copies())

    @state.setter
    def state(self, state):
        self.reset(state)

    def reset(self, state=None, rows=None) -> None:
        """Set the states, to the initial ones, learned, the cell's or zeros, if not given.

        Parameters
        ----------
        state : tuple of array_like, optional
            As for calling the network: each (num_layers, B, H).
        rows : array_like of bool, shape (B,), or of int, optional
            Of which rows, such as those whose episode has ended; all if not given.
        """
        self._set(self._module._to_tuple(state), rows)

    def _set(self, state: tuple | None, rows) -> None:
        """Set the states of some rows, or of all for None; to the initial ones where ``state`` is None."""
        chosen = None if rows is None else self._numbers(rows)
        if state is None and chosen is not None and not chosen.size:  # in most steps of a stream no row begins anew
            return
        with self._network.backend.active():
            made = self._pass
            target = made.states if chosen is None else self._arrays.empty(made.states.shape, self._dtype)
            set_states(self._network, self._module._flat, target, state, made.batch, True)
            if chosen is not None:
                chosen = self._arrays.index(chosen)
                made.states[:, :, chosen] = target[:, :, chosen]

    def _numbers(self, rows) -> np.ndarray:
        """The numbers of the rows that a user chose."""
        array = validate.plain_array("rows", self._arrays.on_host(rows))
        if not array.size and array.ndim == 1:
            return np.zeros(0, np.int64)
        if array.dtype.kind not in "biu":
            raise TypeError(
                f"rows has dtype {array.dtype}; give a bool for each of the {self._B} rows, or their numbers"
            )
        if array.dtype.kind == "b":
            return np.flatnonzero(validate.shaped("rows", array, (self._B,), "(B,)"))
        if array.ndim != 1:
            raise ValueError(f"rows has shape {array.shape}; give the numbers of some rows, as a list")
        wrong = array[(array < -self._B) | (array >= self._B)]
        if wrong.size:
            raise ValueError(f"rows has {wrong[0]}; give numbers from 0 to {self._B - 1}")
        return array.astype(np.int64) % self._B


def _resumed(cls: type[Stepper], module, batch_size: int, state) -> Stepper:
    """A stepper as another left off: what copies and pickles are made by."""
    stepper = cls(module, batch_size)
    stepper.reset(state)
    return stepper
