"""Errors of a step: compiled functions raise them with numbers alone, and Python makes a sentence of these."""

from __future__ import annotations

NO_SUCH_STATE = "layer_state() is asked for a layer or a state that this network does not have; count both from 0"


class StateError(ValueError):
    """A state with another number of numbers than the network's."""

    def __init__(self, came: int, needed: int):
        super().__init__(came, needed)

    def __str__(self):
        came, needed = self.args
        return f"s has {came} numbers and a state of this network {needed}; make it by this network's zero_state()"


class InputError(ValueError):
    """An input of another shape than the network's; or integers, which are for an Embedding, or floats for one."""

    def __init__(self, shape: tuple[int, ...], integers: bool, B: int, I: int, vocabulary: int):
        super().__init__(shape, integers, B, I, vocabulary)

    def __str__(self):
        shape, integers, B, I, vocabulary = self.args
        came = f"x has shape {shape} and {'integers' if integers else 'floats'}; this network"
        if vocabulary:
            one = " or one integer" if B == 1 else ""
            return f"{came} begins with an Embedding and has batch_size={B}: give an array ({B},) of integers{one}"
        one = f" or ({I},)" if B == 1 else ""
        return f"{came} has input_size={I} and batch_size={B}: give float32 or float64, ({B}, {I}){one}"


class SignalError(ValueError):
    """Signals of another shape than the network's, or none where its cell takes some."""

    def __init__(self, shape: tuple[int, ...], K: int, B: int, H: int):
        super().__init__(shape, K, B, H)

    def __str__(self):
        shape, K, B, H = self.args
        if not K:
            return f"signals has shape {shape}, and this network takes none; leave it out"
        one = f"({K},), or ({K}, {H})" if B == 1 else f"({B}, {K}), or ({B}, {K}, {H})"
        came = f"signals has shape {shape}" if shape else "no signals are given"
        return f"{came}, and the cell takes {K}, in its order: give {one} with a number for each unit"


class UnknownIndexError(ValueError):
    """An index that an Embedding has no row for, or that is padding."""

    def __init__(self, index: int, first: int, rows: int):
        super().__init__(index, first, rows)

    def __str__(self):
        index, first, rows = self.args
        padding = ", which is padding and no step (mask_zero)" if 0 <= index < first else ""
        return f"x has the index {index}{padding}; the Embedding takes integers from {first} to {rows - 1}"


class JacobianError(ValueError):
    """A Jacobian of more than one row."""

    def __init__(self, batch_size: int):
        super().__init__(batch_size)

    def __str__(self):
        return f"jacobian() is of one row, but the network has batch_size {self.args[0]}; give compiled() no batch_size"
