"""The loss around a model's weights: directions, measurements with error bars, a surrogate, pictures."""
