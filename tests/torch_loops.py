"""Recurrent networks as loops of torch's operators, over steps and sequences with masks and resets, for its autograd.

Nothing here is nblstm's: an LSTM and a GRU as torch defines them, step by step.
"""

import torch


def lstm_step(a_x, a_h, states):
    """One step from both products; states are (h, c)."""
    i, f, g, o = (a_x + a_h).chunk(4, -1)
    c = f.sigmoid() * states[1] + i.sigmoid() * g.tanh()
    return o.sigmoid() * c.tanh(), c


def gru_step(a_x, a_h, states):
    """One step from both products; states are (h,)."""
    (r_x, z_x, n_x), (r_h, z_h, n_h) = a_x.chunk(3, -1), a_h.chunk(3, -1)
    z = (z_x + z_h).sigmoid()
    return ((1 - z) * (n_x + (r_x + r_h).sigmoid() * n_h).tanh() + z * states[0],)


STEPS = {"lstm": (lstm_step, "hc"), "gru": (gru_step, "h")}


def direction(kind, p, end, x, state, mask, resets, reverse, leave=None):
    """Every state at each step, stacked, and the last ones, of one layer and direction.

    ``state`` is a tuple (B, H), or None for learned states or zeros, from which a step with a reset begins too: read in
    reverse, that is the step before it. ``leave(t, states)`` makes of the states after a step those that go on.
    """
    step, names = STEPS[kind]
    T, B = mask.shape
    H = p[f"weight_hh{end}"].shape[1]
    first = [p.get(f"initial_{name}{end}", torch.zeros(H, dtype=x.dtype)).expand(B, H) for name in names]
    states, found = first if state is None else state, [None] * T
    begins = torch.cat([resets[1:], torch.zeros(1, B, dtype=bool)]) if reverse else resets
    for t in reversed(range(T)) if reverse else range(T):
        states = [torch.where(begins[t, :, None], a, b) for a, b in zip(first, states, strict=True)]
        a_x = x[t] @ p[f"weight_ih{end}"].T + p[f"bias_ih{end}"]
        a_h = states[0] @ p[f"weight_hh{end}"].T + p[f"bias_hh{end}"]
        new, valid = step(a_x, a_h, states), mask[t, :, None]
        states = [torch.where(valid, a, b) for a, b in zip(new, states, strict=True)]
        found[t] = torch.stack([torch.where(valid, own, 0) for own in states])
        states = states if leave is None else leave(t, states)
    return torch.stack(found, 1), states


def network(kind, p, x, state, mask, resets, layers=1, directions=(False,), leave=None):
    """Every state of the last layer at each step (S, T, B, D H), and the final states (S, L D, B, H)."""
    finals, D = [], len(directions)
    for k in range(layers):
        every = []
        for d, reverse in enumerate(directions):
            end, row = f"_l{k}{'_reverse' * d}", k * D + d
            own = None if state is None else [part[row] for part in state]
            found, final = direction(kind, p, end, x, own, mask, resets, reverse, leave)
            every.append(found)
            finals.append(torch.stack(list(final)))
        every = torch.cat(every, -1)
        x = every[0]
    return every, torch.stack(finals, 1)
