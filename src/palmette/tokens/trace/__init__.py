"""The trace: the token tree as a value (`values`), written while strategies run (`record`), and its pictures.

`export.write` picks the picture by a file's suffix; `terminal` draws in a terminal, `histogram` a single step.
"""
