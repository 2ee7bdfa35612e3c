"""Fetching a model from the Hugging Face Hub, or from its local cache when there is no network."""

from __future__ import annotations

from pathlib import Path

from palmette.core.errors import ModelNotFound, UnsafeCheckpoint

__all__ = ["snapshot"]

WANTED = ["*.json", "*.safetensors", "tokenizer.model", "*.txt", "*.jinja"]


def snapshot(name: str, revision: str | None = None) -> Path:
    """The folder of a hub repository: downloaded with a progress bar, or as it was cached before.

    Only configuration, tokenizer and safetensors files are fetched, never code or pickled weights. With
    HF_HUB_OFFLINE=1, or when the hub cannot be reached, a cached snapshot is used.
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
        folder = Path(snapshot_download(name, revision=revision, allow_patterns=WANTED))
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
    if not any(folder.glob("*.safetensors")):
        raise UnsafeCheckpoint(
            f"{shown} has no safetensors weights (pickled ones are never loaded); look for a converted revision"
        )
    return folder
