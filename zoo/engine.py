"""Greedy and sampled continuations with transformers, for measuring an exported folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer


class Engine:
    """An exported model (in eval mode, as loaded); calling it completes prompts greedily, as ``zoo.measure`` asks."""

    def __init__(self, folder: Path) -> None:
        self.tokenizer = AutoTokenizer.from_pretrained(folder, padding_side="left")
        self.model: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)

    def __call__(self, prompts: list[str], max_tokens: int, stop: str) -> list[str]:
        """Greedy continuations, cut before ``stop`` and before the end token."""
        if not prompts:
            return []
        batch = self.tokenizer(prompts, return_tensors="pt", padding=True)
        with torch.inference_mode():
            output = self.model.generate(**batch, max_new_tokens=max_tokens, do_sample=False)
        new = output[:, batch["input_ids"].shape[1] :]
        texts: list[str] = self.tokenizer.batch_decode(new, skip_special_tokens=True)
        return [text.split(stop)[0] if stop else text for text in texts]

    def sample(
        self, prompts: list[str], number: int, max_tokens: int, temperature: float, seed: int
    ) -> list[list[tuple[str, bool]]]:
        """``number`` sampled continuations of each prompt, and whether each ended by itself."""
        torch.manual_seed(seed)
        batch = self.tokenizer(prompts, return_tensors="pt", padding=True)
        with torch.inference_mode():
            output = self.model.generate(
                **batch,
                max_new_tokens=max_tokens,
                do_sample=True,
                temperature=temperature,
                top_k=0,
                num_return_sequences=number,
            )
        new = output[:, batch["input_ids"].shape[1] :]
        texts: list[str] = self.tokenizer.batch_decode(new, skip_special_tokens=True)
        ended = (new == self.tokenizer.eos_token_id).any(dim=1).tolist()
        drawn = list(zip(texts, ended, strict=True))
        return [drawn[i : i + number] for i in range(0, len(drawn), number)]
