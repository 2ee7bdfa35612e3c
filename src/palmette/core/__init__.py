"""The ground under the three pillars: values and protocols, standard library and numpy only."""
