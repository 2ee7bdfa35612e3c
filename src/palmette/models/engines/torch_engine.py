"""The torch engine: any Hugging Face causal language model, on CPU or GPU, with tree attention.

Architectures that the packed row cannot serve (recurrent state, no position ids, other attention) are refused: by what
their config says, and by a self-check that compares a branching tree with plain forward passes when a model is opened.
"""

from __future__ import annotations

import inspect
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from palmette.core.checkpoint import Checkpoint, open_checkpoint, read_config, refuse_remote_code
from palmette.core.engine import Tokenizer
from palmette.core.errors import BadParameter, MissingExtra, UnsupportedArchitecture
from palmette.models.engines.batch import Batch, Output
from palmette.models.engines.tokenizer import FileTokenizer, eos_tokens
from palmette.models.engines.torch_check import (
    context_of,
    probes,
    refuse,
    refuse_windows,
    self_check,
)
from palmette.models.engines.tree import TreeEngine

try:
    import torch
    from transformers import CONFIG_MAPPING
    from transformers.cache_utils import Cache

    from palmette.models.engines.torch_attention import NAME, PoolLayer, Row, running
    from palmette.models.engines.torch_folder import read_model
except ImportError as error:
    raise MissingExtra("the torch engine", "torch") from error

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["TorchEngine", "load"]

Floats = NDArray[np.float32]
DTYPES = ("float32", "bfloat16", "float16", "auto")


class TorchEngine(TreeEngine):
    """A transformers model over one pool of key and value slots.

    Opening a model puts its attention on the pool for good, and on the CPU turns its matrices in memory (`turned`); use
    another copy of it for `generate`.

    Args:
        model: a loaded causal language model, already on its device and in its precision.
        tokenizer: its tokenizer.
        eos: end-of-sequence ids.
    """

    def __init__(self, model: Any, tokenizer: Tokenizer, eos: frozenset[int] = frozenset()) -> None:
        refuse(model)
        self.model = turned(model.eval())
        self.config = model.config.get_text_config()
        self.device = next(model.parameters()).device
        self.dtype = next(model.parameters()).dtype
        self._layers = [PoolLayer() for _ in range(self.config.num_hidden_layers)]
        self._cache = Cache(layers=list(self._layers))
        takes = inspect.signature(model.forward).parameters
        self._keeps_rows = "logits_to_keep" in takes
        self._cache_argument = "cache" if "cache" in takes else "past_key_values"  # renamed in transformers 5.24
        self._windows: list[int | None] = []
        self._takes_mask = False
        super().__init__(tokenizer, eos, context_of(self.config), model.get_output_embeddings().weight.shape[0])
        self._prove()

    def _prove(self) -> None:
        """Find the way to put this model on the pool that gives the scores of plain forwards, or refuse it.

        Most models call the attention function that their config names; the others get the mask as an argument. What
        is right is what their own plain attention gives: faster ones of some transformers forget a cap of the scores.
        """
        before, first = self.config._attn_implementation, None
        if self.model._can_set_attn_implementation():
            self.model.set_attn_implementation("eager")
            plain = [self._plain(tokens) for tokens in probes(self.vocabulary)]
            self.model.set_attn_implementation(NAME)
            first = self._failure(plain)
            if first is None:
                return
            self.model.set_attn_implementation(before)
        self._takes_mask = True
        second = self._failure([self._plain(tokens) for tokens in probes(self.vocabulary)])
        if second is not None:
            raise UnsupportedArchitecture(first or second)

    def _failure(self, plain: list[Floats]) -> str | None:
        """Why this way does not serve the model, or None if it does."""
        self._windows.clear()
        try:
            if self._takes_mask:
                refuse_windows(self.model, self.context_length, None)
            self_check(self, plain, type(self.model).__name__, str(self.dtype).removeprefix("torch."))
            if not self._takes_mask:
                refuse_windows(self.model, self.context_length, self._windows)
        except UnsupportedArchitecture as error:
            return str(error)
        return None

    def _plain(self, tokens: list[int]) -> Floats:
        with torch.inference_mode():
            return _array(self.model(input_ids=torch.tensor([tokens], device=self.device), use_cache=False).logits[0])

    @property
    def slot_bytes(self) -> int:
        """Bytes of keys and values that one slot takes in all layers."""
        stores = [t for layer in self._layers if layer.is_initialized for t in (layer.keys, layer.values)]
        return sum(t.shape[1] * t.shape[3] * t.element_size() for t in stores)

    def grow(self, capacity: int) -> None:
        """Make room for `capacity` slots."""
        for layer in self._layers:
            layer.reserve(capacity)

    def forward(self, batch: Batch) -> Output:
        """One pass over a packed row."""
        rows = torch.from_numpy(batch.rows).to(self.device)
        row = Row(batch, self.device, self.dtype)
        extra: dict[str, Any] = {self._cache_argument: self._cache}
        if self._keeps_rows:
            extra["logits_to_keep"] = rows
        if self._takes_mask:
            extra["attention_mask"] = row.mask(None, 1)
        with torch.inference_mode(), _running(row):
            out = self.model(
                input_ids=torch.from_numpy(batch.tokens)[None].to(self.device),
                position_ids=torch.from_numpy(batch.positions)[None].to(self.device),
                use_cache=True,
                output_hidden_states=batch.hidden,
                **extra,
            )
            scores = _array(out.logits[0] if self._keeps_rows else out.logits[0, rows])
            self._windows[:] = row.windows
            if not batch.hidden:
                return Output(scores)
            layers = torch.stack([state[0, rows] for state in out.hidden_states], dim=1)
            return Output(scores, _array(out.hidden_states[-1][0]), _array(layers))

    def project(self, hidden: Floats) -> Floats:
        """Hidden states through the output head."""
        with torch.inference_mode():
            states = torch.from_numpy(np.ascontiguousarray(hidden)).to(self.device, self.dtype)
            return _array(self.model.get_output_embeddings()(states))


