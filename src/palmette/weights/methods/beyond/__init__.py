"""Merge methods that mergekit has not: by singular values of whole matrices, and by masks of single parameters."""
