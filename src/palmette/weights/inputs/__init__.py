"""What a merge can read besides safetensors of plain numbers: GGUF files, PyTorch's own files, 8-bit checkpoints."""
