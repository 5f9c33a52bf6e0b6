"""A model's layers by name, the number of its parameters, and the table of both that is printed."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING, Any

from nblstm.arguments import validate
from nblstm.process.show import show

if TYPE_CHECKING:
    from nblstm.models.sequential import Sequential

HEADINGS = ("Layer (type)", "Output Shape", "Param #")


def get_layer(model: Sequential, name: str | None = None, index: int | None = None) -> Any:
    """The layer of a name or an index."""
    if (name is None) == (index is None):
        raise ValueError(f"name is {name!r} and index is {index!r}; give one of them")
    for k, layer in enumerate(model._layers):
        if layer.name == name or k == index:
            return layer
    if name is None:
        raise ValueError(f"there is no layer {index!r}; give a number from 0 to {len(model._layers) - 1}")
    raise ValueError(f"there is no layer named {validate.unknown(name, [layer.name for layer in model._layers])}")


def count_params(model: Sequential) -> int:
    """Number of parameters' entries."""
    model._need_built()
    return sum(layer.count_params() for layer in model._layers)


def summary(model: Sequential, line_length: int | None = None, print_fn=None) -> None:
    """Print the layers, the shapes of their outputs and their numbers of parameters.

    Parameters
    ----------
    line_length : int, optional
        Columns of the table, if it needs no more.
    print_fn : callable, optional
        Called with the text in place of `print`, which gets another one where stdout cannot encode it.
    """
    (print_fn or show)(_table(model, line_length))


def _table(model: Sequential, line_length: int | None = None) -> str:
    """Layers, shapes of outputs and numbers of parameters, as Keras lays them out."""
    rows = [_row(layer) for layer in model.layers]
    needed = [max(len(row[k]) for row in (HEADINGS, *rows)) for k in range(3)]
    if line_length is not None:
        validate.positive_integer("line_length", line_length)
        needed[0] = max(needed[0], line_length - needed[1] - needed[2] - 10)

    def line(cells) -> str:
        return f"│ {cells[0]:<{needed[0]}} │ {cells[1]:<{needed[1]}} │ {cells[2]:>{needed[2]}} │"

    def rule(left: str, between: str, right: str, stroke: str = "─") -> str:
        return left + between.join(stroke * (width + 2) for width in needed) + right

    lines = [f'Model: "{model.name}"', rule("┌", "┬", "┐"), line(HEADINGS), rule("├", "┼", "┤")]
    lines += [line(row) for row in rows]
    lines.append(rule("└", "┴", "┘"))
    return "\n".join(lines + _totals(model))


def html(model: Sequential) -> str:
    """The table of `summary`, for notebooks."""

    def line(cells, tag: str) -> str:
        aligned = zip(cells, ("left", "left", "right"), strict=True)
        return "".join(f'<{tag} style="text-align: {side}">{escape(text)}</{tag}>' for text, side in aligned)

    rows = [line(HEADINGS, "th"), *(line(_row(layer), "td") for layer in model.layers)]
    body = "".join(f"<tr>{row}</tr>" for row in rows)
    totals = "<br>".join(map(escape, _totals(model)))
    return f"<div><b>{escape(model.name)}</b><table>{body}</table>{totals}</div>"


def _row(layer: Any) -> tuple[str, str, str]:
    shape = str(tuple(layer.output_shape)) if layer.built else "? (not built)"
    count = f"{layer.count_params():,}" if layer.built else "?"
    return f"{layer.name} ({type(layer).__name__})", shape, count


def _totals(model: Sequential) -> list[str]:
    if not (model.built and model.layers):
        return ["The model is not built: its parameters are made when the shape of its input is known."]
    trainable = sum(view.size for view in model.trainable_weights)
    total = model.count_params()
    size = sum(view.nbytes for view in model.weights)
    return [
        f"Total params: {total:,} ({_size(size)})",
        f"Trainable params: {trainable:,}",
        f"Non-trainable params: {total - trainable:,}",
    ]


def _size(count: float) -> str:
    for unit in ("B", "KB", "MB"):
        if count < 1024:
            return f"{count:.2f} {unit}"
        count /= 1024
    return f"{count:.2f} GB"
