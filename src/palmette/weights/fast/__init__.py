"""The inner loops of merging compiled (extra `merge`): loops in Python, their machine code, and the kernels around."""
