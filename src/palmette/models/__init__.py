"""Models: weights on a disk or a hub turned into engines, and an engine with its choices turned into a model."""
