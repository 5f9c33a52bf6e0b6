"""Randomness without a seed: reproducible after `set_random_seed`, otherwise new each time, in forked children too."""

import os

import numpy as np
import pytest
from processes import run_python

SEEDED = """
import numpy as np
import nblstm
from nblstm import layers, nn

def drawn():
    return [nn.GRU(3, 5).flat_parameters(), nn.Linear(3, 5).flat_parameters(), nblstm.Sequential(
        [layers.Dense(2, input_dim=3)]).get_weights()[0].ravel()]

first, second = drawn(), drawn()
nblstm.set_random_seed(7)
third = drawn()
nblstm.set_random_seed(7)
fourth, fifth = drawn(), drawn()
print(*(f(map(np.array_equal, *two)) for f, *two in ((any, first, second), (all, third, fourth), (any, fourth, fifth))))
"""


def test_set_random_seed_reaches_networks_and_models():
    assert run_python(SEEDED).split() == ["False", "True", "False"]


FORKED = """
import os
import numpy as np
from nblstm import nn
nn.Linear(3, 5)
for _ in range(2):
    if os.fork() == 0:
        os.write(1, nn.Linear(3, 5).flat_parameters().tobytes().hex().encode() + b"\\n")
        os._exit(0)
    os.wait()
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this platform has no fork")
def test_forked_children_draw_each_its_own():
    one, other = (np.frombuffer(bytes.fromhex(line), np.float32) for line in run_python(FORKED).split())
    assert not np.intersect1d(one, other).size
