"""Fetching a model from the Hugging Face Hub, or from its local cache when there is no network."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from palmette.core.errors import ModelNotFound, UnsafeCheckpoint
from palmette.core.offline import offline

__all__ = ["fetch", "snapshot"]

WANTED = ["*.json", "*.safetensors", "tokenizer.model", "*.txt", "*.jinja"]


def snapshot(name: str, revision: str | None = None) -> Path:
    """The folder of a hub repository: downloaded with a progress bar, or as it was cached before.

    Only configuration, tokenizer and safetensors files are fetched, never code or pickled weights. With
    HF_HUB_OFFLINE=1 or PALMETTE_OFFLINE=1, or when the hub cannot be reached, a cached snapshot is used.

    Raises:
        ModelNotFound: if there is none, or it may not be read.
        UnsafeCheckpoint: for a repository that has pickled weights only.
    """
    folder = fetch(name, revision, WANTED)
    if not any(folder.glob("*.safetensors")):
        raise UnsafeCheckpoint(
            f"hf:{name} has no safetensors weights (pickled ones are never loaded); look for a converted revision"
        )
    return folder


def fetch(name: str, revision: str | None, wanted: Sequence[str]) -> Path:
    """The folder with a repository's files of these patterns; what was fetched before is not fetched again.

    Raises:
        ModelNotFound: if there is none, or it may not be read.
    """
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import (
        GatedRepoError,
        HfHubHTTPError,
        HFValidationError,
        LocalEntryNotFoundError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    shown = f"hf:{name}" + (f"@{revision}" if revision else "")
    try:
        folder = Path(
            snapshot_download(name, revision=revision, allow_patterns=list(wanted), local_files_only=offline())
        )
    except GatedRepoError as error:
        raise ModelNotFound(f"{shown} is gated: accept its terms on the hub, then set HF_TOKEN") from error
    except RevisionNotFoundError as error:
        raise ModelNotFound(f"{shown}: the repository has no revision {revision!r}") from error
    except RepositoryNotFoundError as error:
        raise ModelNotFound(f"no repository {name!r} on the hub (or it is private: set HF_TOKEN)") from error
    except LocalEntryNotFoundError as error:
        raise ModelNotFound(f"{shown} is not in the local cache and the hub cannot be reached") from error
    except HFValidationError as error:
        raise ModelNotFound(f"{name!r} is not a valid repository name: {error}") from error
    except (HfHubHTTPError, OSError) as error:
        raise ModelNotFound(f"{shown} could not be fetched: {error}") from error
    return folder
