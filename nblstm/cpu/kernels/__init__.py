"""The kernels of recurrence on the CPU."""
