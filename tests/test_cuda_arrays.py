"""Arrays of other libraries that lie on a GPU: what they are taken for, and what comes out; and why there is no GPU."""

from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
from backends import chosen

from nblstm import nn
from nblstm.cuda import gpu


class OnAGpu:
    """Somebody's array on a GPU, as far as DLPack tells; its memory is the CPU's, as the simulated GPU's is."""

    def __init__(self, array):
        self.array = np.asarray(array)

    def __dlpack_device__(self):
        return (2, 0)

    def __dlpack__(self, **options):
        return self.array.__dlpack__()

    def __array_namespace__(self):
        return SimpleNamespace(from_dlpack=lambda array: OnAGpu(array))


@pytest.fixture(autouse=True)
def _simulated(monkeypatch):
    # NumPy asks an array where it is before it takes it over; these say GPU, and are taken as they are.
    monkeypatch.setattr(np, "from_dlpack", lambda value: np.asarray(value.array))
    with chosen("simulated steps"):
        yield


X = np.random.default_rng(0).normal(size=(4, 2, 3)).astype("float32")


def test_the_same_kind_comes_out():
    net = nn.LSTM(3, 5, 2, seed=0)
    expected, (h, _), tape = net.forward(X)
    gradients = net.backward(tape, expected)
    y, states, tape = net.forward(OnAGpu(X))
    on_gpu = net.backward(tape, OnAGpu(expected))
    assert all(isinstance(array, OnAGpu) for array in (y, *states, on_gpu.flat, on_gpu.x, *on_gpu.state))
    np.testing.assert_array_equal(y.array, expected)
    np.testing.assert_array_equal(states[0].array, h)
    np.testing.assert_array_equal(on_gpu.flat.array, gradients.flat)
    mixed, _ = net(X, tuple(OnAGpu(np.zeros((2, 2, 5), "float32")) for _ in range(2)), OnAGpu(np.array([4, 2])))
    assert type(mixed) is np.ndarray
    np.testing.assert_array_equal(mixed, net(X, lengths=[4, 2])[0])


def test_gradients_are_of_the_kind_of_the_input_without_an_output_gradient():
    net = nn.GRU(3, 5, seed=0)
    _, h, tape = net.forward(OnAGpu(X))
    assert isinstance(net.backward(tape, None, h).x, OnAGpu)


def test_what_the_caller_changes_does_not_reach_the_tape():
    net = nn.LSTM(3, 5, seed=0)
    x = OnAGpu(X.copy())
    y, _, tape = net.forward(x)
    before = net.backward(tape, np.ones((4, 2, 5), "float32")).flat
    x.array[...] = 0
    y.array[...] = 0
    np.testing.assert_array_equal(net.backward(tape, np.ones((4, 2, 5), "float32")).flat, before)


def test_steps_keep_the_kind():
    step = nn.LSTM(3, 5, seed=0).stepper(2)
    expected = step(X[0])
    state = step.state
    step.reset()
    y = step(OnAGpu(X[0]))
    np.testing.assert_array_equal(y.array, expected)
    np.testing.assert_array_equal(step.state[1].array, state[1])


def test_other_dtypes_are_converted_and_complex_ones_refused():
    net = nn.LSTM(3, 5, seed=0)
    whole = np.round(4 * X)
    np.testing.assert_array_equal(net(OnAGpu(whole.astype("int32")))[0].array, net(whole)[0])
    with pytest.raises(TypeError, match="x has dtype complex128"):
        net(OnAGpu(X.astype("complex128")))


# --- why there is no GPU --------------------------------------------------------------------------


class CudaError(RuntimeError):
    pass


def cupy(count=1, driver=13020, runtime=13000, fails=""):
    """A CuPy that finds this."""

    def devices():
        if fails:
            raise CudaError(fails)
        return count

    made = ModuleType("cupy")
    made.cuda = SimpleNamespace(
        runtime=SimpleNamespace(
            getDeviceCount=devices, driverGetVersion=lambda: driver, runtimeGetVersion=lambda: runtime,
            CUDARuntimeError=CudaError,
        )
    )  # fmt: skip
    return made


INSTALL = "install nblstm's extra 'cuda', by pip install -e '.[cuda]' in its folder"


@pytest.mark.parametrize(
    ("found", "index", "said"),
    [
        ({"numba_cuda"}, 0, f"the package CuPy is not installed; {INSTALL}"),
        ({"cupy"}, 0, f"the package numba-cuda is not installed; {INSTALL}"),
        (cupy(fails="cudaErrorNoDevice: none.\nmore"), 0,
         "no NVIDIA GPU with a working driver was found (cudaErrorNoDevice: none); install or update the driver"),
        (cupy(1), 1, "there is 1 GPU and their numbers begin at 0"),
        (cupy(2), 5, "there are 2 GPUs and their numbers begin at 0"),
        (cupy(driver=12080), 0, "the driver is for CUDA 12 and the installed packages are for CUDA 13; update"),
        ("an old GPU", 0,
         "GPU 0, old, has compute capability 7.5 and nblstm needs 8.0 or newer"),
    ],
    ids=["no CuPy", "no numba-cuda", "no GPU", "one", "two", "old driver", "old GPU"],
)  # fmt: skip
def test_the_reason_is_one_sentence(found, index, said, monkeypatch):
    installed = found if isinstance(found, set) else {"numba_cuda", "cupy"}
    made = found if isinstance(found, ModuleType) else cupy()
    modules = {
        "cupy": made, "nblstm.cuda.cubin": ModuleType("cubin"),
        "nblstm.cuda.runtime": SimpleNamespace(properties=lambda index: gpu.Gpu("old", (7, 5), 40, 64 * 1024)),
    }  # fmt: skip
    monkeypatch.setattr(gpu, "find_spec", lambda name: name in installed or None)
    monkeypatch.setattr(gpu, "import_module", modules.__getitem__)
    monkeypatch.setattr(gpu, "_asked_by", None)
    reason = gpu._unavailable.__wrapped__(index)
    assert reason.startswith(said)
    assert "\n" not in reason
