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

from palmette.core.engine import Tokenizer
from palmette.core.errors import BadParameter, ConfigMismatch, MissingExtra, ModelError, UnsupportedArchitecture
from palmette.models.engines.checkpoint import open_checkpoint, read_config
from palmette.models.engines.tokenizer import FileTokenizer, eos_tokens
from palmette.models.engines.tree import Batch, Output, TreeEngine

try:
    import torch
    import transformers
    from transformers.cache_utils import Cache

    from palmette.models.engines.torch_attention import NAME, PoolLayer, Row, running
except ImportError as error:
    raise MissingExtra("the torch engine", "torch") from error

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["TorchEngine", "load"]

Floats = NDArray[np.float32]
PLAIN_LAYERS = {"full_attention", "sliding_attention", "attention"}
TOLERANCE = {"float32": 1e-3, "float16": 5e-2, "bfloat16": 2e-1}  # of the largest score, in the self-check


class TorchEngine(TreeEngine):
    """A transformers model over one pool of key and value slots.

    Opening a model puts its attention on the pool (`config._attn_implementation`); use another copy for `generate`.

    Args:
        model: a loaded causal language model, already on its device and in its precision.
        tokenizer: its tokenizer.
        eos: end-of-sequence ids.
    """

    def __init__(self, model: Any, tokenizer: Tokenizer, eos: frozenset[int] = frozenset()) -> None:
        _refuse(model)
        self.model = model.eval()
        self.config = model.config.get_text_config()
        self.device = next(model.parameters()).device
        self.dtype = next(model.parameters()).dtype
        self._layers = [PoolLayer() for _ in range(self.config.num_hidden_layers)]
        self._cache = Cache(layers=list(self._layers))
        self._keeps_rows = "logits_to_keep" in inspect.signature(model.forward).parameters
        length = int(getattr(self.config, "max_position_embeddings", 0) or 1 << 20)
        super().__init__(tokenizer, eos, length, model.get_output_embeddings().weight.shape[0])
        _self_check(self)

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
        with torch.inference_mode(), _tree(self.model), _row(Row(batch, self.device, self.dtype)):
            out = self.model(
                input_ids=torch.from_numpy(batch.tokens)[None].to(self.device),
                position_ids=torch.from_numpy(batch.positions)[None].to(self.device),
                past_key_values=self._cache,
                use_cache=True,
                **({"logits_to_keep": rows} if self._keeps_rows else {}),
                **({"output_hidden_states": True} if batch.hidden else {}),
            )
            logits = out.logits[0] if self._keeps_rows else out.logits[0, rows]
            scores = _array(logits)
            if not batch.hidden:
                return Output(scores)
            layers = torch.stack([state[0, rows] for state in out.hidden_states], dim=1)
            return Output(scores, _array(out.hidden_states[-1][0]), _array(layers))

    def project(self, hidden: Floats) -> Floats:
        """Hidden states through the output head."""
        with torch.inference_mode():
            states = torch.from_numpy(np.ascontiguousarray(hidden)).to(self.device, self.dtype)
            return _array(self.model.get_output_embeddings()(states))


def load(folder: Path, *, dtype: str = "float32", device: str = "cpu") -> TorchEngine:
    """Open a model folder: safetensors only, no remote code, nothing from the network.

    Args:
        folder: a folder in Hugging Face format.
        dtype: "float32", "bfloat16", "float16", or "auto" for the checkpoint's own.
        device: "cpu", "cuda", "cuda:1", "mps" …
    """
    config = read_config(folder)
    open_checkpoint(folder)  # refuses what is unsafe or broken before transformers looks at it
    try:
        place = torch.device(device)
    except RuntimeError as error:
        raise BadParameter(f"no device {device!r}; write cpu, cuda, cuda:1 or mps") from error
    if place.type == "cuda" and not torch.cuda.is_available():
        raise BadParameter(f"device={device!r}: this machine has no usable CUDA device; use device='cpu'")
    model = _from_pretrained(folder, dtype)
    tokenizer = FileTokenizer(folder)
    vocabulary = int(model.get_output_embeddings().weight.shape[0])
    return TorchEngine(model.to(place), tokenizer, eos_tokens(folder, config, vocabulary))


