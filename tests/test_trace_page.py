"""The page of a tree: safe whatever the tokens are, whole without scripts, and exact in what it hands to its script."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import shutil
import subprocess
from collections import Counter
from html.parser import HTMLParser
from importlib import resources
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_trace_pictures import HOSTILE, busy, hostile_engine

from palmette.core.errors import UsageError
from palmette.tokens.decode import Plan, decode_together
from palmette.tokens.strategies import beam, greedy, sample
from palmette.tokens.trace.boxes import SIZES, Limits
from palmette.tokens.trace.html import SCRIPTS, to_html
from palmette.tokens.trace.json import from_json, to_json
from palmette.tokens.trace.layout import layout
from palmette.tokens.trace.page.data import embedded, page_data, read_page_data
from palmette.tokens.trace.values import Trace
from palmette.tokens.views import temperature, top_k

STEERING = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\u2028\u2029]")

ELEMENTS = {
    "article", "b", "body", "caption", "defs", "details", "div", "footer", "g", "h1", "h2", "head", "header", "html",
    "li", "main", "meta", "noscript", "ol", "p", "path", "pattern", "rect", "script", "section", "span", "style",
    "summary", "svg", "table", "tbody", "td", "text", "th", "thead", "title", "tr", "ul",
}  # fmt: skip


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
    assert not STEERING.search(to_html(hostile(HOSTILE)))


@given(st.lists(st.text(min_size=1, max_size=12), min_size=3, max_size=5, unique=True))
@settings(max_examples=30, deadline=None)
def test_any_token_text_survives_in_the_data_and_makes_no_element(labels: list[str]) -> None:
    labels = [label.encode("utf-8", "replace").decode() for label in labels]
    if len(set(labels)) < len(labels):
        return
    trace = decode_together(hostile_engine(labels), [0], [Plan(sample(2))], max_tokens=4).run().trace
    html = to_html(trace)
    assert data_of(html) == json.loads(json.dumps(page_data(trace)))
    assert read_page_data(data_of(html)) == trace
    assert set(Page(html).tags) <= ELEMENTS


@given(st.lists(st.binary(min_size=1, max_size=6), min_size=2, max_size=4, unique=True))
@settings(max_examples=30, deadline=None)
def test_tokens_of_any_bytes_survive_too(tokens: list[bytes]) -> None:
    trace = busy(1, 3)
    raw = json.loads(to_json(trace))
    for node in raw["nodes"][1:]:
        node["bytes"] = tokens[node["token"] % len(tokens)].hex()
    changed = from_json(json.dumps(raw))
    html = to_html(changed)
    assert read_page_data(data_of(html)) == changed
    assert set(Page(html).tags) <= ELEMENTS
    assert not STEERING.search(html)


def data_of(html: str) -> dict:  # type: ignore[type-arg]
    (text,) = [text for tag, attrs, text in Page(html).raw if attrs.get("id") == "data"]
    found: dict = json.loads(text)  # type: ignore[type-arg]
    return found


@pytest.mark.parametrize("seed", range(3))
def test_a_page_is_the_trace_to_the_last_digit(seed: int) -> None:
    trace = busy(seed)
    assert read_page_data(data_of(to_html(trace))) == trace
    assert len(data_of(to_html(trace))["words"]["nodes"]) == len(trace.nodes)


def test_infinite_figures_survive() -> None:
    raw = json.loads(to_json(busy(1, 3)))
    raw["nodes"][1]["logprob"] = "-inf"
    raw["nodes"][1]["visits"][0]["score"] = "-inf"
    trace = from_json(json.dumps(raw))
    assert read_page_data(data_of(to_html(trace))) == trace


def test_other_data_is_refused_by_name() -> None:
    with pytest.raises(UsageError, match=r"format is 'palmette\.trace/1'"):
        read_page_data(json.loads(to_json(busy())))


def test_the_data_holds_no_markup_whatever_it_says() -> None:
    text = embedded({"a": "</script><!--\u2028&\x7f\x00", "b": "\ud800"})
    assert not set("<>&") & set(text)
    assert text.isascii() and text.isprintable()
    assert json.loads(text) == {"a": "</script><!--\u2028&\x7f\x00", "b": "\ud800"}


def test_a_page_grows_by_little_for_each_node() -> None:
    """About 600 bytes a node here, tables and still picture aside; every candidate is written once per distribution."""
    small, large = busy(1, 4), busy(1, 14)
    grown = len(to_html(large)) - len(to_html(small))
    assert grown / (len(large.nodes) - len(small.nodes)) < 2500


def test_without_scripts_the_page_says_the_same() -> None:
    cut = [temperature(0.7), top_k(3)]
    trace = decode_together(hostile_engine(["ab", "cd", "ef"]), [0], [Plan(greedy(), cut), Plan(beam(2))]).run().trace
    page = Page(to_html(trace))
    for run in trace.runs:
        assert run.label in page.visible
        for answer in run.answers:
            assert answer.text in page.visible
    assert "temperature(t=0.7)" in page.visible and "top_k(k=3" in page.visible
    assert page.tags["noscript"] == 1
    boxes = [v for tag, name, v in page.attributes if tag == "g" and name == "data-nodes"]
    shown = [int(n) for box in boxes for n in box.split()]
    still = layout(trace, Limits(boxes=300))
    assert len(shown) == len(set(shown))
    assert len(shown) + still.hidden == len(trace.nodes)


def test_same_trace_same_bytes() -> None:
    assert to_html(busy(3)) == to_html(busy(3))


def test_an_unfinished_run_has_a_page() -> None:
    decoding = decode_together(hostile_engine(["a", "b"]), [0], [Plan(beam(2)), Plan(greedy())], max_tokens=9)
    for _ in range(3):
        next(decoding)
    assert "not finished" in Page(to_html(decoding.trace)).visible


def script(*names: str) -> str:
    folder = resources.files("palmette.tokens.trace.page")
    return "\n".join(folder.joinpath(name).read_text("utf-8") for name in names)


def test_every_script_file_is_on_the_page_and_short() -> None:
    folder = resources.files("palmette.tokens.trace.page")
    assert sorted(SCRIPTS) == sorted(f.name for f in folder.iterdir() if f.name.endswith(".js"))
    for name in (*SCRIPTS, "page.css"):
        assert script(name).count("\n") <= 400


def run_node(code: str) -> str:
    if (node := shutil.which("node")) is None:
        pytest.skip("node is not installed: the page's layout is not compared with layout.py")
    done = subprocess.run([node, "-"], input=code, capture_output=True, text=True, check=True, timeout=60)
    return done.stdout


@pytest.mark.parametrize("fold", [True, False])
def test_the_page_places_boxes_as_the_still_pictures_do(fold: bool) -> None:
    for seed in range(4):
        drawn = layout(busy(seed, 9), Limits(boxes=400, fold=fold))
        boxes = [{"parent": b.parent, "width": b.width, "height": b.height, "depth": b.depth} for b in drawn.boxes]
        code = f"{script('layout.js')}\nconst boxes = {json.dumps(boxes)}, sizes = {json.dumps(SIZES)};\n"
        code += f"const columns = {json.dumps(fold)} ? [] : columnsOf(boxes, sizes.gap);\n"
        code += "console.log(JSON.stringify(place(boxes, sizes, columns).map(({ x, y }) => [x, y])));"
        for (x, y), box in zip(json.loads(run_node(code)), drawn.boxes, strict=True):
            assert (x, y) == (pytest.approx(box.x), pytest.approx(box.y))


def test_the_page_saves_the_trace_that_it_was_given() -> None:
    trace = busy(2)
    code = f"{script('data.js', 'save.js')}\nconst trace = readTrace({json.dumps(embedded(page_data(trace)))});\n"
    assert from_json(run_node(code + "console.log(traceJson(trace));")) == trace


@pytest.mark.parametrize("state", ["{}", "{ fold: false }", "{ pruned: false }", "{ branches: false, pruned: false }"])
def test_the_page_shows_or_counts_every_node(state: str) -> None:
    trace = busy(2, 9)
    code = f"{script('data.js', 'boxes.js')}\nconst trace = readTrace({json.dumps(embedded(page_data(trace)))});\n"
    code += f"const boxes = boxesOf(trace, {{ ...firstState(trace), ...{state} }});\n"
    code += "console.log(JSON.stringify(boxes.map(({ nodes, hidden }) => [nodes, hidden])));"
    boxes = json.loads(run_node(code))
    shown = [node for nodes, _ in boxes for node in nodes]
    assert len(shown) == len(set(shown))
    assert len(shown) + sum(hidden for _, hidden in boxes) == len(trace.nodes)


CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")


@pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed: the page is not opened in a browser")
def test_in_a_browser_the_page_comes_alive_and_hostile_tokens_stay_text(tmp_path: Path) -> None:
    target = tmp_path / "page.html"
    target.write_text(to_html(hostile(HOSTILE)), "utf-8")
    options = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--dump-dom"]
    options += ["--enable-logging=stderr", f"--user-data-dir={tmp_path / 'profile'}", "--virtual-time-budget=2000"]
    done = subprocess.run([CHROMIUM or "", *options, target.as_uri()], capture_output=True, text=True, timeout=120)
    assert "CONSOLE" not in done.stderr  # no error, and nothing that the policy refused
    page = Page(done.stdout)
    assert ("html", "class", "live") in page.attributes
    assert any(name == "role" and value == "treeitem" for _, name, value in page.attributes)
    assert not {"img", "iframe", "a"} & set(page.tags)
    assert not any(name.startswith("on") for _, name, _ in page.attributes)
