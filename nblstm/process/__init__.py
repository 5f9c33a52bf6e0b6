"""The process as a whole: signals, locks, BLAS threads, stdout and warnings."""
