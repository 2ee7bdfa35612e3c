"""Serving: any model behind every API, from the wires that the client speaks."""
