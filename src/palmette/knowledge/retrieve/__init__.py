"""Finding: what a question names, what stands around it, the way between two things, the passages that speak of it."""
