"""Directions in which a model's weights are moved, as recipes that JSON can say."""
