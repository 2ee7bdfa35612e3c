"""Evaluation: a grid of models, techniques and settings on data, with intervals, paired tests and a replay."""
