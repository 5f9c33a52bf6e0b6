"""The table that `Sequential.summary` prints."""

from __future__ import annotations

from nblstm.arguments import validate

HEADINGS = ("Layer (type)", "Output Shape", "Param #")


def table(model, line_length: int | None = None) -> str:
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


def _row(layer) -> tuple[str, str, str]:
    shape = str(tuple(layer.output_shape)) if layer.built else "? (not built)"
    count = f"{layer.count_params():,}" if layer.built else "?"
    return f"{layer.name} ({type(layer).__name__})", shape, count


def _totals(model) -> list[str]:
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
