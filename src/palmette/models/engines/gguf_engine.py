"""The gguf engine: llama.cpp on a GGUF file, for speed on laptops; every branch of the token tree is one sequence.

All new tokens of an `extend` are one decoding, a shared prefix is stored once, and scores are llama.cpp's own, whole.
Trees that want hidden states live in a second cache that gives them, so the others pay nothing.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from palmette.core.engine import Node, Trunk
from palmette.core.errors import (
    BadParameter,
    CorruptCheckpoint,
    EmptyPrompt,
    PromptTooLong,
    Unsupported,
    UnsupportedArchitecture,
    UsageError,
)
from palmette.core.gguf import GGUF, open_gguf
from palmette.core.scores import Scores
from palmette.models.engines.gguf_library import Context, Model, library
from palmette.models.engines.gguf_lines import Growth, Line, Lines
from palmette.models.engines.gguf_tokenizer import GgufTokenizer

__all__ = ["GgufEngine", "load"]

Floats = NDArray[np.float32]
FIRST = 1024  # cells to begin with; doubled whenever they do not suffice
HEAD_LIMIT = 1 << 27  # numbers of an output head that is kept in float32, half a gigabyte; others are read again
LAYERS = 512  # llama.cpp's own limit
PROVED = ("llama", "qwen2", "qwen3", "gpt2")  # architectures that the tests hold to the numpy engine


TRAITS = {
    "is_recurrent": "keeps a recurrent state, which cannot be forked with the token tree",
    "is_hybrid": "keeps a recurrent state, which cannot be forked with the token tree",
    "is_diffusion": "writes by diffusion, not token after token",
    "has_encoder": "is an encoder-decoder; only decoder-only language models are supported",
}


class GgufNode(Trunk):
    """A prefix: its line in the cache, its scores, and (where asked for) its states. It keeps its parent alive."""

    def __init__(
        self,
        engine: GgufEngine,
        lines: Lines,
        line: Line,
        parent: GgufNode | None,
        token: int,
        row: Floats,
        prompt: tuple[int, ...] = (),
    ) -> None:
        super().__init__(parent, token, prompt)
        self.engine, self.lines, self.line = engine, lines, line
        self._scores = Scores(row)
        self._hidden: Floats | None = None
        self._layers: Floats | None = None
        line.home().hold(self.depth)

    def __del__(self) -> None:
        lines = getattr(self, "lines", None)
        if lines is not None:
            lines.dead.append((self.line, self.depth))

    @property
    def scores(self) -> Scores:
        """The next token's scores."""
        return self._scores

    @property
    def hidden(self) -> Floats:
        """Last-layer states of the new positions, float32[positions, width]."""
        if self._hidden is None:
            raise Unsupported("this tree was started without hidden states; prefill with hidden=True")
        return self._hidden

    @property
    def layers(self) -> Floats:
        """States of all layers at the last position, float32[layers + 1, width]."""
        if self._layers is None:
            raise Unsupported("this tree was started without hidden states of its layers; prefill with hidden=True")
        return self._layers

    def path(self) -> list[int]:
        """The tokens of the whole prefix."""
        found: list[int] = []
        node: Node | None = self
        while node is not None and node.parent is not None:
            found.append(node.token)
            node = node.parent
        assert node is not None
        return [*node.prompt, *found[::-1]]


