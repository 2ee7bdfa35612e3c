"""What is measured: a model and its texts, opened once; and as a job that another process can open alike."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from palmette.core.checkpoint import open_checkpoint, read_config, read_json, refuse_remote_code
from palmette.core.errors import BadParameter, MismatchedModels, MissingExtra, ModelNotFound, UsageError
from palmette.models.engines.tokenizer import FileTokenizer
from palmette.models.local import LocalModel
from palmette.models.resolve import folder_of, parse_reference

try:
    import scipy  # noqa: F401 - the surrogate's library: better missed now than after the measurement
    import torch
    from transformers import CONFIG_MAPPING

    from palmette.models.engines.torch_engine import TorchEngine
    from palmette.models.engines.torch_folder import read_model
    from palmette.weights.landscape.lockstep import suits
    from palmette.weights.landscape.metric import Scored, TokenLoss, windows
    from palmette.weights.landscape.products import products_for
    from palmette.weights.landscape.space import Space
except ImportError as error:
    raise MissingExtra("the loss landscape", "landscape") from error

__all__ = ["Data", "Job", "Precision", "Score", "Subject", "documents", "folder_at", "module", "tokenizer_of"]

Precision = Literal["float32", "bfloat16"]
Data = str | Path | Sequence[str] | Mapping[str, str | Path | Sequence[str]]
Score = Callable[[LocalModel], Sequence[float]]
CLUSTERS = 10  # documents from which on they, and not sequences, are what is independent


@dataclass(frozen=True)
class Job:
    """All that a process needs to measure the same numbers: JSON says it.

    Args:
        folder: of the model.
        ids, real: the sequences, int64 and bool [n, length].
        groups: which example each sequence belongs to.
        tasks: which text each example is from.
        metric: "loss" or "error".
        select, dtype, device, threads: see `palmette.landscape`.
        digest: of the parameters that the folder should hold; another process refuses others.
    """

    folder: str
    ids: NDArray[np.int64]
    real: NDArray[np.bool_]
    groups: NDArray[np.int64]
    tasks: tuple[str, ...] = ()
    metric: Literal["loss", "error"] = "loss"
    select: str = ""
    dtype: Precision = "float32"
    device: str = "cpu"
    threads: int = 1
    digest: str = ""

    def as_json(self) -> str:
        """One line."""
        arrays = {name: getattr(self, name).astype(int).tolist() for name in ("ids", "real", "groups")}
        plain = {
            name: getattr(self, name)
            for name in ("folder", "tasks", "metric", "select", "dtype", "device", "threads", "digest")
        }
        return json.dumps(plain | arrays)

    @staticmethod
    def from_json(text: str) -> Job:
        """What `as_json` gave."""
        held = json.loads(text)
        ids, real = np.array(held.pop("ids"), np.int64), np.array(held.pop("real"), bool)
        groups, tasks = np.array(held.pop("groups"), np.int64), tuple(held.pop("tasks"))
        return Job(ids=ids, real=real, groups=groups, tasks=tasks, **held)

    def open(self) -> tuple[Space, TokenLoss]:
        """Load the model and make its metric."""
        torch.set_num_threads(self.threads)
        loss = TokenLoss(module(Path(self.folder), self.device), self.ids, self.real, kind=self.metric,
                         tasks=self.tasks, groups=self.groups)  # fmt: skip
        space = Space(loss.model, self.select, getattr(torch, self.dtype))
        if self.digest not in ("", _digest(space)):
            raise MismatchedModels(f"{self.folder} holds other weights here than where the measurement was started")
        return space, loss


@dataclass
class Subject:
    """A model with its metric.

    Args:
        folder: of the model.
        space, metric: see there.
        job: how another process opens the same; None for a metric that is a function.
        spec: what a point's bits depend on, besides the directions.
    """

    folder: Path
    space: Space
    metric: Any
    job: Job | None
    spec: dict[str, Any]

    @staticmethod
    def open(
        model: str | Path, data: Data | None, metric: Literal["loss", "error"] | Score, *, select: str, tokens: int,
        length: int, dtype: Precision, device: str, threads: int | None, others: Sequence[Path] = (),
    ) -> Subject:  # fmt: skip
        """Open it.

        Args:
            model: its folder or reference.
            data, metric, select, tokens, length, dtype, device, threads: see `palmette.landscape`.
            others: folders of models in the same picture, whose tokenizer serves where the model has none.

        Raises:
            BadParameter: for no data, or too short ones.
            MismatchedModels: for models with two vocabularies.
            ModelNotFound: if none of them has a tokenizer.
            UsageError: for data that cannot be read.
        """
        folder = folder_at(str(model))
        read_config(folder)  # a folder that is no model says so first
        count = threads or torch.get_num_threads()
        if callable(metric):
            torch.set_num_threads(count)
            if dtype != "float32":
                raise BadParameter(f"a metric that is a function computes in float32, not in {dtype}")
            net = module(folder, device)
            space, local = Space(net, select), _local(net, tokenizer_of(folder, others), str(model))
            scored = Scored(net, lambda: metric(local), getattr(metric, "__name__", "score"))
            return Subject(folder, space, scored, None, _spec(space, "function", count) | {"metric": scored.unit})
        if data is None:
            raise BadParameter("there is no data: name a text file, or hand over documents")
        ids, real, groups, tasks = _texts(data, tokenizer_of(folder, others), length, tokens)
        job = Job(str(folder), ids, real, groups, tasks, metric, select, dtype, device, count)
        space, loss = job.open()
        held = hashlib.sha256(ids.tobytes() + real.tobytes() + groups.tobytes()).hexdigest()
        spec = _spec(space, held, count) | {"metric": metric} | ({"loops": "numba"} if suits(loss, space) else {})
        return Subject(folder, space, loss, replace(job, digest=spec["model"]), spec)


def tokenizer_of(folder: Path, others: Sequence[Path] = ()) -> FileTokenizer:
    """The tokenizer of a model, or of the first of the others in its picture that has one.

    Raises:
        MismatchedModels: if two of them have different tokens: their losses would be of different texts.
        ModelNotFound: if none has one.
    """
    looked = list(dict.fromkeys([folder, *others]))
    having = [one for one in looked if (one / "tokenizer.json").is_file()]
    if not having and len(looked) > 1:
        places = ", ".join(str(one) for one in looked)
        raise ModelNotFound(
            f"no tokenizer.json in any folder of this picture ({places}); put that of the base model into one of them"
        )
    for other in having[1:]:
        _refuse_another(having[0] / "tokenizer.json", other / "tokenizer.json")
    return FileTokenizer((having or looked)[0])


def _refuse_another(one: Path, two: Path) -> None:
    """Refuse two vocabularies in which an id stands for two texts; what was added to them, as for chats, may differ."""
    if one.read_bytes() == two.read_bytes():
        return
    (ids, added), (others, more) = _pieces(one), _pieces(two)
    odd = next((i for i in sorted(ids) if others.get(i, ids[i]) != ids[i] and i not in added | more), None)
    if odd is not None:
        raise MismatchedModels(
            f"{one.parent} and {two.parent} have different vocabularies: token {odd} is {ids[odd]!r} in the first and "
            f"{others[odd]!r} in the second, so that their losses are of different texts"
        )


def _pieces(path: Path) -> tuple[dict[int, str], set[int]]:
    """The tokens of a tokenizer.json by id, and the ids of those that were added."""
    held = read_json(path)
    pieces = (held.get("model") or {}).get("vocab") or {}
    tokens = (
        {i: piece for piece, i in pieces.items()}
        if isinstance(pieces, dict)
        else dict(enumerate(str(row[0]) for row in pieces))
    )
    return tokens, {int(token["id"]) for token in held.get("added_tokens") or []}


def _digest(space: Space) -> str:
    """What tells one model from another."""
    return hashlib.sha256(space.origin.cpu().numpy().tobytes()).hexdigest()


def _spec(space: Space, data: str, threads: int) -> dict[str, Any]:
    """What a point's bits depend on, besides the directions."""
    return {
        "model": _digest(space), "data": data,
        "dtype": str(space.dtype), "device": space.device.type, "threads": threads, "torch": torch.__version__,
        "select": space.select, "products": products_for(torch.zeros(1, dtype=space.dtype, device=space.device)).name,
    }  # fmt: skip


