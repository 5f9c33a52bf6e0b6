"""Keras's own files, read and written: configs, weights, optimizers' states, and the HDF5 that holds them.

A load, from the file to the model::

    keras_formats        the entry: which kind of file it is, and whose fault an error is
      keras_archive        .keras and .weights.h5: a zip, and where Keras 3 has each layer's variables (variables)
      legacy_h5            .h5: lists of weights, of Keras 1 and 2 too (old_weights)
        hdf5                 groups and arrays from bytes (hdf5_headers, hdf5_groups)
      restoring            the model: layers, their parameters, and what it is compiled with
        configs_read         a layer's config as nblstm's (old_configs, chains)
        optimizer_state      the optimizer's variables

A save is `configs_written`, then `keras_archive` or `legacy_h5` with `hdf5_written`.
"""
