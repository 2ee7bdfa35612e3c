"""Coefficients of a merge chosen by measuring: which numbers move, how they are moved, what is said of the result."""
