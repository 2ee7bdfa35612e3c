"""Wrappers: a model in, a model out. Each asks another model in its own `produce`, so all ways to ask work with all."""
