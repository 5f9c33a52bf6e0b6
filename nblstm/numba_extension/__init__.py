"""nblstm inside functions that users compile: networks as values, functions and cells of numbers."""
