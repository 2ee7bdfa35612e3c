"""Techniques that reason before they answer."""
