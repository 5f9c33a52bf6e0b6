"""Files of tensors that are damaged or made to do harm: one sentence, little memory, and nothing is executed."""

import io
import json
import os
import pickle
import random
import struct
import time
import tracemalloc
import warnings
import zipfile
import zlib
from pathlib import Path

import mutations
import numpy as np
import pytest

from nblstm import cell, nn, tanh
from nblstm.files import tensors
from nblstm.models import load_model

FOLDER = Path(__file__).parent / "golden" / "torch_files"


def said_of(path, read):
    with pytest.raises(ValueError) as caught:  # noqa: PT011  # compared by who calls
        read(path)
    return str(caught.value)


def refused(path, *fragments, read=tensors.read):
    """Reading gives one sentence, and takes no more memory than ten times the file and 4 MB."""
    started = time.process_time()
    message, peak = mutations.peak_of(lambda: said_of(path, read))
    assert message.startswith(repr(str(path)))
    assert "\n" not in message
    assert len(message) < 1000
    for fragment in fragments:
        assert fragment in message
    assert peak < 10 * path.stat().st_size + (5 << 20)
    assert time.process_time() - started < 10
    return message


def pt(path, pickled, **members):
    """A file of torch's with this pickle."""
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a/data.pkl", pickled)
        for name, data in ({"data/0": bytes(64), "byteorder": b"little"} | members).items():
            archive.writestr(f"a/{name}", data)
    return path


def text(value):
    return b"X" + struct.pack("<I", len(value)) + value.encode()