def _texts(
    data: Data, tokenizer: FileTokenizer, length: int, tokens: int
) -> tuple[NDArray[np.int64], NDArray[np.bool_], NDArray[np.int64], tuple[str, ...]]:
    """(ids, real, groups, the text of each group): every one of several texts gets the same share of the tokens."""
    named = data if isinstance(data, Mapping) else {"": data}
    if not named:
        raise BadParameter("the data is empty")
    rows, examples = [], []
    labels: list[str] = []
    for name, text in named.items():
        pieces, real, origin = windows(documents(text, tokenizer), length, max(1, tokens // len(named)))
        clusters = origin if len(np.unique(origin)) >= CLUSTERS else np.arange(len(origin))
        _, group = np.unique(clusters, return_inverse=True)
        examples.append(group + len(labels))
        labels += [str(name)] * int(group.max() + 1)
        rows.append((pieces, real))
    width = max(pieces.shape[1] for pieces, _ in rows)
    pad = [((0, 0), (0, width - pieces.shape[1])) for pieces, _ in rows]
    ids = np.concatenate([np.pad(pieces, by) for (pieces, _), by in zip(rows, pad, strict=True)])
    real = np.concatenate([np.pad(there, by) for (_, there), by in zip(rows, pad, strict=True)])
    return ids, real, np.concatenate(examples), tuple(labels) if isinstance(data, Mapping) else ()


def documents(data: str | Path | Sequence[str], tokenizer: FileTokenizer) -> list[list[int]]:
    """The tokens of documents: a text file is one, every line of a .jsonl file with its "text" is one.

    Raises:
        BadParameter: for an empty file.
        UsageError: for a file that cannot be read.
    """
    if isinstance(data, (str, Path)):
        path = Path(data).expanduser()
        try:
            text = path.read_text(encoding="utf-8")
        except OSError as error:
            raise UsageError(f"the data {str(path)!r} cannot be read: {error.strerror or error}") from error
        except UnicodeDecodeError as error:
            raise UsageError(f"the data {str(path)!r} is no text in UTF-8 (byte {error.start})") from error
        if not text.strip():
            raise BadParameter(f"the data {str(path)!r} is empty; name a file with text to predict")
        data = _lines(path, text) if path.suffix == ".jsonl" else [text]
    return [list(tokenizer.encode(text)) for text in data if text]


def _lines(path: Path, text: str) -> list[str]:
    """The documents of a .jsonl file."""
    found = []
    for number, line in enumerate(text.splitlines(), 1):
        if line.strip():
            try:
                found.append(str(json.loads(line)["text"]))
            except (ValueError, KeyError, TypeError):
                raise UsageError(
                    f'{str(path)!r}, line {number}: every line should be a JSON object with a "text", not {line[:40]!r}'
                ) from None
    return found


def folder_at(reference: str) -> Path:
    """The folder of a model reference."""
    return folder_of(parse_reference(reference))


def module(folder: Path, device: str) -> Any:
    """The model in float32, with weights of its own in memory.

    Raises:
        BadParameter: for a device that is none.
    """
    refuse_remote_code(folder, read_config(folder), CONFIG_MAPPING)
    try:
        place = torch.device(device)
    except RuntimeError as error:
        raise BadParameter(f"no device {device!r}; write cpu, cuda or cuda:1") from error
    if place.type == "cuda" and not torch.cuda.is_available():
        raise BadParameter(f"device={device!r}: this machine has no usable CUDA device; use device='cpu'")
    return read_model(folder, open_checkpoint(folder), "float32").to(place)


def _local(net: Any, tokenizer: FileTokenizer, name: str) -> LocalModel:
    """The module as a model that can be called; it is moved beneath, and keeps nothing from one call to the next."""
    eos = net.config.eos_token_id
    ends = frozenset(eos if isinstance(eos, list) else [] if eos is None else [eos])
    return LocalModel(name, TorchEngine(net, tokenizer, ends), options={"seed": 0})
