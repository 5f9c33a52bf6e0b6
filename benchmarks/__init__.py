"""How fast nblstm is: asv suites here, the comparison with other engines in `peers`."""
