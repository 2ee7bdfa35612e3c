"""Choose the weights: merge checkpoints."""
