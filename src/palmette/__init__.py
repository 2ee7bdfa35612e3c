"""Palmette."""
