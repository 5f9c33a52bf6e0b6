"""What concerns the whole process: signals, locks, BLAS threads, what is shown."""
