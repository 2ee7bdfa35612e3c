"""Tools: typed functions that a model may call, with what they may do and for how long."""
