"""A batch whose sequences are set back to the initial states here and there, as packed rows.

Kernels know no resets. A sequence that is cut at its resets is several pieces, which are independent of each other; so
they are sequences of a batch of their own, a larger one of shorter sequences.
"""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numpy as np

from nblstm.buffers.masks import GatheredBatch


def _room(pieces: int) -> int:
    """Sequences of the packed batch: at most an eighth more than pieces, so that few sizes occur and passes fit."""
    shift = max(0, pieces.bit_length() - 4)
    return (pieces + (1 << shift) - 1) >> shift << shift


class ResetBatch(GatheredBatch):
    """A batch whose sequences are cut at resets; each piece is a sequence of the packed batch.

    A reset at step t is a boundary between the steps t-1 and t, whether that step is masked or not. Who reads forwards
    begins anew at t, who reads backwards at t-1. A reset at step 0 has no step before it: who reads forwards begins
    with the initial states in place of the given ones, and who reads backwards has ended.

    Parameters
    ----------
    resets : ndarray of bool, shape (T, B)
        True before which steps states are set back.
    mask : ndarray of bool, shape (T, B), or None
        True where a step is valid; None if all are.
    lengths : ndarray of int64, shape (B,), or None
        Of each sequence, instead of a mask; resets beyond them do nothing.
    hold : bool
    directions : tuple of bool
        For each direction whether it reads from the last step to the first.
    arrays : HostArrays or DeviceArrays
        Of the device that computes.

    Attributes
    ----------
    resets : ndarray of bool, shape (T, B)
        As given, without those beyond a sequence's length.
    """

    reordered = True
    restarts = True

    def __init__(
        self, resets: np.ndarray, mask: np.ndarray | None, lengths: np.ndarray | None, hold: bool,
        directions: tuple[bool, ...], arrays: Any,
    ):  # fmt: skip
        T, B = resets.shape
        if lengths is not None:
            mask = np.arange(T)[:, None] < lengths
            resets = resets & mask
        self.resets, self._directions = resets, directions
        # Pieces sequence by sequence; `begin` is the first step of each, counted through all sequences.
        begins = resets.T.copy()
        begins[:, 0] = True
        begin = np.flatnonzero(begins)
        sequence, first_step = np.divmod(begin, T)
        end = np.append(begin[1:], T * B)
        if mask is not None:
            done = np.append(0, np.cumsum(mask.T))
            begin, end = done[begin], done[end]
        self.pieces = len(begin)
        room = _room(self.pieces)
        self._sequence = np.zeros(room, np.int64)
        self._sequence[: self.pieces] = sequence
        counts = np.zeros(room, np.int64)
        counts[: self.pieces] = end - begin
        packed = arrays.batch(int(counts.max()), room, counts)
        self._rank = packed.rank
        self._first = np.flatnonzero(first_step == 0)
        self._last = np.append(self._first[1:], self.pieces) - 1
        # For each packed row its piece, and the number of the valid step in it.
        step = np.arange(packed.T).repeat(packed.active)
        piece = np.arange(packed.N) - packed.offset.repeat(packed.active)
        if packed.order is not None:
            piece = packed.order[piece]
        if mask is None:
            mask = np.ones((T, B), bool)
            index = (first_step[piece] + step) * B + sequence[piece]
        else:
            index = np.arange(T * B).reshape(T, B).T[mask.T][begin[piece] + step]
        super().__init__(mask, hold, directions[0], packed, index, arrays)

    @cached_property
    def _final(self) -> list[np.ndarray]:
        """For each direction, the packed place of the piece (B,) that each sequence ends with."""
        return [self._arrays.index(self._rank[self._first if reverse else self._last]) for reverse in self._directions]

    @cached_property
    def _given(self) -> list[tuple[np.ndarray, np.ndarray]]:
        """For each direction the sequences that begin with given states, and the packed places of their first pieces.

        No others do: those with a reset at step 0, read forwards.
        """
        found = []
        for reverse in self._directions:
            which = np.arange(self.B) if reverse else np.flatnonzero(~self.resets[0])
            places = self._rank[(self._last if reverse else self._first)[which]]
            found.append((self._arrays.index(which), self._arrays.index(places)))
        return found

    @property
    def sequences(self) -> np.ndarray:
        """The sequence of the piece in each sorted place (P,)."""
        return self._sequence if self.packed.order is None else self._sequence[self.packed.order]

    @property
    def began(self) -> np.ndarray:
        """The sequence of each row of `d_initial`."""
        return self._sequence[: self.pieces]

    def sort(self, state):
        """Values (..., B, H) of sequences, repeated for all their pieces in the packed order."""
        return state[..., self._arrays.index(self.sequences), :]

    def restart(self, target, initial) -> None:
        """Set the states (S, L D, P, H) of pieces that begin anew to initial ones (S, L D, H), after `sort`."""
        D = len(self._directions)
        for d, (_, places) in enumerate(self._given):
            given = target[:, d::D, places]
            target[:, d::D] = initial[:, d::D, None]
            target[:, d::D, places] = given

    def d_sort(self, d_state):
        """The gradient (S, L D, B, H) of given states; 0 where a sequence does not begin with them."""
        D, (S, rows, _, H) = len(self._directions), d_state.shape
        result = self._arrays.zeros((S, rows, self.B, H), d_state.dtype)
        for d, (which, places) in enumerate(self._given):
            result[:, d::D, which] = d_state[:, d::D, places]
        return result

    def unsort(self, state):
        """The states (S, L D, B, H) that sequences end with."""
        D, (S, rows, _, H) = len(self._directions), state.shape
        result = self._arrays.empty((S, rows, self.B, H), state.dtype)
        for d, places in enumerate(self._final):
            result[:, d::D] = state[:, d::D, places]
        return result

    def d_unsort(self, d_state):
        """The gradient (S, L D, P, H) of `unsort`; 0 for pieces that no sequence ends with."""
        D, (S, rows, _, H) = len(self._directions), d_state.shape
        result = self._arrays.zeros((S, rows, self.packed.B, H), d_state.dtype)
        for d, places in enumerate(self._final):
            result[:, d::D, places] = d_state[:, d::D]
        return result

    def d_initial(self, d_state, all_begin: bool):
        """Gradients (S, L D, n, H) of the initial states of pieces, in the order of sequences and time.

        Without ``all_begin`` they are 0 for pieces that began with given states.
        """
        D, result = len(self._directions), d_state
        if not all_begin:
            result = d_state.copy()
            for d, (_, places) in enumerate(self._given):
                result[:, d::D, places] = 0
        return result[:, :, self._arrays.index(self._rank[: self.pieces])]
