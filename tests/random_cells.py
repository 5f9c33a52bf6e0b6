"""Random cells over the whole cell language, as Python source.

Equations are drawn so that they have a gradient: kinks (`relu`, `where`, `sign` and so on) lie on a generic number,
which a pre-activation is part of; logarithms, roots and quotients stay clear of 0; and every expression has a bound, so
that states stay small over time. Nothing of nblstm is imported: `torch_cells` executes the same source.
"""

from __future__ import annotations

import random
import re

#: Smooth functions, each with its bound for an argument of bound b.
SMOOTH = {
    "tanh": lambda b: 1, "sigmoid": lambda b: 1, "sin": lambda b: 1, "cos": lambda b: 1, "erf": lambda b: 1,
    "softsign": lambda b: 1, "swish": lambda b: b, "gelu": lambda b: b, "softplus": lambda b: b + 0.7,
    "stop_gradient": lambda b: b,
}  # fmt: skip

#: Functions with a kink or a jump.
KINKED = {
    "relu": lambda b: b, "leaky_relu": lambda b: b, "elu": lambda b: b, "selu": lambda b: 2 * b, "abs": lambda b: b,
    "hard_sigmoid": lambda b: 1, "hard_tanh": lambda b: 1, "sign": lambda b: 1, "round": lambda b: b + 0.5,
}  # fmt: skip

#: Expressions that need something positive, or a small exponent: e and f are any expressions.
GUARDED = {
    "log(1.2 + {e} * {e})": lambda b: 1 + b, "log2(1.7 + {e} * {e})": lambda b: 1 + b,
    "log(1 + {e} * {e})": lambda b: 1 + b, "sqrt(0.6 + {e} * {e})": lambda b: b + 1, "exp(tanh({e}))": lambda b: 3,
    "exp2(sin({e}))": lambda b: 2, "exp(-softplus({e}))": lambda b: 1, "{e} / (1.3 + {f} * {f})": lambda b: b,
    "(0.5 + sigmoid({e})) ** tanh({f})": lambda b: 2, "sigmoid({e}) ** 1.5": lambda b: 1, "tanh({e}) ** 3": lambda b: 1,
    "1 / (1 + exp(-{e}))": lambda b: 1, "(1.2 + tanh({e})) ** -2": lambda b: 25,
}  # fmt: skip

#: Bounds of what the equations are given.
GATE, INPUT, SIGNAL, STATE, PARAMETER = 4.0, 3.0, 2.0, 2.0, 1.0


