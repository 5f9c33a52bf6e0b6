"""What users give in the place of plain arrays: masked arrays, tables, sparse matrices, numbers beyond a dtype."""

import array
import collections

import numpy as np
import pytest
from messages import message_of

import nblstm
from nblstm import activations, metrics, nn, utils
from nblstm.layers import GRU, LSTM, RNN, Dense, Embedding, Input, Masking
from nblstm.losses import CategoricalCrossentropy, MeanSquaredError, SparseCategoricalCrossentropy
from nblstm.models import Sequential
from nblstm.training import Adam

RNG = np.random.default_rng(5)
X, Y = RNG.normal(size=(4, 5, 3)), RNG.normal(size=(4, 2))
STEPS = np.ones((4, 5), bool)


def masked(array):
    """The array with its last entry masked, below which is what NumPy fills in."""
    mask = np.zeros(np.shape(array), bool)
    mask.flat[-1] = True
    return np.ma.array(array, mask=mask)


def model(*layers):
    made = Sequential([Input((5, 3)), *(layers or (LSTM(4), Dense(2)))], seed=0)
    made.compile("sgd", "mse", metrics=["mae"])
    return made


def batches(*parts):
    yield parts


NET, LAYER, STATEFUL = nn.LSTM(3, 4, seed=0), LSTM(4, input_shape=(5, 3)), GRU(4, stateful=True, input_shape=(5, 3))
LAYER.build((None, 5, 3))
LINEAR, MODEL = nn.Linear(3, 2, seed=0), model()
H = np.zeros((1, 4, 4), "f4")
SEQUENCES = X.swapaxes(0, 1)
OPTIMIZER = Adam([LINEAR])

MASKED = {
    "fit_x": lambda: MODEL.fit(masked(X), Y, verbose=0),
    "fit_y": lambda: MODEL.fit(X, masked(Y), verbose=0),
    "fit_weight": lambda: MODEL.fit(X, Y, sample_weight=masked(np.ones(4)), verbose=0),
    "fit_validation": lambda: MODEL.fit(X, Y, validation_data=(masked(X), Y), verbose=0),
    "fit_rows": lambda: MODEL.fit([masked(row) for row in X], Y, verbose=0),
    "fit_list": lambda: MODEL.fit([masked(X)], [Y], verbose=0),
    "fit_generator": lambda: MODEL.fit(batches(X, masked(Y)), verbose=0),
    "evaluate": lambda: MODEL.evaluate(masked(X), Y, verbose=0),
    "evaluate_generator": lambda: MODEL.evaluate(batches(masked(X), Y), verbose=0),
    "predict": lambda: MODEL.predict(masked(X), verbose=0),
    "predict_float32": lambda: MODEL.predict(masked(X.astype("f4")), verbose=0),
    "predict_generator": lambda: MODEL.predict(batches(masked(X)), verbose=0),
    "predict_on_batch": lambda: MODEL.predict_on_batch(masked(X)),
    "model": lambda: MODEL(masked(X)),
    "model_mask": lambda: MODEL(X, mask=masked(STEPS)),
    "train_on_batch": lambda: MODEL.train_on_batch(X, masked(Y)),
    "test_on_batch": lambda: MODEL.test_on_batch(X, Y, masked(np.ones(4))),
    "set_weights": lambda: MODEL.set_weights([masked(w) for w in MODEL.get_weights()]),
    "network": lambda: NET(masked(SEQUENCES)),
    "network_float32": lambda: NET(masked(SEQUENCES.astype("f4"))),
    "network_forward": lambda: NET.forward(masked(SEQUENCES.astype("f4"))),
    "network_state": lambda: NET(SEQUENCES, (H, masked(H))),
    "network_lengths": lambda: NET(SEQUENCES, lengths=masked([1, 2, 3, 4])),
    "network_dy": lambda: NET.backward(NET.forward(SEQUENCES)[2], masked(np.ones((5, 4, 4), "f4"))),
    "network_parameters": lambda: NET.load_state_dict({k: masked(v) for k, v in NET.state_dict().items()}),
    "network_step": lambda: NET.stepper(4)(masked(np.ones((4, 3), "f4"))),
    "network_step_state": lambda: NET.stepper(4).reset((masked(H), H)),
    "linear": lambda: LINEAR(masked(X)),
    "linear_dy": lambda: LINEAR.backward(LINEAR.forward(X)[1], masked(np.ones((4, 5, 2)))),
    "layer": lambda: LAYER(masked(X)),
    "layer_mask": lambda: LAYER(X, mask=masked(STEPS)),
    "layer_state": lambda: LAYER(X, initial_state=[H[0], masked(H[0])]),
    "layer_step": lambda: LAYER.stepper(4)(masked(np.ones((4, 3), "f4"))),
    "layer_weights": lambda: LAYER.set_weights([masked(w) for w in LAYER.get_weights()]),
    "layer_states": lambda: STATEFUL.reset_states(masked(H[0])),
    "words": lambda: Embedding(9, 2)(masked([[1, 2]])),
    "initializer": lambda: Dense(2, kernel_initializer=masked(np.ones((3, 2)))).build((None, 3)),
    "activation": lambda: activations.softmax(masked(Y)),
    "loss_target": lambda: MeanSquaredError()(masked(Y), Y),
    "loss_prediction": lambda: MeanSquaredError()(Y, masked(Y)),
    "loss_weight": lambda: MeanSquaredError()(Y, Y, masked(np.ones(4))),
    "loss_mask": lambda: MeanSquaredError()(Y, Y, mask=masked(np.ones(4, bool))),
    "loss_classes": lambda: SparseCategoricalCrossentropy()(masked([0, 1, 1, 0]), np.abs(Y)),
    "loss_rows": lambda: CategoricalCrossentropy()(masked(np.eye(2)[[0, 1, 1, 0]]), np.abs(Y)),
    "accuracy": lambda: metrics.Accuracy().update_state(masked(np.eye(2)[[0, 1, 1, 0]]), Y),
    "accuracy_classes": lambda: metrics.sparse_categorical_accuracy(masked([0, 1, 1, 0]), Y),
    "accuracy_bits": lambda: metrics.binary_accuracy(masked([0, 1, 1, 0]), Y[:, 0]),
    "metric_of_ones_own": lambda: metrics.get(lambda y_true, y_pred: y_true)(masked(Y), Y),
    "mean": lambda: metrics.Mean().update_state(masked(Y)),
    "optimizer": lambda: OPTIMIZER.load_state({k: masked(v) for k, v in OPTIMIZER.state().items()}),
    "one_hot": lambda: utils.to_categorical(masked([0, 1])),
    "padding": lambda: utils.pad_sequences([[1, 2], masked([1, 2])]),
    "normalize": lambda: utils.normalize(masked(Y)),
}  # fmt: skip


