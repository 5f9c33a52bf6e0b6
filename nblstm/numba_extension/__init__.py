"""Networks inside functions that users compile: the value, its Numba type, and its methods."""