class Writer:
    """Writes the equations of one cell.

    Attributes
    ----------
    known : dict of str to float
        Names that expressions can use, each with a bound.
    generic : list of str
        Those that change with the input, of which no two units or steps have the same number.
    lines : list of str
    """

    def __init__(self, draw: random.Random, noise: bool):
        self.draw, self.noise = draw, noise
        self.known: dict[str, float] = {}
        self.generic: list[str] = []
        self.lines: list[str] = []

    def chance(self, probability: float) -> bool:
        """True with that probability."""
        return self.draw.random() < probability

    def number(self, low: float = 0.2, high: float = 1.5) -> str:
        """A constant of either sign."""
        value = f"{self.draw.uniform(low, high):.2f}"
        return f"-{value}" if self.chance(0.4) else value

    def keep(self, text: str, bound: float) -> str:
        """Give an expression a name."""
        name = f"t{len(self.lines)}"
        self.lines.append(f"{name} = {text}")
        self.known[name] = bound
        return name

    def expression(self, depth: int) -> tuple[str, float]:
        """A random expression, in parentheses where it needs some, and its bound."""
        text, bound = self._expression(depth)
        return (f"tanh({text})", 1.0) if bound > 8 else (text, bound)

    def _expression(self, depth: int) -> tuple[str, float]:
        if depth <= 0 or self.chance(0.12):
            if self.chance(0.06):
                return self.number(), 1.5
            name = self.draw.choice(list(self.known))
            return name, self.known[name]
        kinds = {
            self._sum: 3, self._product: 3, self._smooth: 4, self._kinked: 2, self._guarded: 2, self._choice: 2,
            self._of_units: 1.5, self._noise: 1.5 if self.noise else 0,
        }  # fmt: skip
        (kind,) = self.draw.choices(list(kinds), list(kinds.values()))
        return kind(depth)

    def of_input(self, depth: int) -> tuple[str, float]:
        """An expression that is at no kink, and differs from unit to unit."""
        name, (text, bound) = self.draw.choice(self.generic), self.expression(depth)
        factor = self.number()
        return f"({factor} * {name} + {text})", 1.5 * self.known[name] + bound

    def _sum(self, depth):
        (a, p), (b, q) = self.expression(depth - 1), self.expression(depth - 1)
        return f"({a} {self.draw.choice('+-')} {b})", p + q

    def _product(self, depth):
        (a, p), (b, q) = self.expression(depth - 1), self.expression(depth - 1)
        if self.chance(0.3):
            return f"{self.number()} * {a}", 1.5 * p
        return f"{a} * {b}", p * q

    def _smooth(self, depth):
        name, (a, p) = self.draw.choice(list(SMOOTH)), self.expression(depth - 1)
        return f"{name}({a})", SMOOTH[name](p)

    def _kinked(self, depth):
        name, (a, p) = self.draw.choice(list(KINKED)), self.of_input(depth - 2)
        return f"{name}({a})", KINKED[name](p)

    def _guarded(self, depth):
        form, (a, p) = self.draw.choice(list(GUARDED)), self.expression(depth - 2)
        (b, _) = self.expression(depth - 2)
        a, b = (f"({t})" if " " in t and not t.startswith("(") else t for t in (a, b))
        return f"({form.format(e=a, f=b)})", GUARDED[form](p)

    def _choice(self, depth):
        (a, p), (b, q) = self.of_input(depth - 2), self.expression(depth - 1)
        kind = self.draw.choice(["minimum", "maximum", "clip", "where", "both", "number"])
        if kind == "clip":
            return f"clip({a}, {self.draw.uniform(-1.5, -0.2):.2f}, {self.draw.uniform(0.2, 1.5):.2f})", 1.5
        if kind == "number":
            return f"({a} {self.draw.choice(['<', '<=', '>', '>='])} {self.number()}) * {b}", q
        if kind in ("where", "both"):
            c, r = self.expression(depth - 1)
            condition = f"{a} {self.draw.choice(['<', '<=', '>', '>='])} {self.number()}"
            if kind == "both":
                condition = f"({condition}) * ({self.of_input(0)[0]} > {self.number()})"
            return f"where({condition}, {b}, {c})", max(q, r)
        return f"{kind}({a}, {b})", max(p, q)

    def _of_units(self, depth):
        kind = self.draw.choice(["mean", "sum", "softmax", "layer_norm"])
        if kind in ("mean", "sum"):
            a, p = self.expression(depth - 1)
            if not set(re.findall(r"[a-z]\w*", a)) & {*self.known}:  # a constant
                a = self.draw.choice(list(self.known))
            return (f"mean({a})", p) if kind == "mean" else (f"tanh(0.2 * sum({a}))", 1.0)
        a, _ = self.of_input(depth - 1)
        if kind == "softmax":
            return f"softmax({a})", 1.0
        gain, bias = self.expression(0)[0], self.expression(0)[0]
        further = self.draw.choice(["", f", {gain}", f", {gain}, {bias}", f", bias={bias}", ", epsilon=1e-3"])
        return f"tanh(layer_norm({a}{further}))", 1.0

    def _noise(self, depth):
        per = self.draw.choice(["", ', per="sequence"', ', per="step"'])
        a, p = self.expression(depth - 1)
        if self.chance(0.5):
            return f"({a} + noise.normal({self.draw.uniform(0.1, 0.5):.2f}{per}))", p + 1
        return f"noise.bernoulli({self.draw.uniform(0.1, 0.9):.2f}{per}) * {a}", p