class GgufEngine:
    """llama.cpp with one sequence for each branch.

    Args:
        file: the opened file.
        sequences: branches that are kept at once; others are computed again from their tokens when they grow.
        cells: tokens that the cache may hold at most; the context, and at least 8,192, unless given.
        exact: keys, values and attention in float32; unless said otherwise, if the file's weights are.
    """

    def __init__(self, file: GGUF, *, sequences: int = 64, cells: int | None = None, exact: bool | None = None) -> None:
        library()  # before the file is looked at: a missing extra is said first
        _check(file)
        self.path = file.path
        self.file = file
        model = self._model = Model(file.path)
        for trait, says in TRAITS.items():
            if model.fact(trait):
                raise UnsupportedArchitecture(f"{file.path}: {file.header.architecture} {says}")
        self.tokenizer = GgufTokenizer(model, file.metadata)
        self.vocabulary = self.tokenizer.size
        self.context_length = model.fact("n_ctx_train")
        self.eos = self._ends()
        if sequences < 2 or (cells is not None and cells < 1):
            raise BadParameter(f"sequences must be at least 2 and cells at least 1, not {sequences} and {cells}")
        exact = file.header.quantisation == "F32" if exact is None else exact
        self._settings = (sequences, cells or max(self.context_length, 8192), exact)
        self._trees: dict[bool, Lines] = {}
        self._head: Floats | None = None
        self._lock = threading.RLock()  # llama.cpp's contexts are not for two threads at once
        if file.header.architecture not in PROVED:
            self._prove()

    def _ends(self) -> frozenset[int]:
        """The tokens that end a text; not llama.cpp's guess where the file names none."""
        ends = {i for i in range(self.vocabulary) if self._model.token("is_eog", i)}
        if "tokenizer.ggml.eos_token_id" not in self.file.metadata:
            ends -= {int(self._model.token("eos"))} - self.tokenizer.special
        return frozenset(ends)

    def _prove(self) -> None:
        """Refuse an architecture whose branching tree differs from plain forward passes."""
        from palmette.models.engines.torch_check import probes, self_check

        plain = []
        for tokens in probes(self.vocabulary):
            growth = Growth(None, 0, list, tokens)
            self._lines(False).grow([growth])
            plain.append(growth.rows)
        self_check(self, plain, self.file.header.architecture, "bfloat16")

    def _lines(self, hidden: bool) -> Lines:
        """The lines of trees without and with hidden states; a cache begins small and is replaced by larger ones."""
        if hidden not in self._trees:
            sequences, most, exact = self._settings
            outputs = max(64, min(512, (1 << 24) // self.vocabulary))  # bounds llama.cpp's table of scores

            def made(cells: int) -> Context:
                return Context(self._model, cells, sequences, outputs, exact, hidden)

            def enlarge(old: Context, needed: int) -> Context | None:
                if old.cells >= most:
                    return None
                larger = made(min(most, max(needed, 2 * old.cells)))
                old.moved_to(larger)
                return larger

            self._trees[hidden] = Lines(made(min(most, FIRST)), sequences, outputs, enlarge)
        return self._trees[hidden]

    @property
    def passes(self) -> int:
        """Decodings so far."""
        return sum(lines.passes for lines in self._trees.values())

    @property
    def branches(self) -> int:
        """Sequences in use."""
        return sum(len(lines.lines) for lines in self._trees.values())

    @property
    def recomputed(self) -> int:
        """Tokens that were computed again because their branch had been forgotten."""
        return sum(lines.recomputed for lines in self._trees.values())

    def settle(self) -> None:
        """Forget at once what no node needs; `prefill` and `extend` do it, too."""
        with self._lock:
            for lines in self._trees.values():
                lines.settle()

    # -- the tree ------------------------------------------------------------------------------------------------------

    def prefill(self, prompts: Sequence[Sequence[int]], *, hidden: bool = False) -> list[Node]:
        """One root for each prompt; what several prompts of the call share at their beginning is stored once."""
        for prompt in prompts:
            if not len(prompt):
                raise EmptyPrompt("a prompt needs at least one token")
            self._check_tokens(prompt, 0)
        with self._lock:
            lines = self._lines(hidden)
            lines.settle()
            shared = [(None, 0)] * len(prompts) if hidden else _prefixes(prompts)
            grown: list[Growth] = []
            waiting: list[Growth] = []
            for prompt, (owner, length) in zip(prompts, shared, strict=True):
                if owner is not None and grown[owner] in waiting:
                    lines.grow(waiting)
                    waiting = []
                line = grown[owner].line if owner is not None else None
                start = [int(t) for t in prompt[:length]]
                grown.append(Growth(line, length, start.copy, [int(t) for t in prompt[length:]], last=not hidden))
                waiting.append(grown[-1])
            lines.grow(waiting)
            roots: list[Node] = []
            for prompt, growth in zip(prompts, grown, strict=True):
                assert growth.line is not None
                tokens = tuple(int(t) for t in prompt)
                root = GgufNode(self, lines, growth.line, None, tokens[-1], growth.rows[-1], tokens)
                if growth.layers is not None:
                    root._hidden, root._layers = growth.layers[:, -1], growth.layers[-1]
                roots.append(root)
            return roots

    def extend(self, nodes: Sequence[Node], tokens: Sequence[Sequence[int]]) -> list[Node]:
        """Append tokens to nodes, all in one decoding; each new token is a node with scores."""
        grown: list[Growth] = []
        for node, new in zip(nodes, tokens, strict=True):
            if not isinstance(node, GgufNode) or node.engine is not self:
                raise UsageError("a node of another engine was given to this one")
            self._check_tokens(new, node.depth)
            grown.append(Growth(node.line, node.depth, node.path, [int(t) for t in new]))
        made: list[Node] = []
        with self._lock:
            for lines in self._trees.values():
                mine = [
                    g for g, node in zip(grown, nodes, strict=True) if cast("GgufNode", node).lines is lines and g.new
                ]
                if mine:
                    lines.settle()
                    lines.grow(mine)
            for node, growth in zip(nodes, grown, strict=True):
                assert isinstance(node, GgufNode)
                made.append(self._chain(node, growth))
        return made

    def _chain(self, node: GgufNode, growth: Growth) -> GgufNode:
        """The nodes of the new tokens; ancestors whose line is forgotten move to the new one."""
        if not growth.new:
            return node
        assert growth.line is not None
        if node.line.home().number is None:
            lost: list[GgufNode] = []
            above: Node | None = node
            while isinstance(above, GgufNode) and above.line.home().number is None:
                lost.append(above)
                above = above.parent
            for each in reversed(lost):
                each.line = growth.line
                growth.line.home().hold(each.depth)
        rows, layers = growth.rows, growth.layers
        for i, token in enumerate(growth.new):
            child = GgufNode(self, node.lines, growth.line, node, token, rows[i])
            if layers is not None:
                child._hidden, child._layers = layers[i : i + 1, -1], layers[i]
            node = child
        return node

    def _check_tokens(self, tokens: Sequence[int], depth: int) -> None:
        if depth + len(tokens) > self.context_length:
            raise PromptTooLong(
                f"{depth} tokens and {len(tokens)} more do not fit the context of {self.context_length}"
                if depth
                else f"the prompt has {len(tokens)} tokens, the context holds {self.context_length}"
            )
        wrong = [token for token in tokens if not 0 <= token < self.vocabulary]
        if wrong:
            raise UsageError(f"token {wrong[0]} is outside the vocabulary of {self.vocabulary} tokens")

    def project(self, hidden: Floats) -> Floats:
        """Hidden states through the output head: float32[n, width] -> float32[n, vocabulary]."""
        name = "output.weight" if "output.weight" in self.file else "token_embd.weight"
        architecture = self.file.header.architecture
        for key in ("final_logit_softcapping", "logit_scale"):
            if self.file.metadata.get(f"{architecture}.{key}"):
                raise Unsupported(f"{architecture} changes its scores by {key}; states are not projected by hand here")
        states = np.ascontiguousarray(hidden, np.float32)
        if self._head is None and self.vocabulary * states.shape[1] <= HEAD_LIMIT:
            self._head = self.file[name]
        if self._head is not None:
            return np.asarray(states @ self._head.T, np.float32)
        step = max(1, (HEAD_LIMIT >> 3) // states.shape[1])
        parts = [states @ self.file.rows(name, i, i + step).T for i in range(0, self.vocabulary, step)]
        return np.concatenate(parts, axis=1)


def _prefixes(prompts: Sequence[Sequence[int]]) -> list[tuple[int | None, int]]:
    """For each prompt: the earlier one that shares most of its beginning, and how much (not the last token)."""
    children: dict[tuple[int, int], tuple[int, int]] = {}  # (place, token) -> place, owner
    found: list[tuple[int | None, int]] = []
    for i, prompt in enumerate(prompts):
        place, owner, length = -1, None, 0
        for depth, token in enumerate(prompt):
            known = children.get((place, int(token)))
            if known is None:
                known = children[place, int(token)] = (len(children), i)
            elif known[1] != i and depth < len(prompt) - 1:
                owner, length = known[1], depth + 1
            place = known[0]
        found.append((owner, length))
    return found


def _check(file: GGUF) -> None:
    """What llama.cpp would abort the process for, or read beyond."""
    tokens = file.metadata.get("tokenizer.ggml.tokens")
    name = file.header.architecture
    if not name or tokens is None or not hasattr(tokens, "raw") or not len(tokens):
        raise CorruptCheckpoint(f"{file.path} holds no language model: it has no architecture or no vocabulary")
    for key in ("scores", "token_type"):
        value = file.metadata.get(f"tokenizer.ggml.{key}")
        if value is not None and (not isinstance(value, np.ndarray) or len(value) != len(tokens)):
            raise CorruptCheckpoint(
                f"{file.path}: tokenizer.ggml.{key} should have {len(tokens)} entries, as tokens has"
            )
    named = [text for text in tokens.raw() if text]
    if len(set(named)) < len(named):
        raise CorruptCheckpoint(f"{file.path}: a token occurs twice in tokenizer.ggml.tokens")
    for key, value in file.metadata.items():
        if key.startswith(f"{name}.") and isinstance(value, float) and not np.isfinite(value):
            raise CorruptCheckpoint(f"{file.path}: {key} is {value}")
    layers = file.metadata.get(f"{name}.block_count", 1)
    if not isinstance(layers, int) or not 1 <= layers <= LAYERS:
        raise CorruptCheckpoint(f"{file.path}: {name}.block_count is {layers!r}, not between 1 and {LAYERS}")
    if file.metadata.get("split.count", 0) not in (0, 1):
        raise Unsupported(
            f"{file.path} is one of {file.metadata['split.count']} parts; join them with llama-gguf-split"
        )


def load(path: str | Path, **settings: Any) -> GgufEngine:
    """Open a GGUF file; see `GgufEngine` for the settings.

    Raises:
        MissingExtra: without the extra gguf.
        CorruptCheckpoint: for a file that contradicts itself.
        UnsupportedArchitecture: for what llama.cpp does not run, or the token tree does not.
    """
    return GgufEngine(open_gguf(path), **settings)
