"""Prompts: what is asked of a model, how it is asked, and how good the answers are. Any model; nothing but core is known."""
