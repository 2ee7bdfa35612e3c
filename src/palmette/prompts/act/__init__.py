"""Techniques that act: tools, code, and trying again."""
