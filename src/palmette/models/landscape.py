"""`palmette.landscape`: from a model and a text to a measured landscape."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from palmette.core.checkpoint import open_checkpoint, read_config, refuse_remote_code
from palmette.core.errors import BadParameter, MissingExtra, UsageError
from palmette.models.engines.tokenizer import FileTokenizer
from palmette.models.resolve import folder_of, parse_reference

try:
    import plotly  # noqa: F401 - the pictures' library: better missed now than after the measurement
    import scipy  # noqa: F401
    import torch
    from transformers import CONFIG_MAPPING

    from palmette.models.engines.torch_folder import read_model
    from palmette.weights.landscape.direction import Between, Direction, Gradient, Norm, Quantised, Random
    from palmette.weights.landscape.landscape import Landscape, Progress, measure
    from palmette.weights.landscape.metric import TokenLoss, windows
    from palmette.weights.landscape.space import Space
    from palmette.weights.landscape.store import Store
except ImportError as error:
    raise MissingExtra("the loss landscape", "landscape") from error

__all__ = ["landscape"]

Precision = Literal["float32", "bfloat16"]


def landscape(
    model: str | Path,
    data: str | Path | Sequence[str],
    *,
    plane: str = "random",
    line: bool = False,
    seed: int = 0,
    norm: Norm = "filter",
    select: str = "",
    span: tuple[float, float] | None = None,
    tokens: int = 2_048,
    length: int = 128,
    dtype: Precision = "float32",
    device: str = "cpu",
    tolerance: float = 1e-3,
    store: str | Path | None = None,
    progress: Progress = lambda done, of: None,
    directions: Sequence[Direction] | None = None,
) -> Landscape:
    """Measure the loss around a model.

    Args:
        model: `zoo:seedling`, `hf:OWNER/NAME`, or a folder; needs PyTorch.
        data: a text file, or documents.
        plane: "random", "gradient", "quant:int4" (2 to 8 bits), or one or two checkpoints' folders with a comma
            between: the model is the origin, they are at coordinate 1.
        line: only the first direction.
        seed: of random directions and of the points held out.
        norm: "filter", "layer", "element" (the same under every rescaling that keeps the function) or "none".
        select: a regular expression: only parameters whose names hold it are moved.
        span: the coordinates' range; by default as far as the loss is below that of guessing.
        tokens, length: how many tokens are predicted, in sequences of how many.
        dtype: what the model computes in; positions are computed in float32 and rounded once.
        device: "cpu", "cuda", "cuda:1" …
        tolerance: the surrogate's error that is small enough, as a share of the range.
        store: a file that keeps measured points; an interrupted measurement goes on from it.
        progress: called with evaluations done and expected.
        directions: recipes of one or two directions, instead of `plane`.

    Raises:
        BadParameter: for a plane that is none, or data that is empty.
        MismatchedModels: for checkpoints that do not fit the model.

    >>> import palmette
    >>> text = ["One day Runa went to the park. She was happy."] * 4
    >>> found = palmette.landscape("zoo:seedling", text, line=True, tokens=40)
    >>> found.origin.value < found(found.surrogate.high[0])
    True
    """
    chosen = list(directions or _directions(plane, seed, norm))[: 1 if line else 2]
    folder = folder_of(parse_reference(str(model)))
    ids, real = windows(_documents(data, FileTokenizer(folder)), length, tokens)
    metric = TokenLoss(_module(folder, device), ids, real)
    space = Space(metric.model, select, getattr(torch, dtype))
    spec = _spec(space, ids, real) | {"directions": [one.spec() for one in chosen], "select": select}
    vectors = [direction.make(space, metric) for direction in chosen]
    said = {"title": f"Loss landscape of {model}", "directions": [_said(one.spec()) for one in chosen]}
    with closing(Store(None if store is None else Path(store), spec)) as kept:
        more: dict[str, Any] = {"tolerance": tolerance, "seed": seed, "facts": said, "progress": progress}
        return measure(space, metric, vectors, span=span or _span(chosen), store=kept, **more)


def _spec(space: Space, ids: NDArray[np.int64], real: NDArray[np.bool_]) -> dict[str, Any]:
    """What a point's bits depend on, besides the directions."""
    return {
        "model": hashlib.sha256(space.origin.cpu().numpy().tobytes()).hexdigest(),
        "data": hashlib.sha256(ids.tobytes() + real.tobytes()).hexdigest(),
        "dtype": str(space.dtype), "device": space.device.type, "threads": torch.get_num_threads(),
        "torch": torch.__version__,
    }  # fmt: skip


def _directions(plane: str, seed: int, norm: Norm) -> list[Direction]:
    """The recipes that a few words stand for."""
    if plane == "random":
        return [Random(seed, norm), Random(seed + 1, norm)]
    if plane == "gradient":
        return [Gradient(norm), Random(seed, norm)]
    if plane.startswith("quant:"):
        bits = plane.removeprefix("quant:").removeprefix("int")
        if not bits.isdigit() or not 2 <= int(bits) <= 8:
            raise BadParameter(f"plane {plane!r}: write quant:int4, with 2 to 8 bits")
        return [Quantised(int(bits)), Random(seed, norm)]
    names = plane.split(",")
    folders = [Path(name).expanduser() for name in names]
    missing = next((name for name, path in zip(names, folders, strict=True) if not path.is_dir()), None)
    if missing is not None or len(names) > 2:
        what = f"there is no folder {missing!r}" if missing is not None else "at most two checkpoints span a plane"
        raise BadParameter(f"plane {plane!r}: {what}; known: random, gradient, quant:int4, or FOLDER[,FOLDER]")
    return (
        [Between(str(path)) for path in folders] if len(names) == 2 else [Between(str(folders[0])), Random(seed, norm)]
    )


def _span(chosen: Sequence[Direction]) -> tuple[float, float] | None:
    """Planes through checkpoints reach half a step beyond them."""
    return (-0.5, 1.5) if all(isinstance(d, (Between, Quantised)) for d in chosen) else None


def _said(spec: dict[str, Any]) -> str:
    return str(spec["kind"]) + "(" + ", ".join(f"{k}={v}" for k, v in spec.items() if k != "kind" and v != "") + ")"


def _documents(data: str | Path | Sequence[str], tokenizer: FileTokenizer) -> list[list[int]]:
    if isinstance(data, (str, Path)):
        try:
            text = Path(data).expanduser().read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise UsageError(f"the data {str(data)!r} cannot be read: {error}") from error
        data = [text]
    return [list(tokenizer.encode(text)) for text in data if text]


def _module(folder: Path, device: str) -> Any:
    """The model in float32, with weights of its own in memory."""
    refuse_remote_code(folder, read_config(folder), CONFIG_MAPPING)
    try:
        place = torch.device(device)
    except RuntimeError as error:
        raise BadParameter(f"no device {device!r}; write cpu, cuda or cuda:1") from error
    if place.type == "cuda" and not torch.cuda.is_available():
        raise BadParameter(f"device={device!r}: this machine has no usable CUDA device; use device='cpu'")
    return read_model(folder, open_checkpoint(folder), "float32").to(place)
