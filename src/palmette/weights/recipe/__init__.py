"""Recipes: mergekit's YAML, read strictly into values."""
