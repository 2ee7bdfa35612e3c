"""Seeing a graph: a picture (SVG, PNG) and a page to explore, made of one drawing."""
