"""Answering: cited, confined to the graph, or free and then verified; and saying that nothing is known."""
