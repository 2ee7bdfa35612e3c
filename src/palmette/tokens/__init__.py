"""The first pillar: choosing the next token. Strategies, views and constraints over the token tree, and its trace."""