@pytest.mark.parametrize("call", MASKED.values(), ids=MASKED)
def test_masked_arrays_are_refused_before_anything_is_done(call):
    before = MODEL.get_weights()
    message_of(ValueError, call, "a NumPy masked array with", "masked entries", "filled(0)", "sample_weight")
    for old, new in zip(before, MODEL.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


def test_a_masked_array_without_masked_entries_is_its_numbers():
    np.testing.assert_array_equal(MODEL.predict(np.ma.array(X), verbose=0), MODEL.predict(X, verbose=0))
    np.testing.assert_array_equal(NET(np.ma.array(SEQUENCES))[0], NET(SEQUENCES)[0])


def test_filled_behind_a_masking_layer_is_as_good_as_not_there():
    gaps = np.ma.array(X, copy=True)
    gaps[1, 3:] = np.ma.masked
    made = Sequential([Input((None, 3)), Masking(0.0), LSTM(4), Dense(2)], seed=0)
    filled = made.predict(gaps.filled(0), verbose=0)
    np.testing.assert_allclose(filled[1:2], made.predict(X[1:2, :3], verbose=0), rtol=1e-6)


# --- what torch's users give ----------------------------------------------------------------------


class Narrow:
    """As a tensor of bfloat16 or on a GPU: NumPy cannot read it."""

    dtype = "torch.bfloat16"

    def __array__(self, *arguments, **options):
        raise TypeError("Got unsupported ScalarType BFloat16")


Packed = collections.namedtuple("PackedSequence", ["data", "batch_sizes", "sorted_indices", "unsorted_indices"])


def test_tensors_that_numpy_cannot_read_get_the_fix():
    weights = NET.state_dict()
    for call, name in (
        (lambda: NET(Narrow()), "x"),
        (lambda: NET.load_state_dict({k: Narrow() for k in weights}), "parameter 'weight_ih_l0'"),
    ):
        message_of(TypeError, call, f"{name} has dtype torch.bfloat16", "ScalarType BFloat16", "float() and cpu()")


def test_a_packed_sequence_gets_the_fix():
    packed = Packed(np.zeros((7, 3), "f4"), np.array([2, 2, 1, 1, 1]), None, None)
    message_of(TypeError, lambda: NET(packed), "x is a PackedSequence; give the padded array and lengths=")


def test_lengths_in_another_form_or_place():
    message_of(ValueError, lambda: NET(SEQUENCES, lengths=3), "lengths is 3; the batch has 4 sequences, so give a len")
    message_of(TypeError, lambda: NET(SEQUENCES, [5, 4, 5, 1]), "state is [5, 4, 5, 1]", "lengths=[5, 4, 5, 1]")
    message_of(TypeError, lambda: NET(SEQUENCES[:, :2], [5, 4]), "state is [5, 4]", "lengths=[5, 4]")
    one, same = NET(SEQUENCES[:, :1], lengths=3), NET(SEQUENCES[:, :1], lengths=[3])
    np.testing.assert_array_equal(one[0], same[0])


# --- numbers beyond the dtype ---------------------------------------------------------------------


def too_large(array, value=1e39):
    array = np.array(array, "f8")
    array.flat[-1] = value
    return array


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: MODEL.fit(too_large(X), Y, verbose=0), "x has 1e+39 at [3, 4, 2]"),
        (lambda: MODEL.fit(X, too_large(Y, -2e40), verbose=0), "y has -2e+40 at [3, 1]"),
        (lambda: MODEL.predict(too_large(X), verbose=0), "x has 1e+39 at [3, 4, 2]"),
        (lambda: MODEL.fit(X, Y, sample_weight=too_large(np.ones(4)), verbose=0), "sample_weight has 1e+39 at [3]"),
        (lambda: NET(too_large(SEQUENCES)), "x has 1e+39 at [4, 3, 2]"),
        (lambda: NET(too_large(SEQUENCES).tolist()), "x has 1e+39 at [4, 3, 2]"),
        (lambda: Input((3,), dtype="float32")(too_large(X[0])), "x has 1e+39 at [4, 2]"),
        (lambda: MODEL.set_weights([too_large(w) for w in MODEL.get_weights()]), "has 1e+39 at [2, 15]"),
    ],
)
def test_numbers_beyond_float32_are_named(call, said):
    message_of(ValueError, call, said, "which is beyond float32, whose largest number is 3.4e+38; give smaller")


