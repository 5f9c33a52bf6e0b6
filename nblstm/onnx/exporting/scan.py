"""One direction of a recurrent layer of any cell, as a Scan over MatMul, Split and the cell's own function."""

from __future__ import annotations

from onnx import helper

from nblstm.onnx.exporting.equations import call_cell, call_operand
from nblstm.onnx.exporting.graph_builder import GraphBuilder, storable, value_info
from nblstm.onnx.exporting.scan_weights import ScanWeights


def scanned(
    graph: GraphBuilder, weights: ScanWeights, d: int, reverse: bool, x: str, start: list[str], valid_steps: str | None
) -> tuple[str, list[str]]:
    """Add the Scan.

    ::

        x_z   =  x W_ih + b              all steps in one product
        z     =  x_z[t] + h R            step by step
        h, c  =  cell(z, h, c)

    Parameters
    ----------
    x : str
        (T, B, I).
    start : list of str
        States before the first step, (D, B, H) each.
    valid_steps : str or None
        Which steps count, bool (T, B, 1); all without it.

    Returns
    -------
    y : str
        (T, B, H), 0 beyond a sequence's length.
    states : list of str
        (B, H) each, after each sequence's last step.
    """
    cell, H, dtype = weights.cell, weights.H, weights.dtype
    x_z = graph.node("MatMul", x, weights.add(graph, "W"))
    if weights.biased:
        x_z = graph.node("Add", x_z, weights.add(graph, "b"))
    first = [graph.node("Gather", state, graph.constant(d), axis=0) for state in start]
    vectors = [weights.add_vector(graph, name) for name in cell.vectors]

    body = GraphBuilder(graph.opset, graph)
    states = [body.unique(f"{name}_before") for name in cell.states]
    step = body.unique("x_z_t")
    scalars = dict(zip(cell.vectors, vectors, strict=True)) | dict(zip(cell.states, states, strict=True))
    _add_preactivations(body, weights, scalars, step)
    if cell.called:
        operand = call_operand(
            body, cell, [scalars[name] for name in cell.arguments if name not in cell.functions], dtype
        )
        product = body.node("MatMul", operand, weights.add(body, "R_second"))
        pieces = body.split(product, [H] * len(cell.called), [f"{name}_h" for name in cell.called])
        for name, piece in zip(cell.called, pieces, strict=True):
            scalars[name] = body.node("Add", scalars[name], piece, hint=name)
    new = call_cell(body, cell, [scalars[name] for name in cell.arguments], dtype)
    y = new[cell.states.index(cell.output)]
    scanned_in = [x_z]
    steps = [step]
    if valid_steps is not None:
        valid = body.unique("valid_t")
        y = body.node("Where", valid, y, body.constant(0, dtype), hint="y_t")
        new = [body.node("Where", valid, a, b) for a, b in zip(new, states, strict=True)]
        scanned_in.append(valid_steps)
        steps.append(valid)
    else:
        y = body.node("Identity", y, hint="y_t")
    kinds = [dtype, "bool"]
    inputs = [value_info(name, dtype, None) for name in states]
    inputs += [value_info(name, kind, None) for name, kind in zip(steps, kinds, strict=False)]
    outputs = [value_info(name, dtype, None) for name in (*new, y)]
    made = helper.make_graph(body.nodes, storable(f"{cell.name}_step"), inputs, outputs)
    directions = [int(reverse)]
    *finals, ys = graph.nodes_of(
        "Scan", [*first, *scanned_in], [*(f"last_{name}" for name in cell.states), "y"],
        called=f"{cell.name}{weights.end}",
        body=made, num_scan_inputs=len(steps), scan_input_directions=directions * len(steps),
        scan_output_directions=directions,
    )  # fmt: skip
    return ys, finals


def _add_preactivations(body: GraphBuilder, weights: ScanWeights, scalars: dict[str, str], step: str) -> None:
    """Add the first product, and put the pre-activations into ``scalars``; of second gates the input's part."""
    H, cell = weights.H, weights.cell
    split, second, shared = cell.split, cell.called, weights.shared
    groups = [group for group in (split, second, shared) if group]
    hints = [f"x_{kind}" for kind, group in (("split", split), ("second", second), ("shared", shared)) if group]
    from_x = dict(zip(groups, body.split(step, [len(group) * H for group in groups], hints), strict=True))
    recurrent = (*shared, *split)
    if recurrent:
        product = body.node("MatMul", scalars[cell.states[0]], weights.add(body, "R"))
        if split and weights.biased:
            product = body.node("Add", product, weights.add(body, "b_h"))
        kinds = [group for group in (shared, split) if group]
        from_h = dict(
            zip(kinds, body.split(product, [len(k) * H for k in kinds], ["h_shared", "h_split"]), strict=True)
        )
    if shared:
        z = body.node("Add", from_x[shared], from_h[shared], hint="z")
        scalars |= zip(shared, body.split(z, [H] * len(shared), shared), strict=True)
    for group, source, half in ((split, from_x, "_x"), (split, from_h if split else {}, "_h"), (second, from_x, "")):
        if group:
            names = [f"{name}{half}" for name in group]
            scalars |= zip(names, body.split(source[group], [H] * len(group), names), strict=True)
