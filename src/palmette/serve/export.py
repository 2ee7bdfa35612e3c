"""A folder that is ready to be a Hugging Face Space, or to be built by Docker anywhere else."""

from __future__ import annotations

import shutil
from pathlib import Path

from palmette import __version__
from palmette.core.errors import OutputError
from palmette.models.resolve import folder_of, parse_reference

__all__ = ["export_space"]

_DOCKERFILE = """\
# Any model behind every API. The key that opens it comes from the secret PALMETTE_API_KEY, never from this file.
FROM python:3.13-slim
RUN useradd --create-home --uid 1000 user
USER user
WORKDIR /home/user/app
ENV PATH=/home/user/.local/bin:$PATH HF_HUB_DISABLE_TELEMETRY=1
COPY --chown=user requirements.txt ./
RUN pip install --no-cache-dir --user -r requirements.txt
COPY --chown=user . .
EXPOSE 7860
CMD ["palmette", "serve", "--config", "palmette.toml", "--host", "0.0.0.0", "--port", "7860"]
"""
_README = """\
---
title: {title}
emoji: 🌿
colorFrom: green
colorTo: gray
sdk: docker
app_port: 7860
pinned: false
---

# {title}

`{reference}` behind the APIs of OpenAI, Anthropic, Gemini, Cohere and Ollama, served by
[Palmette](https://pypi.org/project/palmette/) {version}.

Set the secret `PALMETTE_API_KEY` in the Space's settings: the server does not start without it. Then point a client of
yours at the Space's address with that key, for example `OpenAI(base_url="https://…hf.space/v1", api_key="…")`.
"""
_CONFIG = """\
[server]
hosts = {hosts}

[models."{name}"]
model = "{model}"
"""


def export_space(
    reference: str, folder: Path, *, title: str = "", hosts: tuple[str, ...] = (), torch: bool = False
) -> Path:
    """Write the folder: Dockerfile, README with the Space's front matter, settings, requirements, and local weights.

    Args:
        reference: the model, as `palmette run` takes it; weights in a folder are copied.
        folder: where to write; it must not exist, or be empty.
        title: of the Space.
        hosts: the names under which it will be reached, such as OWNER-NAME.hf.space.
        torch: whether the torch engine is wanted.

    Raises:
        OutputError: if the folder holds something already.
    """
    if folder.exists() and any(folder.iterdir()):
        raise OutputError(f"{folder} is not empty; name a new folder")
    parsed = parse_reference(reference)
    folder.mkdir(parents=True, exist_ok=True)
    model = reference
    if parsed.scheme == "folder":
        model = "./model"
        shutil.copytree(folder_of(parsed), folder / "model", ignore=shutil.ignore_patterns("*.bin", "*.pt", "*.py"))
    extras = "serve,chat,torch" if torch else "serve,chat"
    files = {
        "Dockerfile": _DOCKERFILE,
        "README.md": _README.format(title=title or f"Palmette: {parsed.name.rpartition('/')[2]}", reference=reference,
                                    version=__version__),
        "requirements.txt": f"palmette[{extras}]=={__version__}\n",
        "palmette.toml": _CONFIG.format(hosts=list(hosts), name=parsed.name.rpartition("/")[2], model=model),
        ".dockerignore": ".git\n",
    }  # fmt: skip
    for name, text in files.items():
        (folder / name).write_text(text.replace("'", '"') if name.endswith(".toml") else text, encoding="utf-8")
    return folder
