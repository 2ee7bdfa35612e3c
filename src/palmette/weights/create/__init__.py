"""Models made of models otherwise than by merging tensors: adapters extracted, experts assembled, layers stacked."""