class Kinds:
    """A cell's gates by kind, and the rest of its declaration."""

    def __init__(self, draw: random.Random):
        def some(names: str, weights) -> list[str]:
            return names.split()[: draw.choices(range(len(weights)), weights)[0]]

        self.states = some("h c m", (0, 4, 4, 2))
        self.gates = some("a b d e", (0.3, 3, 4, 3, 2))
        chosen = dict.fromkeys(self.gates)
        all_of_one = draw.choice(["input_only", "recurrent_only"]) if draw.random() < 0.08 else None
        weights = {"": 4, "split": 2, "called": 3, "split called": 1, "input_only": 1, "recurrent_only": 1,
                   "recurrent_only called": 1}  # fmt: skip
        for gate in chosen:
            chosen[gate] = all_of_one or draw.choices(list(weights), list(weights.values()))[0]
        self.kind: dict[str, str] = chosen
        self.x = draw.random() < 0.2 or all(kind.startswith("recurrent_only") for kind in chosen.values())
        self.signals = some("dt keep", (6, 3, 1))
        self.vectors = some("p q", (6, 3, 1))
        self.scalars = some("alpha beta", (7, 2, 1))
        self.output = draw.choice(self.states) if draw.random() < 0.4 else None
        self.initial = {s: round(draw.uniform(-1, 1), 2) for s in self.states if draw.random() < 0.2}
        matrices = ["antisymmetric(0.15)", "heads(2)", "heads(3)", "low_rank(2)"]
        recurs = any(kind != "input_only" for kind in chosen.values())
        self.matrix = draw.choice(matrices) if recurs and draw.random() < 0.25 else None

    def of(self, kind: str) -> str:
        """Names of the gates of a kind."""
        return " ".join(gate for gate, kinds in self.kind.items() if kind in kinds.split())

    def declaration(self) -> str:
        """The decorator."""
        given = {"states": " ".join(self.states)}
        given |= {kind: self.of(kind) for kind in ("split", "called", "input_only", "recurrent_only")}
        given |= {kind: " ".join(getattr(self, kind)) for kind in ("signals", "vectors", "scalars")}
        parts = [f'{name}="{names}"' for name, names in given.items() if names]
        parts += [f'output="{self.output}"'] if self.output else []
        parts += [f"initial={self.initial}"] if self.initial else []
        parts += [f"matrix=cells.{self.matrix}"] if self.matrix else []
        return f'@cell(gates="{" ".join(self.gates)}", {", ".join(parts)})'

    def arguments(self) -> list[str]:
        """Names of the function's arguments."""
        gates = [a for g, kind in self.kind.items() for a in ((f"{g}_x", f"{g}_h") if "split" in kind else (g,))]
        return [*gates, *self.states, *["x"] * self.x, *self.signals, *self.vectors, *self.scalars]


def random_cell(seed: int, noise: bool = False) -> str:
    """The source of a random cell ``random_<seed>``; its equations draw ``noise`` or not."""
    draw = random.Random(seed)
    kinds, writer = Kinds(draw), Writer(draw, noise)
    known = writer.known
    for gate, kind in kinds.kind.items():
        names = [f"{gate}_x", f"{gate}_h"] if "split" in kind else [gate]
        known |= dict.fromkeys(names[:-1] if "called" in kind else names, GATE)
        if kind in ("", "input_only") or "split" in kind:
            writer.generic.append(names[0])
    known |= dict.fromkeys(kinds.states, STATE) | dict.fromkeys(["x"] * kinds.x, INPUT)
    known |= dict.fromkeys(kinds.signals, SIGNAL) | dict.fromkeys(kinds.vectors + kinds.scalars, PARAMETER)
    writer.generic += ["x"] * kinds.x

    # Gates are called one after the other, so that operands of later ones may depend on earlier ones.
    calls = [(f"{gate}_h" if "split" in kind else gate, kind) for gate, kind in kinds.kind.items() if "called" in kind]
    draw.shuffle(calls)
    first = not writer.generic
    for function, kind in calls:
        if first:  # nothing depends on the input yet
            operand = draw.choice(list(known))
        else:
            if writer.chance(0.4):
                writer.keep(*writer.expression(3))
            operand = writer.expression(draw.choice([0, 2, 3]))[0]
        called = writer.keep(f"{function}({operand})", GATE)
        if kind == "called":
            writer.generic.append(called)
            first = False
        if writer.chance(0.1):  # once more, with the same operand
            writer.keep(f"{function}({operand}) * 0.5", GATE)
    for _ in range(draw.choice([0, 1, 2, 3])):
        writer.keep(*writer.expression(3))

    results = [_new_state(writer, state) for state in kinds.states]
    body = "".join(f"    {line}\n" for line in [*writer.lines, f"return {', '.join(results)}"])
    return f"{kinds.declaration()}\ndef random_{seed}({', '.join(kinds.arguments())}):\n{body}"


def _new_state(writer: Writer, state: str) -> str:
    """An expression for a new state, of bound 2 as the old one."""
    form = writer.draw.choices(["gated", "bounded", "leaky", "odd"], [4, 3, 3, 1])[0]
    a, b = writer.expression(3)[0], writer.expression(3)[0]
    if form == "gated":
        gate = writer.keep(f"sigmoid({a})", 1.0)
        return f"{gate} * {state} + (1 - {gate}) * tanh({b})"
    if form == "bounded":
        return f"{writer.draw.choice(['tanh', 'sin', 'erf'])}({a})"
    if form == "leaky":
        return f"0.5 * {state} + tanh({a})"
    small = [name for name, bound in writer.known.items() if bound <= STATE]
    return writer.draw.choice([writer.draw.choice(small), writer.draw.choice(small), "0.5", f"mean(tanh({a}))"])
