"""The programs of examples/, as a user runs them; those that take longer, with ``--quick``."""

import re
import shutil
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
    "forecast_months": r"from 12 months +([\d.]+)",
    "forecast_with_intervals": r"Held out: ([\d.]+) ppm .*, (\d+)% of weeks in the 80 % interval",
    "forecast_distribution": r"year before ([\d.]+), normal ([\d.]+), mixture ([\d.]+), student ([\d.]+)",
    "spoken_vowels": r"Held out: ([\d.]+)% of 370 utterances are right",
    "swing_up": r"Held out: (\d+) of 10 swing-ups end upright",
    "read_from_torch": r"Held out: ([\d.]+)% of 360 digits are right",
    "vanishing_gradient": r"RNN +([\d.]+).*\s+LSTM +([\d.]+) +([\d.]+).*\s+LSTM, clipped +([\d.]+) +([\d.]+)",
    "own_cell_in_torch": r"differ by at most (\S+)[\s\S]*Held out: ([\d.]+)% of 360 digits are right",
}

#: These take more than a few seconds without ``--quick``.
LONGER = {
    "code_or_prose", "moving_digits", "digits_row_by_row", "generate_text", "spoken_vowels", "forecast_with_intervals",
    "vanishing_gradient",
}  # fmt: skip

#: These have no ``--cell``: they are for one, or for several at once.
ONE_CELL = {"swing_up", "forecast_distribution", "read_from_torch", "own_cell_in_torch", "vanishing_gradient"}

#: What tells that a program has learned: better than chance, than the change of a year before (0.392 ppm), and than the
#: year before with its growth (0.763 ppm).
LEARNED = {
    "count_digits": lambda right, loss: right > 95,
    "code_or_prose": lambda right, loss: right > 90,
    "moving_digits": lambda digit, direction, both: digit > 30 and direction > 90,
    "digits_row_by_row": lambda right, loss: right > 85,
    "generate_text": lambda perplexity, characters: perplexity < 15,
    "forecast_months": lambda error: error < 0.35,
    "forecast_with_intervals": lambda error, inside: error < 0.763 and 60 < inside < 95,
    "forecast_distribution": lambda before, *ours: max(ours) < before,
    "spoken_vowels": lambda right: right > 92,
    "swing_up": lambda upright: upright >= 8,
    "read_from_torch": lambda right: right > 90,
    "vanishing_gradient": lambda rnn, *lstms: rnn > 0.1 > 10 * max(lstms),
    "own_cell_in_torch": lambda apart, right: apart < 1e-5 and right > 80,
}

MISSING = [library for library in ("matplotlib", "tqdm", "sklearn") if find_spec(library) is None]
pytestmark = pytest.mark.skipif(bool(MISSING), reason=f'no {MISSING}; the examples need pip install -e ".[examples]"')


@pytest.fixture
def examples(tmp_path):
    """The examples in a folder of their own, as they write into it."""
    return shutil.copytree(EXAMPLES, tmp_path / "examples", ignore=shutil.ignore_patterns("output"))


def run(program: Path, *options: str, **variables: str) -> str:
    """What a program prints, with warnings as errors."""
    done = subprocess.run(
        [sys.executable, "-W", "error", program, *options], env=environment(MPLCONFIGDIR=None, **variables),
        capture_output=True, text=True, timeout=240, check=False,
    )  # fmt: skip
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    return done.stdout


def numbers(program: str, output: str) -> list[float]:
    """The figures of its result."""
    found = re.search(RESULTS[program], output)
    assert found, output
    return [float(number) for number in found.groups()]


def options(program: str, cell: str) -> list[str]:
    """Those that a program has: its cell, and that it be quick."""
    return ["--quick"] * (program in LONGER) + ["--cell", cell] * (program not in ONE_CELL)


@pytest.mark.parametrize(
    ("program", "cell"), [*((program, "lstm") for program in RESULTS), ("digits_row_by_row", "own")]
)
def test_it_learns_and_draws(program, cell, examples):
    image = pytest.importorskip("PIL.Image")
    if program == "forecast_with_intervals":
        pytest.importorskip("pandas", reason="needs pandas")
    if program == "own_cell_in_torch":
        pytest.importorskip("torch", reason="needs torch, the extra 'torch'")
    output = run(examples / f"{program}.py", *options(program, cell))
    picture = examples / "output" / f"{program}.png"
    assert LEARNED[program](*numbers(program, output)), output
    assert f"Picture: {picture}" in output
    with image.open(picture) as opened:
        assert round(opened.info["dpi"][0]) == 200


def test_what_is_most_wrong_is_shown_of_both_kinds(examples):
    output = run(examples / "code_or_prose.py", "--quick")
    kinds = [said == "code" for said in re.findall(r"p\(prose\) [\d.]+, it is (code|prose)", output)]
    assert kinds == [True] * 4 + [False] * 4


def test_other_cells_run_and_results_repeat(examples):
    outputs = [run(examples / "count_digits.py", "--cell", cell) for cell in ("gru", "gru", "simple_rnn")]
    gru, again, simple_rnn = (numbers("count_digits", output) for output in outputs)
    assert gru == again
    assert gru != simple_rnn


def test_torch_compile_is_left_out_with_a_reason(examples, tmp_path):
    pytest.importorskip("torch", reason="needs torch, the extra 'torch'")
    output = run(examples / "own_cell_in_torch.py", CXX="no-compiler", TORCHINDUCTOR_CACHE_DIR=f"{tmp_path}/inductor")
    assert "torch.compile, which needs a C++ compiler, is left out: " in output
    assert "s of torch.compile" not in output
    assert LEARNED["own_cell_in_torch"](*numbers("own_cell_in_torch", output))


def test_onnxruntime_is_left_out_with_a_reason(examples):
    code = "import sys; sys.modules['onnx'] = None; import onnx_lstm; print(onnx_lstm.LEFT_OUT)"
    done = subprocess.run([sys.executable, "-c", code], cwd=examples, capture_output=True, text=True, check=True)
    assert "onnxruntime is left out: no onnx here" in done.stdout


def test_a_network_of_torchs_is_read_without_torch_and_exported_if_onnx_is_there(examples):
    code = """
import importlib.util, runpy
find = importlib.util.find_spec
importlib.util.find_spec = lambda name, *path: None if name == {!r} else find(name, *path)
runpy.run_path("read_from_torch.py")"""
    for library, said in (("torch", "torch is left out"), ("onnxruntime", "onnxruntime is left out: no onnxruntime")):
        done = subprocess.run(
            [sys.executable, "-W", "error", "-c", code.format(library)], cwd=examples,
            env=environment(MPLCONFIGDIR=None), capture_output=True, text=True, timeout=240, check=False,
        )  # fmt: skip
        assert said in done.stdout, done.stderr
        assert LEARNED["read_from_torch"](*numbers("read_from_torch", done.stdout))


def test_they_are_short_and_have_the_same_options():
    sources = {path.stem: path.read_text("utf-8") for path in EXAMPLES.glob("*.py")}
    assert sources.keys() == {*RESULTS, "forecast_co2", "onnx_lstm"}
    for program, source in sources.items():
        assert len(source.splitlines()) <= 80, program
    for program in RESULTS:
        assert ('"--quick"' in sources[program]) == (program in LONGER)
        assert ('choices=["lstm", "gru", "simple_rnn"' in sources[program]) == (program not in ONE_CELL)
