"""Techniques that ask: no reasoning is asked for before the answer."""
