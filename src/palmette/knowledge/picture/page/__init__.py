"""The page's own script and style sheet."""
