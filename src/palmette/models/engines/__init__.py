"""Engines: token ids in, scores out."""
