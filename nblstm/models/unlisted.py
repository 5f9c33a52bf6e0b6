"""Arrays out of Keras's lists of inputs and of outputs, of which a Sequential has one."""

from __future__ import annotations

from nblstm.arguments import validate


def unlisted_inputs(x, ndim: int | None):
    """``x``, out of a list of one.

    Parameters
    ----------
    x
        An array, a list of one, or samples one by one, which have fewer dimensions than the model's input.
    ndim : int or None
        The dimensions of that, batch included; None where they are not known yet.

    Raises
    ------
    ValueError
        If it is a list of several inputs.
    """
    if not (isinstance(x, list | tuple) and x and all(getattr(part, "ndim", 0) for part in x)):
        return x
    dimensions = [part.ndim for part in x]
    if len(x) == 1:
        return x[0] if dimensions == [ndim] else x
    if max(dimensions) < ndim if ndim else len(set(dimensions)) == 1:
        return x
    raise ValueError(
        f"x is a list of {len(x)} arrays of {validate.shapes(x)}, as for a model of several inputs; a Sequential has "
        "one, so give one array, such as np.concatenate(x, axis=-1), of which each step has what has no steps too"
    )


def unlisted_targets(name: str, given, x, listed: bool):
    """Targets or weights, out of a list of one.

    A list of one array is that where its array has as many entries as x, of which there are several, or x was
    ``listed`` too.

    Raises
    ------
    ValueError
        If it is a list of several outputs.
    """
    if not (isinstance(given, list | tuple) and given and hasattr(x, "__len__")):
        return given
    N = len(x)
    if any(getattr(part, "ndim", 0) == 0 or len(part) != N for part in given):
        return given
    if len(given) == 1:
        return given[0] if N > 1 or listed else given
    if len(given) == N:
        return given
    raise ValueError(
        f"{name} is a list of {len(given)} arrays with {N} entries each, as for a model of several outputs; a "
        "Sequential has one, so give one array"
    )
