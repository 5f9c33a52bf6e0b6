"""Keras's own files, read and written: configs, weights, optimizers' states, and the HDF5 that holds them."""