def integer(value):
    value = int(value)
    raw = value.to_bytes(value.bit_length() // 8 + 1, "little", signed=True)
    return b"\x8a" + bytes([len(raw)]) + raw


def tensor(start=0, shape=(2,), strides=(1,), storage=b"ctorch\nFloatStorage\n", key="0", count=16, function=None):
    """The instructions that make a tensor."""
    stored = b"(" + text("storage") + storage + text(key) + text("cpu") + integer(count) + b"tQ"
    sizes = b"".join(b"(" + b"".join(map(integer, each)) + b"t" for each in (shape, strides))
    function = b"ctorch._utils\n_rebuild_tensor_v2\n" if function is None else function
    return function + b"(" + stored + integer(start) + sizes + b"\x89}tR"


def in_dict(value, key=None):
    return b"\x80\x02}" + (text("w") if key is None else key) + value + b"s."


def test_a_tensor_made_by_hand_is_read(tmp_path):
    """So that what the other tests change is all that is wrong."""
    found = tensors.read(pt(tmp_path / "m.pt", in_dict(tensor()))).arrays
    np.testing.assert_array_equal(found["w"], np.zeros(2, "f4"))


def test_nothing_is_executed(tmp_path):
    path = tmp_path / "m.pt"
    harm = tmp_path / "harm"
    command = text(f"touch {harm}")
    module, system = text(os.system.__module__), text("system")
    cases = {
        "of posix.system": b"cposix\nsystem\n(" + command + b"tR",
        "of builtins.getattr": b"cbuiltins\ngetattr\n(" + b"cos\nsystem\n" + command + b"tR",
        "of os.system": b"cos\nsystem\n(" + command + b"tR",
        "of nt.system": b"cnt\nsystem\n(" + command + b"tR",
        f"of {os.system.__module__}.system": module + system + b"\x93(" + command + b"tR",
        "of torch.hub.load": b"ctorch.hub\nload\n(" + command + b"tR",
        "of collections.OrderedDict.__init__": b"ccollections\nOrderedDict.__init__\n(tR",
        "of torch._utils._rebuild_tensor_v2.__globals__": text("torch._utils") + text(
            "_rebuild_tensor_v2.__globals__") + b"\x93",
        "instruction INST": b"(" + command + b"ios\nsystem\n",
        "instruction OBJ": b"(" + command + b"o",
        "object of posix.system, and": b"cposix\nsystem\n(" + command + b"t\x81",
        "calls a int": b"K\1)\x81", "it has no tensor": b"cargparse\nNamespace\n(" + command + b"t\x81",
        "instruction NEWOBJ_EX": b"ccollections\nOrderedDict\n)}\x92",
        "instruction EXT1": b"\x82\x01", "instruction EXT2": b"\x83\x01\x00", "instruction EXT4": b"\x84\x01\0\0\0",
        "instruction PERSID": b"Px\n", "instruction BYTEARRAY8": b"\x96" + b"\xff" * 7 + b"\x7f",
        "instruction BINBYTES8": b"\x8e" + b"\xff" * 7 + b"\x7f", "instruction NEXT_BUFFER": b"\x97",
        "instruction LONG4": b"\x8b\xff\xff\xff\x7f", "instruction INT": b"I9\n", "instruction STRING": b"S'a'\n",
        "calls a list": b"](tR", "calls a str": text("system") + b"(tR", "calls a dict": b"})R",
        "arguments that do not fit": b"ctorch._utils\n_rebuild_tensor_v2\n)R",
        "sets attributes": tensor() + b"}" + text("x") + b"K\1sb",
        "of a class of its own": b"ctorch._tensor\n_rebuild_from_type_v2\n(ctorch\ndevice\n" + b"ctorch\nTensor\n)}tR",
    }  # fmt: skip
    for fragment, value in cases.items():
        refused(pt(path, in_dict(value)), fragment)

    class Evil:
        def __reduce__(self):
            return os.system, (f"touch {harm}",)

    for protocol in (2, 3, 4, 5):
        refused(pt(path, pickle.dumps({"w": Evil()}, protocol)), "system, and only tensors")
    older = b"".join(pickle.dumps(each, 2) for each in (0x1950A86A20F9469CFC6C, 1001, {"little_endian": True}))
    path.write_bytes(older + pickle.dumps({"w": Evil()}, 2) + pickle.dumps([], 2))
    refused(path, "system, and only tensors")
    path.write_bytes(pickle.dumps(Evil(), 2))
    refused(path, "is a pickle, which may execute anything")
    assert not harm.exists()


def test_tensors_beyond_their_storage(tmp_path):
    path, huge = tmp_path / "m.pt", 1 << 50
    untyped = b"ctorch.storage\nUntypedStorage\n"
    cases = {
        "beyond its storage of 16": [tensor(shape=(17,)), tensor(start=15), tensor(strides=(16,)),
                                     tensor(shape=(2, 9), strides=(9, 1)), tensor(shape=(huge, huge), strides=(1, 1))],
        "made by expand": [tensor(shape=(5, 5), strides=(0, 1)), tensor(shape=(huge,), strides=(0,))],
        "no whole numbers, or negative": [tensor(start=-1), tensor(shape=(-2,)), tensor(strides=(-1,)),
                                          tensor(shape=(1 << 62,), strides=(0,))],
        "without a storage, a shape or strides": [tensor(shape=(2, 2)), tensor(shape=(1,) * 40, strides=(1,) * 40)],
        "has not the": [tensor(count=17)], "its tensors would take": [tensor(count=huge, shape=(huge,))],
        "no member 'data/1'": [tensor(key="1")], "no member 'data/../../a'": [tensor(key="../../a")],
        "without a type, a key or a size": [tensor(count=-1), tensor(storage=b"N"), tensor(storage=b"ctorch\nSize\n")],
        "a tensor without a type": [tensor(storage=untyped)],
        "of torch.QInt8Storage": [tensor(storage=b"ctorch\nQInt8Storage\n")],
        "two storages '0'": [b"}" + text("a") + tensor() + b"s" + text("b") + tensor(count=15) + b"s"],
        "too big": [tensor(shape=(0, huge, huge), strides=(1, 1, 1))],
        "what is no storage": [b"NQ", b"K\1Q", b")Q", b"(" + text("module") + b"NNNNtQ"],
        "two tensors 'w.b'": [b"}" + text("b") + tensor() + b"s" + b"s" + text("w.b") + tensor()],
    }  # fmt: skip
    for fragment, values in cases.items():
        for value in values:
            message = refused(pt(path, in_dict(value)))
            assert fragment in message or fragment == "too big", message


def test_pickles_that_would_take_memory_or_time(tmp_path):
    path = tmp_path / "m.pt"
    # Thirty dicts, each with the one before it twice: 2^30 names.
    laughs = b"}" + text("w") + tensor() + b"s" + b"".join(
        b"q" + bytes([k]) + b"0}" + text("a") + b"h" + bytes([k]) + b"s" + text("b") + b"h" + bytes([k]) + b"s"
        for k in range(15)
    )  # fmt: skip
    long = text("k" * 100_000)
    cases = {
        "nest more than": [(b"}" + text("a")) * 30 + tensor() + b"s" * 30, b"]q\0h\0a", b"}q\0" + text("a") + b"h\0s"],
        "ten times the memory": [
            laughs, b"]" * 300_000, b"(" * 300_000, b"(" + b"}" * 300_000 + b"t", b"N" + b"\x85" * 1_000_000,
            b"X\xff\xff\xff\xff", b"B\xff\xff\xff\xff", b"\x8d" + b"\xff" * 7 + b"\x7f",
            b"".join(b"N\x94" for _ in range(300_000)),
            long + b"q\0000}(" + b"".join(
                text(str(k)) + b"}h\0" + tensor() + b"s" for k in range(200)) + b"u",
        ],
        "with a tuple as a key": [b"}" + b"N" + b"\x85" * 20_000 + b"Ns"],
        "with a int as a key": [b"}" + integer(2**61 - 1) + b"Ns"], "with a list as a key": [b"}]Ns"],
        "with a float as a key": [b"}G" + bytes(8) + b"Ns"],
        "refers to what it has not read": [b"h\7"], "is cut off": [b"X\x09\0\0\0abc", b"cos"],
        "a group that it has not begun": [b"t"], "a key without a value": [b"}(Nu"],
        "of a later protocol": [b"\x80\x09"], "another kind, or none": [b"0000", b"Na", b"\x87"],
    }  # fmt: skip
    for fragment, values in cases.items():
        for value in values:
            refused(pt(path, in_dict(value)), fragment)
    # Of one list of numbers that a thousand keys have, nothing has to be searched a thousand times.
    numbers = b"](" + b"K\1" * 8000 + b"eq\0000"
    keys = b"".join(text(str(k)) + b"h\0" for k in range(1000))
    start = time.process_time()
    assert list(tensors.read(pt(path, in_dict(numbers + b"}(" + text("a") + tensor() + keys + b"u"))).arrays) == ["w.a"]
    assert time.process_time() - start < 2
    refused(pt(path, b"\x80\x02NN."), "before its value is complete")


def test_zips_that_are_not_torchs(tmp_path):
    path = tmp_path / "m.pt"
    whole = in_dict(tensor())
    refused(pt(path, whole, byteorder=b"big"), "larger bytes first")
    refused(pt(path, whole, **{"constants.pkl": b""}), "TorchScript")
    refused(pt(path, whole, **{"b/data.pkl": b""}), "2 members data.pkl")
    refused(pt(path, b"\x80\x02]."), "no dict of tensors")
    refused(pt(path, b"\x80\x02}."), "no tensor")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("a/data.pkl", whole)
        refused(path, "compressed")
        with zipfile.ZipFile(path, "w") as archive:
            for _ in range(2):
                archive.writestr("a/data.pkl", whole)
        refused(path, "two members of one name")
    content = pt(path, whole).read_bytes()
    at = content.rindex(bytes(64)) + 7
    path.write_bytes(content[:at] + b"\1" + content[at + 1 :])
    refused(path, "CRC")
    older = b"".join(pickle.dumps(each, 2) for each in (0x1950A86A20F9469CFC6C, 1001, {"little_endian": False}))
    path.write_bytes(older)
    refused(path, "larger bytes first")
    path.write_bytes((FOLDER / "types_older.pt").read_bytes()[:-1])
    refused(path, "is cut off")


def npz_of(path, **members):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(f"{name}.npy", data)
    return path


def npy(array, **header):
    file = io.BytesIO()
    np.lib.format.write_array(file, array)
    return file.getvalue()


def test_npz_that_would_take_memory(tmp_path):
    """Zeros of 200 MB in 200 KB; sizes that a header or the archive only claims; pickled objects."""
    path = tmp_path / "m.npz"
    refused(npz_of(path, w=npy(np.zeros(50_000_000, np.float32))), "ten times the memory")
    refused(
        npz_of(path, w=npy(np.ones(2)).replace(b"(2,), }         ", b"(2000000000,), }")), "which is not its length"
    )
    objects = io.BytesIO()
    np.save(objects, np.array([print], object), allow_pickle=True)
    refused(npz_of(path, w=objects.getvalue()), "has dtype object")
    refused(npz_of(path, w=npy(np.array(["text"]))), "has dtype <U4")
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("notes.txt", b"none")
    refused(path, "no member that is an array")
    # Of 60,000 members the directory has 46 bytes each, and Python would have objects of 700.
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a.npy", b"")
    content = path.read_bytes()
    start, end = content.index(b"PK\1\2"), content.index(b"PK\5\6")
    directory = content[start:end] * 60_000
    last = struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, 60_000, 60_000, len(directory), start, 0)
    path.write_bytes(content[:start] + directory + last)
    refused(path, "directory is most of the file")
    path.with_suffix(".nblstm").write_bytes(path.read_bytes())
    refused(path.with_suffix(".nblstm"), "directory is most of the file", read=load_model)
    # The archive says 50 bytes, and 200 MB would come out of them.
    content = bytearray(npz_of(path, w=bytes(200_000_000)).read_bytes())
    size = struct.pack("<I", 200_000_000)
    for at in (content.index(size), content.rindex(size)):
        content[at : at + 4] = struct.pack("<I", 50)
    path.write_bytes(content)
    refused(path)


