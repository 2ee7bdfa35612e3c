"""Prompts: what is asked of a model, how it is asked, and how good the answers are. Knows core alone."""