def test_what_is_too_small_is_0_and_infinity_is_infinity():
    x = np.array([[1e-60, 1.0, -1e-60]])
    np.testing.assert_array_equal(LINEAR(x), LINEAR(np.array([[0, 1, 0]], "f4")))
    assert np.isnan(nn.LSTM(3, 4, seed=0)(np.full((1, 1, 3), np.inf))[0]).any()
    message_of(ValueError, lambda: MODEL.fit(too_large(X, np.inf), Y, verbose=0), "x has inf at [3, 4, 2]; remove")


# --- tables and sparse matrices -------------------------------------------------------------------


def test_tables_of_several_dtypes():
    pd = pytest.importorskip("pandas", reason="tables are pandas's")
    columns = {"a": [0.5, 1.5, -1.0], "b": [True, False, True], "c": np.array([1, 2, 3], "i1")}
    table, plain = pd.DataFrame(columns), np.array([*columns.values()], "f8").T
    dense = Sequential([Input((3,)), Dense(2)], seed=0)
    dense.compile("sgd", "mse")
    np.testing.assert_array_equal(dense.predict(table, verbose=0), dense.predict(plain, verbose=0))
    np.testing.assert_array_equal(Dense(2, kernel_initializer="ones")(table), plain.sum(1, keepdims=True).repeat(2, 1))
    y = pd.DataFrame({"u": [1.0, 2.0, 3.0], "v": pd.array([True, False, True], "boolean")})
    assert dense.fit(table, y, verbose=0).history["loss"][0] > 0
    table["d"] = ["x", "y", "z"]
    message_of(TypeError, lambda: dense.predict(table, verbose=0), "x has the column 'd' of dtype", "leave it out")
    message_of(TypeError, lambda: dense.fit(plain, table["d"], verbose=0), "y has the column 'd' of dtype")
    table["d"] = pd.array([1, None, 3], "Int64")
    message_of(ValueError, lambda: dense.fit(table[["a", "b", "d"]], y, verbose=0), "x has nan at [1, 2]")


