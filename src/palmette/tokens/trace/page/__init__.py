"""The page's data, scripts and style sheet; `html.py` puts them into one file."""
