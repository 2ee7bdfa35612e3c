"""The scripts and the style sheet of the page; `html.py` puts them into one file."""
