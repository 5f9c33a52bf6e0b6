"""The programs of examples/, as a user runs them, with little data: ``--quick``."""

import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
from processes import environment

EXAMPLES = Path(__file__).parents[1] / "examples"

#: What each prints as its result; the groups are numbers.
RESULTS = {
    "count_digits": r"Held out.*: ([\d.]+)% right, binary cross-entropy ([\d.]+)",
    "code_or_prose": r"([\d.]+)% of [\d,]+ held-out lines are right .*; cross-entropy ([\d.]+)",
    "moving_digits": r"Held out: digit ([\d.]+)% right, direction ([\d.]+)%, both ([\d.]+)%",
    "digits_row_by_row": r"Held out: ([\d.]+)% of 360 digits are right, cross-entropy ([\d.]+)",
    "generate_text": r"Held out: perplexity ([\d.]+) per character, of (\d+) characters",
    "forecast_months": r"seeing 12 months +([\d.]+)",
}

MISSING = [library for library in ("matplotlib", "tqdm", "sklearn") if find_spec(library) is None]
pytestmark = pytest.mark.skipif(bool(MISSING), reason=f'no {MISSING}; the examples need pip install -e ".[examples]"')


def run(program: str, *options: str) -> str:
    """What a program prints, with warnings as errors."""
    done = subprocess.run(
        [sys.executable, "-W", "error", EXAMPLES / f"{program}.py", *options], env=environment(MPLCONFIGDIR=None),
        capture_output=True, text=True, timeout=240, check=False,
    )  # fmt: skip
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    return done.stdout


def numbers(program: str, output: str) -> list[float]:
    """The figures of its result."""
    found = re.search(RESULTS[program], output)
    assert found, output
    return [float(number) for number in found.groups()]


@pytest.mark.parametrize(
    ("program", "cell"), [*((program, "lstm") for program in RESULTS), ("digits_row_by_row", "own")]
)
def test_it_runs(program, cell):
    picture = EXAMPLES / "output" / f"{program}.png"
    picture.unlink(missing_ok=True)
    output = run(program, "--quick", "--cell", cell)
    assert all(number > 0 for number in numbers(program, output))
    assert f"Picture: {picture}" in output
    assert picture.stat().st_size > 5_000


def test_other_cells_run_and_results_repeat():
    first, again = (run("count_digits", "--quick", "--cell", "gru") for _ in range(2))
    assert numbers("count_digits", first) == numbers("count_digits", again)
    others = {numbers("count_digits", run("count_digits", "--quick", "--cell", "simple_rnn"))[1]}
    assert others.isdisjoint(numbers("count_digits", first))


def test_they_are_short_and_have_the_same_options():
    sources = {path.stem: path.read_text("utf-8") for path in EXAMPLES.glob("*.py")}
    assert sources.keys() == {*RESULTS, "forecast_co2"}
    for program, source in sources.items():
        assert len(source.splitlines()) <= 80, program
    for program in RESULTS:
        assert '"--quick"' in sources[program]
        assert 'choices=["lstm", "gru", "simple_rnn"' in sources[program]
