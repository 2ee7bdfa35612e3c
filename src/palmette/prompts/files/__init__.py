"""Prompt files: front matter and a template, in a sandbox; others' formats read into the same value."""