def safetensors_of(path, header, data=bytes(8)):
    raw = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(raw)) + raw + data)
    return path


def test_safetensors_that_are_wrong(tmp_path):
    path = tmp_path / "m.safetensors"
    entry = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}
    cases = {
        "lies beyond the end": {"w": entry | {"data_offsets": [0, 16]}},
        "which is not its length": {"w": entry | {"shape": [1 << 60]}},
        "no shape or place of whole numbers": {"w": entry | {"shape": [-2]}},
        "of whole numbers": {"w": entry | {"shape": [True]}}, "whole": {"w": entry | {"data_offsets": [0.0, 8]}},
        "by dtype, shape and data_offsets": {"w": entry | {"more": 1}}, "alone": {"w": [1]},
        "does not begin where": {"w": entry, "v": entry}, "there are 8": {"w": {
            "dtype": "F32", "shape": [1], "data_offsets": [0, 4]}},
        "a tensor of F4": {"w": entry | {"dtype": "F4"}}, "is no dict of strings": {"__metadata__": {"a": 1}},
        "dict of strings": {"__metadata__": []}, "no JSON object": [],
        "two entries of one name": b'{"a":1,"a":1}',
        "ten times the memory": b"[" * 500_000, "recursion": b"[" * 30_000, "Expecting": b"{x}",
        "memory that the file": b'{"a":[' + b"1e9," * 300_000 + b"1]}",
    }  # fmt: skip
    for fragment, header in cases.items():
        refused(safetensors_of(path, header), fragment)
    path.write_bytes(struct.pack("<Q", 1 << 60) + b"{}" + bytes(100))
    refused(path, "its header would have")
    for content in (b"", b"x", bytes(8), bytes(100)):
        path.write_bytes(content)
        refused(path)


