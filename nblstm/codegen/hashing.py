"""A hash that noise is drawn by: of a seed, a step and a sequence, then of a unit; the same bits on every target.

The first is of 64 bits (splitmix64, Steele et al. 2014), the second of 32 (lowbias32, Wellons 2018).
"""

from collections.abc import Callable


def hash_functions(compiled: Callable, uint32: Callable, uint64: Callable) -> tuple[Callable, Callable]:
    """``key(seed, number, step, b)``, of a row of the numbers of that number, and ``hashed(key, u)``, of its unit.

    Parameters
    ----------
    compiled : callable
        Decorator that makes a Python function callable from the target's code.
    uint32, uint64 : callable
        The target's conversions to these types.
    """

    @compiled
    def mixed(number):
        """A hash of 64 bits."""
        number = (number ^ (number >> uint64(30))) * uint64(0xBF58476D1CE4E5B9)
        number = (number ^ (number >> uint64(27))) * uint64(0x94D049BB133111EB)
        return number ^ (number >> uint64(31))

    @compiled
    def key(seed, number, step, b):
        """A hash of 64 bits: a step is 1 or more, 0 for numbers that all steps share."""
        row = mixed(uint64(seed) + uint64(number) * uint64(0x9E3779B97F4A7C15))
        return mixed(row + uint64(step) * uint64(0xD1342543DE82EF95) + uint64(b) * uint64(0xA0761D6478BD642F))

    @compiled
    def hashed(key, u):
        """A hash of 32 bits. The first sum is of 64, in which no digit is lost."""
        bits = uint64(uint32(key)) + uint64(uint32(u)) * uint64(0x9E3779B9)
        bits = uint64(uint32((bits ^ (bits >> uint64(16))) * uint64(0x21F0AAAD)))
        bits = uint64(uint32((bits ^ (bits >> uint64(15))) * uint64(0x735A2D97)))
        return uint32(bits ^ (bits >> uint64(15)))

    return key, hashed
