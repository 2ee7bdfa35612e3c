"""Decisions: typed questions about a state, answered by a probability for every option."""
