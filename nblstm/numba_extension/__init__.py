"""nblstm inside users' own ``@njit`` functions."""
