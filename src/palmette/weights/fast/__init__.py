"""Inner loops compiled (extras `merge` and `landscape`): loops in Python, their machine code, and merging's kernels."""
