"""Structured output: constraints for regular expressions, choices, grammars and schemas, and what stands on them."""
