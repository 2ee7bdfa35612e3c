"""The sample graph: twenty-two triples about Apple, in the manner of the course's notebook, and its question."""

from __future__ import annotations

__all__ = ["QUESTION", "SENTENCE", "TRIPLES", "TYPES"]

SENTENCE = "Apple announced the Vision Pro in 2023."
QUESTION = "When did Apple announce the Vision Pro?"
TRIPLES = (
    ("Apple", "is", "technology company"),
    ("Apple", "was founded in", "1976"),
    ("Apple", "created", "iMac"),
    ("Apple", "created", "iPhone"),
    ("Apple", "created", "Apple Watch"),
    ("Apple", "created", "Vision Pro"),
    ("Apple", "developed", "macOS"),
    ("Apple", "developed", "iOS"),
    ("Apple", "developed", "iPadOS"),
    ("Apple", "developed", "watchOS"),
    ("Apple", "developed", "visionOS"),
    ("Steve Jobs", "co-founded", "Apple"),
    ("Steve Wozniak", "co-founded", "Apple"),
    ("Tim Cook", "leads", "Apple"),
    ("iMac", "was announced in", "1998"),
    ("iPhone", "was announced in", "2007"),
    ("Apple Watch", "was announced in", "2014"),
    ("Vision Pro", "was announced in", "2023"),
    ("iMac", "runs", "macOS"),
    ("iPhone", "runs", "iOS"),
    ("Apple Watch", "runs", "watchOS"),
    ("Vision Pro", "runs", "visionOS"),
)
TYPES = (
    dict.fromkeys(("Apple",), "company")
    | dict.fromkeys(("Steve Jobs", "Steve Wozniak", "Tim Cook"), "person")
    | dict.fromkeys(("iMac", "iPhone", "Apple Watch", "Vision Pro"), "product")
    | dict.fromkeys(("macOS", "iOS", "iPadOS", "watchOS", "visionOS"), "system")
    | dict.fromkeys(("1976", "1998", "2007", "2014", "2023"), "year")
)
