"""`palmette pull`: fetch a model, so that it runs without a network."""

from __future__ import annotations

import click

from palmette.cli.shared import debug_option
from palmette.core.errors import ModelNotFound, UsageError
from palmette.models.hub import WANTED, fetch, snapshot
from palmette.models.resolve import parse_reference

__all__ = ["command"]


@click.command("pull", short_help="Fetch a model from the Hugging Face Hub.")
@click.argument("model", metavar="hf:OWNER/NAME[@REVISION]")
@click.option("--file", "files", multiple=True, metavar="PATTERN", help="Fetch these files, such as '*Q4_K_M.gguf'.")
@debug_option
def command(model: str, files: tuple[str, ...]) -> int:
    """Fetch a model into Hugging Face's cache; an interrupted download goes on where it stopped.

    Configuration, tokenizer and safetensors files are fetched, never code or pickled weights; --file names others, such
    as GGUF files.
    """
    reference = parse_reference(model)
    if reference.scheme != "hf":
        raise UsageError(f"{model!r} is on this disk already; pull takes hf:OWNER/NAME[@REVISION]")
    if any(name.endswith((".bin", ".pt", ".pth", ".pkl", ".py")) for name in files):
        raise UsageError("--file: pickled weights and code are never fetched; look for safetensors or GGUF files")
    if files:
        folder = fetch(reference.name, reference.revision, [*WANTED, *files])
        got = sorted({path for pattern in files for path in folder.glob(pattern)})
        if not got:
            raise ModelNotFound(f"{model} has no file {' or '.join(map(repr, files))}")
        for path in got:
            click.echo(f"gguf:huggingface/{reference.name}/{path.name}" if path.suffix == ".gguf" else path)
        return 0
    snapshot(reference.name, reference.revision)
    click.echo(model)
    return 0