def _from_pretrained(folder: Path, dtype: str) -> Any:
    transformers.utils.logging.disable_progress_bar()
    try:
        model, report = transformers.AutoModelForCausalLM.from_pretrained(
            folder,
            dtype=dtype if dtype == "auto" else getattr(torch, dtype),
            use_safetensors=True,
            trust_remote_code=False,
            local_files_only=True,
            output_loading_info=True,
        )
    except (RuntimeError, KeyError, TypeError) as error:
        raise ConfigMismatch(f"{folder}: config.json and the weights disagree: {_first_line(error)}") from error
    except (ValueError, OSError) as error:
        raise UnsupportedArchitecture(f"{folder}: transformers cannot open it: {_first_line(error)}") from error
    missing, wrong = sorted(report["missing_keys"]), sorted(report.get("mismatched_keys") or [])
    if missing or wrong:
        what = f"lack {missing[0]!r}" if missing else f"hold {wrong[0][0]!r} in another shape"
        raise ConfigMismatch(f"{folder}: the weights {what}, which config.json describes")
    return model


def _first_line(error: Exception) -> str:
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)


def _array(tensor: torch.Tensor) -> Floats:
    """To numpy; no copy for float32 on the CPU."""
    array: Floats = tensor.detach().float().cpu().numpy()
    return array


@contextmanager
def _row(row: Row) -> Iterator[None]:
    token = running.set(row)
    try:
        yield
    finally:
        running.reset(token)


@contextmanager
def _tree(model: Any) -> Iterator[None]:
    """The model's attention on the pool while inside."""
    before = model.config.get_text_config()._attn_implementation
    if before == NAME:
        yield
        return
    model.set_attn_implementation(NAME)
    try:
        yield
    finally:
        model.set_attn_implementation(before)


def _refuse(model: Any) -> None:
    """What the config alone rules out."""
    config = model.config.get_text_config()
    name = type(model).__name__
    if getattr(model, "_is_stateful", False):
        raise UnsupportedArchitecture(f"{name} keeps a recurrent state, which cannot be forked with the token tree")
    if getattr(model.config, "is_encoder_decoder", False):
        raise UnsupportedArchitecture(f"{name} is an encoder-decoder; only decoder-only language models are supported")
    other = set(getattr(config, "layer_types", None) or ()) - PLAIN_LAYERS
    if other:
        raise UnsupportedArchitecture(f"{name} has layers of type {sorted(other)[0]!r}, which tree attention cannot serve")
    if "position_ids" not in inspect.signature(model.forward).parameters:
        raise UnsupportedArchitecture(f"{name} takes no position ids, so a branch cannot tell where its tokens stand")


def _self_check(engine: TorchEngine) -> None:
    """A branching tree against plain forward passes; raises UnsupportedArchitecture where they differ."""
    name = type(engine.model).__name__
    tokens = [1 % engine.vocabulary, *(int(t) for t in np.linspace(0, engine.vocabulary - 1, 9))]
    trunk, left, right = tokens[:4], tokens[4:7], tokens[7:]
    try:
        root = engine.prefill([trunk])[0]
        first, second = engine.extend([root, root], [left, right])
        deeper = engine.extend([first], [right[:1]])[0]
        pairs = [(root, trunk), (first, trunk + left), (second, trunk + right), (deeper, trunk + left + right[:1])]
        for node, whole in pairs:
            with torch.inference_mode():
                plain = _array(engine.model(input_ids=torch.tensor([whole], device=engine.device)).logits[0, -1])
            error = float(np.abs(node.logits - plain).max())
            limit = TOLERANCE.get(str(engine.dtype).removeprefix("torch."), 2e-1) * max(1.0, float(np.abs(plain).max()))
            if not error <= limit:
                raise UnsupportedArchitecture(
                    f"{name}: tree attention gives scores {error:.3g} away from the plain model (limit {limit:.3g})"
                )
    except ModelError:
        raise
    except Exception as error:
        raise UnsupportedArchitecture(f"{name} does not run with tree attention: {_first_line(error)}") from error