def test_sparse_matrices_get_the_fix():
    sparse = pytest.importorskip("scipy.sparse", reason="sparse matrices are SciPy's")
    x = sparse.csr_matrix(np.eye(3))
    dense = Sequential([Input((3,)), Dense(2)], seed=0)
    dense.compile("sgd", "mse")
    for call in (lambda: dense.fit(x, Y[:3], verbose=0), lambda: dense.predict(x, verbose=0), lambda: NET(x)):
        message_of(TypeError, call, "x is a sparse csr_matrix; give the array that its toarray() makes")


@pytest.mark.parametrize("call", [lambda x: NET(x)[0], LAYER, lambda x: MODEL.predict(x, verbose=0), LINEAR])
def test_lists_of_integers_beyond_int64(call):
    """NumPy makes objects of them; they are numbers like others."""
    one = [[1, 10**30, -2]] * 5
    given = [one] * 4 if call is not LINEAR else one
    np.testing.assert_array_equal(call(given), call(np.array(given, "f8")))
    for large, said in ((10**39, "x has 1e+39 at"), (-(10**400), "x has a number at")):
        one[2] = [1, 2, large]
        message_of(ValueError, lambda given=given: call(given), said, "2, 2]", "beyond float", "give smaller numbers")
    one[2] = [1, None, 10**39]
    message_of(TypeError, lambda: call(given), "x has dtype object, and NoneType at", "2, 1]; give real numbers")


def test_other_objects():
    for given, said in (
        (None, "x is None; give an array of real numbers"),
        ({"x": X}, "x is dict; give an array of real numbers"),
        (X.astype(object), "x has dtype object, though its entries are numbers; give real numbers, by its astype"),
        (np.array([[1.0, "a"]], object), "x has dtype object, and str at [0, 1]; give real numbers"),
        (np.zeros((1, 2), "M8[s]"), "x has dtype datetime64[s]; give real numbers"),
    ):
        message_of(TypeError, lambda given=given: NET(given), said)


def test_arrays_of_several_shapes_in_a_list():
    call = lambda: NET([np.zeros((5, 3)), np.zeros((4, 3))])  # noqa: E731
    message_of(ValueError, call, "x is a list of 2 arrays of shapes (5, 3) and (4, 3); pad the sequences", "lengths=")


def test_initial_values_of_a_cell_are_within_the_dtype():
    @nblstm.cell(gates="a", states="h c", initial={"c": 1e300})
    def far(a, h, c):
        return a + h, c

    said = "initial of cell 'far' has 1e+300 at [1], which is beyond float32, whose largest number is 3.4e+38; give"
    message_of(ValueError, lambda: nn.Recurrent(far, 2, 3), said)
    message_of(ValueError, lambda: RNN(far, 3), said)
    assert nn.Recurrent(far, 2, 3, dtype="float64")(np.ones((0, 2)))[1][1].max() == 1e300


@pytest.mark.parametrize("given", [memoryview, lambda a: array.array("f", a.ravel())])
def test_memory_that_numpy_can_read(given):
    x, y = np.float32([[1.0], [2.0], [3.0]]), np.float32([1.0, 0.0, 1.0])
    results = []
    for made in (np.array, given):
        model = Sequential([Input((1,)), Dense(1)], seed=0)
        model.compile("sgd", "mse")
        model.fit(made(x), made(y), epochs=2, verbose=0)
        results.append([model.predict(made(x), verbose=0), model.evaluate(made(x), made(y), verbose=0)])
    assert results[0][0].tolist() == results[1][0].tolist()
    assert results[0][1] == results[1][1]


def test_many_shapes_in_a_list_are_counted():
    many = [np.zeros((k, 3)) for k in [*range(9, 40), 9]]
    said = "a list of 32 arrays of shapes (9, 3), (10, 3) and 29 others; pad the sequences to one length"
    message_of(ValueError, lambda: MODEL.predict(many), f"x is {said}")
    message_of(ValueError, lambda: MODEL.fit(X, many, verbose=0), f"y is {said}")
    steps = Sequential([Dense(1)])
    steps.build((None, None, 3))
    batches = [np.zeros((2, k, 3)) for k in range(1, 40)]
    said = "the outputs have shapes (1, 1), (2, 1) and 37 others, which make no array; predict such batches apart"
    message_of(ValueError, lambda: steps.predict(iter(batches), verbose=0), said)
