"""The page of a tree: safe whatever the tokens are, whole without scripts, and exact in what it hands to its script."""

from __future__ import annotations

import base64
import hashlib
import json
import math
import re
from collections import Counter
from html.parser import HTMLParser

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_trace_pictures import HOSTILE, busy, hostile_engine

from palmette.tokens.decode import Plan, decode_together
from palmette.tokens.strategies import beam, greedy, sample
from palmette.tokens.trace.html import page_data, to_html
from palmette.tokens.trace.values import Trace
from palmette.tokens.views import temperature, top_k


class Page(HTMLParser):
    """Elements, attributes, and the text of each script, style and visible part."""

    def __init__(self, page: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: Counter[str] = Counter()
        self.attributes: list[tuple[str, str, str]] = []
        self.raw: list[tuple[str, dict[str, str], str]] = []
        self.visible = ""
        self._inside: tuple[str, dict[str, str]] | None = None
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags[tag] += 1
        self.attributes += [(tag, name, value or "") for name, value in attrs]
        if tag in ("script", "style"):
            self._inside = (tag, {name: value or "" for name, value in attrs})
            self.raw.append((*self._inside, ""))

    def handle_endtag(self, tag: str) -> None:
        if tag in ("script", "style"):
            self._inside = None

    def handle_data(self, text: str) -> None:
        if self._inside:
            tag, attrs, before = self.raw.pop()
            self.raw.append((tag, attrs, before + text))
        else:
            self.visible += text


def hostile(labels: list[str]) -> Trace:
    plans = [Plan(beam(4)), Plan(sample(), [top_k(5)])]
    return decode_together(hostile_engine(labels), [0], plans, max_tokens=5).run().trace


def test_the_policy_allows_exactly_the_page_s_own_script_and_style() -> None:
    page = Page(to_html(busy()))
    (policy,) = [v for tag, name, v in page.attributes if tag == "meta" and name == "content" and "default-src" in v]
    hashes = {
        tag: "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        for tag, attrs, text in page.raw
        if attrs.get("type") != "application/json"
    }
    assert policy == (
        f"default-src 'none'; script-src '{hashes['script']}'; style-src '{hashes['style']}'; "
        "base-uri 'none'; form-action 'none'"
    )
    assert page.tags["script"] == 2
    assert page.tags["style"] == 1


def test_nothing_is_loaded_and_nothing_is_set_in_motion() -> None:
    page = Page(to_html(hostile(HOSTILE)))
    for _tag, name, value in page.attributes:
        assert not name.startswith("on")
        assert name not in ("src", "href", "style", "action", "srcdoc", "xlink:href")
        assert "http" not in value or value == "http://www.w3.org/2000/svg"
    (script,) = [text for tag, attrs, text in page.raw if tag == "script" and not attrs]
    for word in ("innerHTML", "outerHTML", "insertAdjacent", "document.write", "eval(", "Function(", "fetch(", "http"):
        assert word not in script


def test_hostile_tokens_make_no_elements_and_steer_nothing() -> None:
    tame = [f"t{i}" for i in range(len(HOSTILE))]
    pages = [Page(to_html(hostile(labels))) for labels in (HOSTILE, tame)]
    assert {k: n for k, n in pages[0].tags.items() if k != "text"} == {
        k: n for k, n in pages[1].tags.items() if k != "text"
    }
    steering = "[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\u2028\u2029]"
    assert not re.search(steering, to_html(hostile(HOSTILE)))


@given(st.lists(st.text(min_size=1, max_size=12), min_size=3, max_size=5, unique=True))
@settings(max_examples=30, deadline=None)
def test_any_token_text_survives_in_the_data(labels: list[str]) -> None:
    labels = [label.encode("utf-8", "replace").decode() for label in labels]
    if len(set(labels)) < len(labels):
        return
    trace = decode_together(hostile_engine(labels), [0], [Plan(sample(2))], max_tokens=4).run().trace
    data = embedded(to_html(trace))
    assert data == json.loads(json.dumps(page_data(trace)))
    for node in trace.nodes[1:]:
        assert bytes.fromhex(data["bytes"][str(node.token)]) == labels[node.token].encode()


def embedded(html: str) -> dict:  # type: ignore[type-arg]
    (text,) = [text for tag, attrs, text in Page(html).raw if attrs.get("id") == "data"]
    found: dict = json.loads(text)  # type: ignore[type-arg]
    return found


def test_the_script_gets_the_whole_tree() -> None:
    trace = busy(2)
    data = embedded(to_html(trace))
    assert len(data["nodes"]) == len(trace.nodes)
    for node, given_node in zip(trace.nodes, data["nodes"], strict=True):
        assert given_node["p"] == node.parent
        assert given_node["l"] == pytest.approx(node.logprob, rel=1e-5, abs=1e-9)
        assert [v[0] for v in given_node["v"]] == [v.run for v in node.visits]
        if node.expansion is not None:
            shares = [math.exp(lp) for lp in given_node["x"]["l"]]
            assert sum(shares) + given_node["x"]["rest"] == pytest.approx(1, abs=1e-4)
            for look, other in zip(node.expansion.looks, given_node["x"]["looks"], strict=True):
                assert [lp is None for lp in look.logprobs] == [lp is None for lp in other["l"]]
                assert [s[3] for s in other["stages"]] == [list(s.removed) for s in look.stages]


def test_without_scripts_the_page_says_the_same() -> None:
    cut = [temperature(0.7), top_k(3)]
    trace = decode_together(hostile_engine(["ab", "cd", "ef"]), [0], [Plan(greedy(), cut), Plan(beam(2))]).run().trace
    page = Page(to_html(trace))
    for run in trace.runs:
        assert run.label in page.visible
        for answer in run.answers:
            assert answer.text in page.visible
    assert "temperature(t=0.7), top_k(k=3" in page.visible
    boxes = [v for tag, name, v in page.attributes if tag == "g" and name == "data-nodes"]
    whole = boxes[len(boxes) // 2 :] if len(boxes) % 2 == 0 else boxes
    assert {int(n) for box in boxes for n in box.split()} == {n.id for n in trace.nodes}
    assert whole


def test_same_trace_same_bytes() -> None:
    assert to_html(busy(3)) == to_html(busy(3))


def test_an_unfinished_run_has_a_page() -> None:
    decoding = decode_together(hostile_engine(["a", "b"]), [0], [Plan(beam(2)), Plan(greedy())], max_tokens=9)
    for _ in range(3):
        next(decoding)
    assert "not finished" in Page(to_html(decoding.trace)).visible
