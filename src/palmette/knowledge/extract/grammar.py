"""A grammar for one piece: whatever a model writes under it is a whole list of facts, each with a verbatim quote.

`substring_chunks` of llguidance is an automaton of all runs of consecutive words of the piece (its suffix automaton),
so a quote cannot leave the text: at the first wrong word there is no token left but the right one. A name is such a
run as well. The words are escaped one by one as JSON wants them, before they are joined: a run of escaped words is the
escaped run of words.
"""

from __future__ import annotations

import json
import re

from palmette.knowledge.extract.form import EVIDENCE, FACTS, NAME
from palmette.knowledge.schema import Relation, Schema

__all__ = ["grammar_of", "readable"]

_WORDS = re.compile(r"[^\W_]+|\s+|.", re.DOTALL)
_FREE = r"/[a-z][a-z\-]{0,15}( [a-z][a-z\-]{0,15}){0,4}/"
_LITERAL = r"NAME | /-?[0-9]{1,12}(\.[0-9]{1,6})?/ | /[0-9]{4}-[0-9]{2}(-[0-9]{2})?/"


def readable(text: str) -> bool:
    """Whether there is a word in a piece; without one there is nothing to quote."""
    return any(c.isalnum() for c in text)


def grammar_of(
    text: str, schema: Schema, *, least: int = 0, most: int = FACTS, evidence: int = EVIDENCE, name: int = NAME
) -> str:
    """The grammar of a piece's facts, in llguidance's dialect of Lark.

    Args:
        text: the piece; with at least one word.
        schema: the relations and types that may be named.
        least, most: how many facts.
        evidence: characters of a quote, at most; of a word that is longer, all of it.
        name: characters of a name, at most.
    """
    words = [json.dumps(word, ensure_ascii=False)[1:-1] for word in _WORDS.findall(text)]
    longest = max(len(w) for w in words if w[0].isalnum())
    relations = schema.relations or (Relation(""),)
    facts = [_fact(r, i, schema) for i, r in enumerate(relations)]
    low = max(0, least - 1)
    more = f' ("," fact){{{low},{most - 1}}}' if most > 1 else ""
    return "\n".join(
        [
            f'start: "{{\\"facts\\":[" {f"fact{more}" if least else f"(fact{more})?"} "]}}"',
            "fact: " + " | ".join(f"fact_{i}" for i in range(len(facts))),
            *(rule for rules in facts for rule in rules),
            f'SUB: %regex {{ "substring_chunks": {json.dumps(words, ensure_ascii=False)} }}',
            rf'NAME: SUB & /[\p{{L}}\p{{N}}]([^\\"]{{0,{max(name, longest) - 1}}}[\p{{L}}\p{{N}}+#])?/',
            rf"EVIDENCE: SUB & /[\p{{L}}\p{{N}}](?s:.){{0,{max(evidence, longest)}}}/",
        ]
    )


def _fact(relation: Relation, number: int, schema: Schema) -> list[str]:
    """The rules of one relation's facts."""
    subjects = _typed("subject", relation.subjects or schema.types, schema)
    objects = "" if not schema.types else '",\\"object_type\\":\\"literal\\""' if relation.literal else None
    if objects is None:
        objects = _typed("object", relation.objects or schema.types, schema)
    name = _quoted(relation.name) if relation.name else f"rel_{number}"
    rules = [
        f'fact_{number}: "{{\\"evidence\\":\\"" EVIDENCE "\\",\\"subject\\":\\"" NAME "\\"" {subjects} '
        f'",\\"relation\\":\\"" {name} "\\",\\"object\\":\\"" obj_{number} "\\"" {objects} "}}"'.replace('"",', '",')
    ]
    if not relation.name:
        rules.append(f"rel_{number}: {_FREE}")
    if relation.pattern:
        rules.append(f"obj_{number}: OBJ_{number}")
        rules.append(rf'OBJ_{number}: /{_slashed(relation.pattern)}/ & /[^\\"\n]{{1,{NAME}}}/')
    else:
        rules.append(f"obj_{number}: {_LITERAL if relation.literal else 'NAME'}")
    return rules


def _typed(side: str, types: tuple[str, ...], schema: Schema) -> str:
    if not schema.types:
        return ""
    choices = " | ".join(map(_quoted, types))
    return f'",\\"{side}_type\\":\\"" ({choices}) "\\""'


def _quoted(text: str) -> str:
    """A text of a JSON string as a string of the grammar."""
    return json.dumps(json.dumps(text, ensure_ascii=False)[1:-1], ensure_ascii=False)


def _slashed(pattern: str) -> str:
    return re.sub(r"(?<!\\)/", r"\\/", f"({pattern})")
