"""Dialects: the same settings mean different things in transformers, llama.cpp and vLLM; here each meaning is a chain.

A dialect fixes the order of stages, ties in top-k, the tail of top-p, the scope of penalties, what temperature 0 means,
and the defaults that act although nobody set them. A setting that a program does not have is refused, never ignored.
"""

from palmette.tokens.dialect.compare import Explanation, Reading, explain
from palmette.tokens.dialect.convert import Note, Translation, translate
from palmette.tokens.dialect.example import Example
from palmette.tokens.dialect.plan import chain, check_strategy, dialect
from palmette.tokens.dialect.settings import SETTINGS, Setting, parse_settings, read_settings
from palmette.tokens.dialect.table import DIALECTS, Dialect

__all__ = [
    "DIALECTS",
    "SETTINGS",
    "Dialect",
    "Example",
    "Explanation",
    "Note",
    "Reading",
    "Setting",
    "Translation",
    "chain",
    "check_strategy",
    "dialect",
    "explain",
    "parse_settings",
    "read_settings",
    "translate",
]
