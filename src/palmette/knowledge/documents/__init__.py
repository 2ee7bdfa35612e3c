"""Documents: files become text, text becomes pieces with true offsets."""
