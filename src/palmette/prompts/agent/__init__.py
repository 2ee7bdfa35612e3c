"""Agents: the loop of steps and observations, in three ways of asking for a step."""
