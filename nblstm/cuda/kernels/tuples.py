"""Functions on small tuples, written out for each size: what all kernels of a cell share."""

from __future__ import annotations

from nblstm.cuda.kernels.cell_functions import Sizes
from nblstm.symbolic.emit import functions_from


def _made(p, name: str, arguments: str, values):
    """The function ``name(arguments)`` that returns a tuple of expressions, inlined into its callers."""
    source = f"def {name}({arguments}):\n    return ({''.join(f'{value}, ' for value in values)})\n"
    return from_source(p, name, source)


def from_source(p, name: str, source: str, **names):
    """The function of that name in a source text, inlined into its callers."""
    return p.inlined(functions_from(source, f"{name} {hash(source):x}", names)[name])


def add(p, count: int):
    """``add(a, b)``, element by element."""
    return _made(p, "add", "a, b", [f"a[{k}] + b[{k}]" for k in range(count)])


def preactivations(p, n: Sizes):
    """``add_up(z, r, r_second, bias)``: the input's part, the recurrence's and the constant, where each reaches."""
    second = n.split + n.second

    def parts(k):
        recurrent = [f"r_second[{k - n.split}]" if k < second else f"r[{k - second}]"] if k >= n.split else []
        return " + ".join([*recurrent, *([f"z[{k}]"] if k < n.G else []), f"bias[{k}]"])

    return _made(p, "add_up", "z, r, r_second, bias", [parts(k) for k in range(n.P)])


def other_states(p, n: Sizes):
    """``others(state)``: the states but the output, which the outputs themselves record."""
    return _made(p, "others", "state", [f"state[{k}]" for k in range(n.S) if k != n.output])


def all_states(p, n: Sizes):
    """``states(y, others)``: the inverse of `other_states`."""
    values = [f"others[{k}]" for k in range(n.S - 1)]
    values.insert(n.output, "y")
    return _made(p, "states", "y, others", values)


def add_to_output(p, n: Sizes):
    """``add_to_output(d_state, dy)``: the gradient of the states, of which the output has another user."""
    return _made(p, "add_to_output", "d_state, dy", [f"d_state[{k}]" + " + dy" * (k == n.output) for k in range(n.S)])


def add_to_recurrent(p, n: Sizes):
    """``add_to_recurrent(d_state, d_h)``: the gradient of the states, of which the first recurs."""
    return _made(p, "add_to_recurrent", "d_state, d_h", [f"d_state[{k}]" + " + d_h" * (k == 0) for k in range(n.S)])


def reduce_over_lanes(p, lanes: int, groups: int, width: int):
    """``reduce(sums, lane)``: sums over all lanes of a tile, scattered over them.

    ``sums`` are ``groups * width`` numbers of each lane; a lane gets the ``width`` totals of group
    ``lane // (lanes // groups)``. While there are groups to divide, lanes exchange halves; then they add up what all
    of them have. The order of additions is fixed.
    """
    names = [f"sums[{k}]" for k in range(groups * width)]
    lines, mask, step = [], lanes // 2, 0
    while mask:
        half = groups // 2 * width
        if half:
            lines.append(f"    lower = lane & {mask} == 0")
            for k in range(half):
                lines.append(f"    kept_{step}_{k} = {names[k]} if lower else {names[k + half]}")
                lines.append(f"    sent_{step}_{k} = {names[k + half]} if lower else {names[k]}")
            groups //= 2
            new = [(f"kept_{step}_{k}", f"sent_{step}_{k}") for k in range(half)]
        else:
            new = [(name, name) for name in names]
        for k, (kept, sent) in enumerate(new):
            lines.append(f"    sum_{step}_{k} = {kept} + shuffle({sent}, {mask})")
        names = [f"sum_{step}_{k}" for k in range(len(new))]
        mask, step = mask // 2, step + 1
    source = "\n".join(
        ["def reduce(sums, lane):", *lines, f"    return ({''.join(f'{name}, ' for name in names)})", ""]
    )
    return from_source(p, "reduce", source, shuffle=p.shuffle)


def recurrent_part(p, n: Sizes):
    """``part(dz)``: the gradients of the pre-activations that the recurrence feeds."""
    return _made(p, "part", "dz", [f"dz[{k}]" for k in range(n.split, n.P)])
