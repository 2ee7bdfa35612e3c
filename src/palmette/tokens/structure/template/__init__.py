"""Templates: literal text with typed holes, filled by a model that can write nothing else.

`parse` reads a template, `kinds` is the table of holes, `compile` makes one grammar of it, `fill` runs it.
"""

from palmette.tokens.structure.template.fill import Filled, Program, fill_template
from palmette.tokens.structure.template.kinds import KINDS
from palmette.tokens.structure.template.parse import parse_template

__all__ = ["KINDS", "Filled", "Program", "fill_template", "parse_template"]
