"""One direction of a recurrent layer of any cell, as a Scan over MatMul, Split, sums and the cell's own functions."""

from __future__ import annotations

from onnx import helper

from nblstm.cells.cell_graph import Link
from nblstm.onnx.exporting.equations import call_cell, call_operand, inputs_of
from nblstm.onnx.exporting.graph_builder import GraphBuilder, storable, value_info
from nblstm.onnx.exporting.scan_weights import ScanWeights

#: Operators of results over the units of a sequence.
OVER_UNITS = {"sum": "ReduceSum", "mean": "ReduceMean", "maximum": "ReduceMax"}


def scanned(
    graph: GraphBuilder, weights: ScanWeights, d: int, reverse: bool, x: str, start: list[str], signals: list[str],
    valid_steps: str | None,
) -> tuple[str, list[str]]:  # fmt: skip
    """Add the Scan.

    ::

        x_z   =  x W_ih + b              all steps in one product
        z     =  x_z[t] + h R            step by step, then further products, and sums over units
        h, c  =  cell(z, h, c)

    Parameters
    ----------
    x : str
        (T, B, I).
    start : list of str
        States before the first step, (D, B, H) each.
    signals : list of str
        Of the cell, (T, B, H) or (T, B, 1) each.
    valid_steps : str or None
        Which steps count, bool (T, B, 1); all without it.

    Returns
    -------
    y : str
        (T, B, H), 0 beyond a sequence's length.
    states : list of str
        (B, H) each, after each sequence's last step.
    """
    cell, dtype = weights.cell, weights.dtype
    inputs = {}
    if cell.input_gates:
        x_z = graph.node("MatMul", x, weights.add(graph, "W"))
        if weights.biased:
            x_z = graph.node("Add", x_z, weights.add(graph, "b"))
        inputs["x_z"] = x_z
    inputs |= zip(cell.given, [*[x] * cell.takes_x, *signals], strict=True)
    inputs = inputs or {"x": x}  # it tells the number of steps
    first = [graph.node("Gather", state, graph.constant(d), axis=0) for state in start]
    learned = {name: weights.add_vector(graph, name) for name in (*cell.vectors, *cell.scalars)}

    body = GraphBuilder(graph.opset, graph)
    states = [body.unique(f"{name}_before") for name in cell.states]
    steps = {name: body.unique(f"{name}_t") for name in inputs}
    values = learned | dict(zip(cell.states, states, strict=True))
    values |= {name: steps[name] for name in cell.given}
    apart = _first_product(body, weights, values, steps.get("x_z"))
    waiting = [link for link in cell.graph.links if link.name]
    while waiting:
        link = next(each for each in waiting if inputs_of(each.operand) <= values.keys())
        waiting = [each for each in waiting if each is not link]
        _add_link(body, weights, link, values, apart)
    new = call_cell(body, weights.stack.cell_in_file, cell, values, dtype, weights.narrow)
    y = new[cell.states.index(cell.output)]
    scanned_in, read = list(inputs.values()), list(steps.values())
    if valid_steps is not None:
        valid = body.unique("valid_t")
        y = body.node("Where", valid, y, body.constant(0, dtype), hint="y_t")
        new = [body.node("Where", valid, a, b) for a, b in zip(new, states, strict=True)]
        scanned_in.append(valid_steps)
        read.append(valid)
    else:
        y = body.node("Identity", y, hint="y_t")
    infos = [value_info(name, dtype, None) for name in (*states, *steps.values())]
    infos += [value_info(name, "bool", None) for name in read[len(steps) :]]
    outputs = [value_info(name, dtype, None) for name in (*new, y)]
    made = helper.make_graph(body.nodes, storable(f"{cell.name}_step"), infos, outputs)
    directions = [int(reverse)]
    *finals, ys = graph.nodes_of(
        "Scan", [*first, *scanned_in], [*(f"last_{name}" for name in cell.states), "y"],
        called=f"{cell.name}{weights.end}",
        body=made, num_scan_inputs=len(read), scan_input_directions=directions * len(read),
        scan_output_directions=directions,
    )  # fmt: skip
    return ys, finals


def _first_product(
    body: GraphBuilder, weights: ScanWeights, values: dict[str, str], step: str | None
) -> dict[str, str]:
    """Add the first state's product, and put what it and the input make of gates into ``values``.

    Returns the input's part of gates that another product feeds.
    """
    H, cell, found = weights.H, weights.cell, dict[str, str]()

    def gates(source: str, names: list[str]) -> dict[str, str]:
        return dict(zip(names, body.split(source, [H] * len(names), names), strict=True))

    kinds = {"split": weights.split, "input_only": weights.input_only, "apart": weights.apart, "joint": weights.joint}
    from_x = _pieces(body, step, {kind: group for kind, group in kinds.items() if group}, H, "x") if step else {}
    link = next((each for each in cell.graph.links if not each.name), None)
    from_h = {}
    if link is not None:
        groups = {"joint": weights.joint, "split": weights.split_by_first, "recurrent_only": weights.recurrent_only}
        product = _product(body, weights, link, values[cell.states[0]])
        from_h = _pieces(body, product, {kind: group for kind, group in groups.items() if group}, H, "h")
    if weights.joint:
        values |= gates(body.node("Add", from_x["joint"], from_h["joint"], hint="z"), list(weights.joint))
    if weights.split:
        values |= gates(from_x["split"], [f"{name}_x" for name in weights.split])
    if weights.split_by_first:
        values |= gates(from_h["split"], [f"{name}_h" for name in weights.split_by_first])
    if weights.input_only:
        values |= gates(from_x["input_only"], list(weights.input_only))
    if weights.recurrent_only:
        values |= gates(from_h["recurrent_only"], list(weights.recurrent_only))
    if weights.apart:
        found = gates(from_x["apart"], list(weights.apart))
    return found


def _pieces(body: GraphBuilder, source: str, groups: dict[str, tuple[str, ...]], H: int, hint: str) -> dict[str, str]:
    """Cut into the blocks of kinds of gates."""
    sizes = [len(group) * H for group in groups.values()]
    return dict(zip(groups, body.split(source, sizes, [f"{hint}_{kind}" for kind in groups]), strict=True))


def _product(body: GraphBuilder, weights: ScanWeights, link: Link, operand: str) -> str:
    """Add a product of recurrent weights, and its biases."""
    R, b = weights.keys(link)
    product = body.node("MatMul", operand, weights.add(body, R))
    return body.node("Add", product, weights.add(body, b)) if weights.has_bias(link) else product


def _add_link(
    body: GraphBuilder, weights: ScanWeights, link: Link, values: dict[str, str], apart: dict[str, str]
) -> None:
    """Add what the equations have of all units, and put it into ``values``."""
    operand = call_operand(body, weights.cell, link, values, weights.dtype, weights.narrow)
    if link.kind != "product":
        values[link.targets[0]] = body.reduce(OVER_UNITS[link.kind], operand, [-1], True)
        return
    product = _product(body, weights, link, operand)
    pieces = body.split(product, weights.widths(link), [f"{name}_h" for name in weights.fed_by(link)])
    for name, piece in zip(link.targets, pieces, strict=True):
        values[name] = body.node("Add", apart[name], piece, hint=name) if name in apart else piece
