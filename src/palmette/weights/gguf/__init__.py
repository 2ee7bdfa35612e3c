"""From a model folder to a GGUF file: the names of tensors, the vocabulary, and the conversion itself."""
