"""`palmette`: the table of verbs, and the one place where errors become messages and exit codes.

Exit codes: 0 done, 1 failed, 2 wrong usage, 130 stopped by Ctrl-C. A verb's module is loaded when it is called, so that
`palmette --help` loads no array library.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import Any

import click

from palmette import __version__
from palmette.cli.verbs import Verbs
from palmette.core.errors import PalmetteError

__all__ = ["VERBS", "main"]

VERBS = {
    "run": "Continue a prompt and stream the text.",
    "chat": "Talk with a model, on this machine or behind an API.",
    "models": "List what can be run: weights on this disk, servers on this machine, providers with a key.",
    "pull": "Fetch a model from the Hugging Face Hub.",
    "serve": "Serve models behind the APIs of OpenAI, Anthropic, Gemini, Cohere and Ollama.",
    "export": "Write a folder that is ready to be a Hugging Face Space.",
    "decode": "Continue a prompt by several strategies on one tree, and see the tree.",
    "decide": "Ask typed questions about a text; every option gets a probability.",
    "logs": "Show the calls that were logged: what they said, took and cost.",
    "explain": "Show what sampling settings mean in transformers, llama.cpp and vLLM, and where they differ.",
    "prompt": "Ask by a prompting technique: chain_of_thought, react with tools, and others.",
    "eval": "Measure techniques and models on a task, with intervals and paired tests.",
    "merge": "Merge models by a recipe: mergekit's YAML, streamed.",
    "convert": "Write a model as a GGUF file, for llama.cpp and the engine gguf.",
    "landscape": "Measure the loss around a model, with error bars, and draw it.",
    "graph": "Build a knowledge graph from documents, ask it with quotes, see it, export it.",
    "strategies": "List the decoding strategies and views with their parameters.",
}


class Palmette(Verbs):
    """All verbs."""

    package, table = "palmette.cli", VERBS

    def invoke(self, ctx: click.Context) -> Any:
        """Run the verb; a reader that has closed its end of the pipe is no error."""
        try:
            return super().invoke(ctx)
        except BrokenPipeError:
            sys.stdout = open(os.devnull, "w")  # noqa: SIM115 - the reader is gone; nothing more can be written
            return 0


@click.command(cls=Palmette, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="palmette")
def palmette() -> None:
    """Run any LLM. Choose its tokens, its prompts and its weights, and see what each choice does.

    \b
      palmette run "Once upon a time"
      palmette decode "I have a dream" --strategy beam:4 --strategy greedy --tree out.html
    """


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    args = list(sys.argv[1:] if argv is None else argv)
    debug = "--debug" in (args[: args.index("--")] if "--" in args else args)
    try:
        code = palmette.main(args=args, prog_name="palmette", standalone_mode=False)
        return code if isinstance(code, int) else 0
    except click.ClickException as error:
        if debug:
            raise
        error.show()
        return error.exit_code
    except PalmetteError as error:
        if debug:
            raise
        _say(f"palmette: {type(error).__name__}: {error}")
        return error.exit_code
    except (KeyboardInterrupt, click.Abort):
        if debug:
            raise
        _say("palmette: stopped")
        return 130
    except MemoryError:
        if debug:
            raise
        _say("palmette: out of memory; use a smaller model, a shorter prompt or fewer beams")
        return 1
    except Exception as error:
        if debug:
            raise
        _say(f"palmette: unexpected {type(error).__name__}: {error}  (run again with --debug for the whole story)")
        return 1


def _say(text: str) -> None:
    print(text, file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
