"""JSON schemas as constraints: every keyword is enforced, by the mask or by the validator, and nothing invalid ends."""

from palmette.tokens.structure.schema.constraint import SchemaConstraint, SchemaState, schema_constraint
from palmette.tokens.structure.schema.report import Report
from palmette.tokens.structure.schema.source import DIALECTS

__all__ = ["DIALECTS", "Report", "SchemaConstraint", "SchemaState", "schema_constraint"]
