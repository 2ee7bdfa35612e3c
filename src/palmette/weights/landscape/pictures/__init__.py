"""Pictures and files of what was measured."""