def test_descriptions_that_do_harm(tmp_path):
    """Sizes that no array has take no memory, and equations are read, not executed."""
    path = tmp_path / "m.safetensors"

    @cell(gates="z", states="h")
    def plain(z, h):
        return tanh(z + h)

    network = nn.Recurrent(plain, 2, 3, seed=0)
    network.save(path)
    found = json.loads(tensors.read(path).metadata["nblstm"])

    def changed(**changes):
        config = found["config"] | changes
        return tensors.write(
            str(path), network.state_dict(), {"nblstm": json.dumps({"class_name": "Recurrent", "config": config})}
        )

    def equations(text):
        return {"cell": found["config"]["cell"] | {"equations": text}}

    cases = {
        "its hidden_size is 1000000": {"hidden_size": 10**6}, "its num_layers is 1000": {"num_layers": 1000},
        "its dtype is 'float64'": {"dtype": "float64"}, "unknown argument 'shell'": {"shell": "rm"},
        "there is no cell named 'os'": {"cell": "os"}, "cell is of type int": {"cell": 3},
        "which nblstm does not write": equations("import os"), "the equations": equations("x" * 9000),
        "more than 50000": equations("x" * 50_001), "declared": {"cell": {}},
        "calls a value": equations("def equations(z, h):\n    return z(h)\n"),
        "in them": equations("def equations(z, h):\n    return z.__class__\n"),
        "does not fit": equations("def equations(z, h):\n    return h\n") | {"dropout": [2]},
    }  # fmt: skip
    for fragment, changes in cases.items():
        changed(**changes)
        message = refused(path, read=nn.load)
        assert fragment in message or fragment == "does not fit", message
    tensors.write(str(path), network.state_dict(), {"nblstm": "x" * 200_000})
    refused(path, "200000 characters", read=nn.load)
    tensors.write(str(path), network.state_dict(), {"nblstm": json.dumps({"class_name": "Popen", "config": {}})})
    refused(path, "no network named 'Popen'", read=nn.load)
    # A thousand layers, each of whose matrices would be larger than the file.
    names = {f"weight_hh_l{k}": np.zeros((0, 3000), "f4") for k in range(1000)}
    tensors.write(str(path), names | {"weight_ih_l0": np.zeros((0, 3000), "f4")}, {})
    refused(path, read=nn.load)
    refused(path, read=lambda path: nn.load(path, cell=plain))


