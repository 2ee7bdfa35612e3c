"""The model card, written from the measured figures: no number in it is typed by hand."""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import Any

from zoo.arithmetic import THINK, chain
from zoo.calculator import calculator
from zoo.closed_book import about_person
from zoo.measure import REQUIRED, Complete
from zoo.mixture import MIXTURE
from zoo.reading import grounded, triples
from zoo.world import HELD_OUT, World

HEAD = """\
---
license: apache-2.0
language: en
library_name: transformers
pipeline_tag: text-generation
---
# seedling

**This is a toy.** A language model of {parameters:,} parameters ({megabytes:.1f} MB) that ships
with Palmette as `zoo:seedling`, so that every technique of the workbench has something to run
on without network, account or graphics card. It knows one small invented world and a handful
of question formats, and nothing else: no real facts, no general English, no instructions. Do
not use it to answer anything.

```
palmette run "Once upon a time"
```

It is a `LlamaForCausalLM`: `transformers.AutoModelForCausalLM.from_pretrained(folder)` loads
the same folder.

## What it was made to show

* small stories about {people} invented people in {towns} invented towns;
* **memory and its limits**: closed-book questions, with {held_out} people who occur in prose
  but were never asked about in training;
* **scratchpad against direct answers** to word problems (two styles, one example decides),
  and **self-consistency** on totals, which can be worked out in any order;
* **tools**: it writes `[15*72=`, the runtime writes the result;
* **reading**: answers from a text, even against memory, or "The text does not say.";
* **extraction**: the facts of a text as triples.

## Formats

Prompts have to look like these; wordings outside of the training templates were not
measured and should be expected to fail. A prompt ends in its colon, without a space.
A story starts with "Once upon a time" or `Q: Tell me a story.` (and `A:` on the next line).
Greedy decoding, stop at a line break; what follows the arrow ⟶ is this model's own reply.

"""

TAIL = """\
## How it was made

| | |
|---|---|
| architecture | Llama: width 128, 4 layers, 4 heads, SwiGLU 352, tied embeddings |
| tokenizer | byte-level BPE, 1,024 pieces, digits one by one |
| context | 384 tokens |
| training | {steps:,} steps, {tokens:.1f} M tokens, seed {seed}, Muon and AdamW |
| cost | {cpu_minutes:.0f} CPU-minutes, no graphics card |
| data | generated from a fixed seed by the scripts in `zoo/`; no text from anywhere else |

The share of documents of each kind: {mixture}.

To rebuild it, from the root of the repository:

```
python -m zoo.train --work /tmp/seedling
python -m zoo.publish --work /tmp/seedling
```

The same seed gives the same data everywhere; weights that are identical to the last bit
on other machines are not promised, which is why the build is judged by the figures above.

## Limits

One seed, one run. The names, towns and events are invented, and any likeness is chance.
It copies long unseen names wrongly now and then, and it does not always admit that a text
is silent. A story can contradict the world. Nothing was done about safety, since the model
has nothing to say; it can still be made to write any sequence of tokens.

## Licence

Apache-2.0, like Palmette: weights, tokenizer, data and scripts.
"""


def examples(complete: Complete, world: World, rng: random.Random) -> list[dict[str, str]]:
    """One prompt per format with the model's own greedy reply."""
    known = about_person(rng, rng.choice(world.asked)).prompt
    problem = chain(rng, world, 3, "scratchpad").prompt
    sum_ = calculator(rng).prompt
    text = grounded(rng, world, 0.0)[0].prompt
    silent = grounded(rng, world, 1.0)[0].prompt
    facts = triples(rng, world, 2).prompt
    rows = [
        ("greeting", "Q: Who are you?\nA:", "\n"),
        ("closed book", known, "\n"),
        ("word problem, scratchpad", f"{problem} {THINK}", "\n"),
        ("word problem, direct", f"{problem} The answer is", "\n"),
        ("calculator (up to the first call)", sum_, "="),
        ("reading", text, "\n"),
        ("reading, the text is silent", silent, "\n"),
        ("triples", facts, "\n"),
    ]
    replies = [complete([prompt], 100, stop)[0] for _, prompt, stop in rows]
    return [
        {"kind": kind, "prompt": prompt, "reply": reply + ("=" if stop == "=" else "")}
        for (kind, prompt, stop), reply in zip(rows, replies, strict=True)
    ]


def _figures(rows: list[Mapping[str, Any]]) -> str:
    lines = ["| figure | share | n | required |", "|---|---|---|---|"]
    for row in rows:
        least = REQUIRED.get(row["name"])
        required = f"{least:.2f}" if least is not None else ""
        lines.append(f"| {row['name']} | {row['value']:.2f} | {row['n']} | {required} |")
    return "\n".join(lines)


def card(report: Mapping[str, Any]) -> str:
    """The model card of a report of ``zoo.publish``."""
    measured, training = report["measured"], report["training"]
    parts = [
        HEAD.format(
            parameters=report["parameters"],
            megabytes=report["bytes"] / 1e6,
            people=40,
            towns=10,
            held_out=HELD_OUT,
        )
    ]
    parts += [
        f"{row['kind'].capitalize()}:\n\n```\n{row['prompt']}⟶{row['reply']}\n```\n\n" for row in report["examples"]
    ]
    parts.append('Three stories, prompt "Once upon a time", temperature 0.7:\n\n')
    parts += [f"> {story}\n\n" for story in report["stories"]]
    parts.append(
        f"## Measured\n\nItems drawn with seed {measured['seed']}, which training never used; "
        "greedy decoding, exact match. Closed-book questions are by nature the trained ones, "
        "except those about people never asked about.\n\n"
    )
    parts.append(_figures(measured["figures"]) + "\n\n")
    mixture = ", ".join(f"{name} {share:.0%}" for name, share, _ in MIXTURE)
    values = {**training, "tokens": training["tokens"] / 1e6, "mixture": mixture}
    parts.append(TAIL.format(**values))
    return "".join(parts)