def turned(model: Any) -> Any:
    """The same model with every weight matrix lying in memory as [in, out], on the CPU in float32.

    The values, and what `weight` is indexed by, stay. A product with one or two rows, which is what decoding a single
    branch consists of, then streams the matrix as it lies (1.1 to 1.6 times as fast, measured); with more rows there is
    no difference worth naming.
    """
    for module in model.modules():
        if isinstance(module, torch.nn.Linear):
            weight = module.weight
            if weight.device.type == "cpu" and weight.dtype == torch.float32:
                weight.data = weight.data.t().contiguous().t()
    return model


def load(
    folder: Path, *, dtype: str = "float32", device: str = "cpu", weights: Checkpoint | None = None
) -> TorchEngine:
    """Open a model folder: safetensors only, no remote code, nothing from the network.

    Args:
        folder: a folder in Hugging Face format.
        dtype: "float32", "bfloat16", "float16", or "auto" for the checkpoint's own.
        device: "cpu", "cuda", "cuda:1", "mps" …
        weights: tensors that stand for the folder's own.
    """
    if dtype not in DTYPES:
        raise BadParameter(f"dtype must be one of {', '.join(DTYPES)}, not {dtype!r}")
    config = read_config(folder)
    refuse_remote_code(folder, config, CONFIG_MAPPING)
    opened = open_checkpoint(folder) if weights is None else weights  # refuses what is unsafe or broken
    try:
        place = torch.device(device)
    except RuntimeError as error:
        raise BadParameter(f"no device {device!r}; write cpu, cuda, cuda:1 or mps") from error
    if place.type == "cuda" and not torch.cuda.is_available():
        raise BadParameter(f"device={device!r}: this machine has no usable CUDA device; use device='cpu'")
    tokenizer = FileTokenizer(folder)
    model = read_model(folder, opened, dtype, given=weights is not None)
    vocabulary = int(model.get_output_embeddings().weight.shape[0])
    return TorchEngine(model.to(place), tokenizer, eos_tokens(folder, config, vocabulary))


def _array(tensor: torch.Tensor) -> Floats:
    """To numpy; no copy for float32 on the CPU."""
    array: Floats = tensor.detach().float().cpu().numpy()
    return array


@contextmanager
def _running(row: Row) -> Iterator[None]:
    token = running.set(row)
    try:
        yield
    finally:
        running.reset(token)
