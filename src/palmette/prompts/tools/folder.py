"""Search over a folder of texts, like the Wikipedia actions of ReAct: `search` finds passages, `lookup` reads on."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from palmette.core.errors import UsageError
from palmette.prompts.bm25 import Ranking
from palmette.prompts.tools.tool import FunctionTool, tool

__all__ = ["folder_search"]

SUFFIXES = (".txt", ".md", ".rst", ".html", ".csv", ".json", ".jsonl")
LARGEST = 4 << 20  # bytes of a file that is read
PASSAGE = 800  # characters


def folder_search(folder: str | Path, *, suffixes: Sequence[str] = SUFFIXES, most: int = 3) -> list[FunctionTool]:
    """Tools `search(query)` and `lookup(text)` over the text files below a folder.

    Files are read once, links out of the folder are not followed, and passages are ranked by BM25.

    Args:
        folder: where the files are.
        suffixes: which files are read.
        most: passages that a search gives.

    Raises:
        UsageError: for no folder, or one without a text.
    """
    root = Path(folder).expanduser().resolve()
    if not root.is_dir():
        raise UsageError(f"no folder {str(folder)!r} to search in")
    passages = _passages(root, suffixes)
    if not passages:
        raise UsageError(f"{str(folder)!r} holds no file with one of {', '.join(suffixes)}")
    ranking = Ranking([f"{place} {text}" for place, text in passages])
    last: list[int] = []

    def search(query: str) -> str:
        """Search the texts; gives the passages that fit best, each with the file it stands in.

        Args:
            query: words to look for.
        """
        found = ranking.best(query, most)
        last[:] = [found[0][0]] if found else []
        if not found:
            return f"Nothing speaks of {query!r}."
        return "\n\n".join(f"[{passages[i][0]}] {passages[i][1]}" for i, _ in found)

    def lookup(text: str) -> str:
        """Find the next passage that holds exactly this text, from where the last search or lookup stopped.

        Args:
            text: letters as they stand there.
        """
        start = last[0] + 1 if last else 0
        for i in [*range(start, len(passages)), *range(start)]:
            if text.lower() in passages[i][1].lower():
                last[:] = [i]
                return f"[{passages[i][0]}] {passages[i][1]}"
        return f"No passage holds {text!r}."

    return [tool(search, effect="read"), tool(lookup, effect="read")]


def _passages(root: Path, suffixes: Sequence[str]) -> list[tuple[str, str]]:
    made: list[tuple[str, str]] = []
    for path in sorted(root.rglob("*")):
        if path.suffix.lower() not in suffixes or not path.is_file() or not path.resolve().is_relative_to(root):
            continue
        if path.stat().st_size > LARGEST:
            continue
        name = path.relative_to(root).as_posix()
        current = ""
        for block in path.read_text("utf-8", errors="replace").split("\n\n"):
            block = block.strip()
            while len(block) > PASSAGE:
                cut = block.rfind(" ", 0, PASSAGE) + 1 or PASSAGE
                made.append((name, block[:cut].strip()))
                block = block[cut:]
            if current and len(current) + len(block) > PASSAGE:
                made.append((name, current))
                current = ""
            current = f"{current}\n\n{block}".strip()
        if current:
            made.append((name, current))
    return made