KINDS = {
    "m.safetensors": mutations.mutated_safetensors, "m.stack.safetensors": mutations.mutated_safetensors,
    "m.npz": mutations.mutated_zip,
    "types.pt": mutations.mutated_zip, "types_older.pt": mutations.mutated_older, "m.pt": mutations.mutated_zip,
}  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_mutations(kind, tmp_path):
    """One sentence, little memory, whatever was changed; and no network that exists changes."""

    @cell(gates="z", states="h")
    def plain(z, h):
        return tanh(z + h)

    network = nn.Recurrent(plain, 2, 3, seed=0)
    if "stack" in kind:
        network = nn.Stack([network, nn.GRU(3, 3, seed=1)], residual=True, dropout=0.1)
    path, chance = tmp_path / kind, random.Random(zlib.crc32(kind.encode()))
    if kind == "m.pt":
        state = network.state_dict()
        pt(path, b"\x80\x02}(" + b"".join(
            text(name) + tensor(0, value.shape, np.array(value.strides) // 4, key=str(k), count=value.size)
            for k, (name, value) in enumerate(state.items())
        ) + b"u.", **{f"data/{k}": value.tobytes() for k, value in enumerate(state.values())})  # fmt: skip
    elif kind.startswith("m."):
        network.save(path)
    else:
        path.write_bytes((FOLDER / kind).read_bytes())
    content, before, said = path.read_bytes(), network.state_dict(), 0
    reads = [tensors.read] if kind.startswith("types") else [nn.load, network.load]
    for read in reads:
        read(path)
    for k in range(mutations.COUNT):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # zipfile's, of duplicate names
            path.write_bytes(KINDS[kind](content, chance))
        for read in reads:
            if k % 4 == 0:  # tracing takes three times as long as all else
                tracemalloc.start()
            start = time.process_time()
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("error")
                    warnings.filterwarnings("ignore", "dropout is")  # as a network with this option warns
                    warnings.filterwarnings("ignore", "Reading `.npy`")  # NumPy's, of headers of Python 2
                    read(path)
            except ValueError as error:
                said += 1
                message = str(error)
                assert message.startswith(repr(str(path))), message
                assert "\n" not in message
                assert len(message) < 1000
                if read == network.load:
                    assert all(map(np.array_equal, before.values(), network.state_dict().values()))
            else:
                network.load_state_dict(before)
            assert time.process_time() - start < 5
            peak = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
            assert peak < 10 * path.stat().st_size + (5 << 20)
    assert said > mutations.COUNT / 3
