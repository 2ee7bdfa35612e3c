"""Pictures of the tree: they show every node or count it, escape every token, and stand on exact geometry."""

from __future__ import annotations

import math
import re
import struct
import xml.etree.ElementTree as ET
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from worlds import world

from palmette.core.errors import PalmetteError, UsageError
from palmette.tokens.decode import Plan, decode_together
from palmette.tokens.matrix import MatrixEngine
from palmette.tokens.strategies import beam, greedy, sample, stochastic_beam
from palmette.tokens.trace import export
from palmette.tokens.trace.boxes import SIZES, Limits, Sheet, boxes_of
from palmette.tokens.trace.histogram import to_histogram
from palmette.tokens.trace.json import from_json, to_json
from palmette.tokens.trace.layout import layout
from palmette.tokens.trace.marks import letter, mark
from palmette.tokens.trace.palette import SCALE, ink, luminance, shade
from palmette.tokens.trace.png import svg_to_png, to_png
from palmette.tokens.trace.svg import to_svg
from palmette.tokens.trace.terminal import color_text, to_terminal, token_table
from palmette.tokens.trace.values import Trace
from palmette.tokens.trace.visible import cells, clean, pieces, printable, shown, wrap
from palmette.tokens.views import temperature, top_k, top_p

HOSTILE = [
    "</script><img src=x onerror=alert(1)>", "\x1b[31mred\x1b]0;owned\x07", "\u202ereversed\u2066", "\x00", "]]>",
    "a&b\"'<c>", "\u2028\u2029", "日本語", "👩‍👧", "\ud7ff\ue000", "$x^2$", "\\u0041", "tab\tline\nend", "\x9b31m",
]  # fmt: skip


def hostile_engine(labels: list[str] | None = None) -> MatrixEngine:
    labels = labels or HOSTILE
    rows = np.random.default_rng(5).dirichlet(np.ones(len(labels)), len(labels))
    return MatrixEngine(rows, labels=labels)


def grown(seed: int, depth: int, plans: list[Plan]) -> Trace:
    return decode_together(world(seed, eos=None), "a", plans, max_tokens=depth).run().trace


def busy(seed: int = 1, depth: int = 6) -> Trace:
    cut = [temperature(0.7), top_k(3)]
    return grown(seed, depth, [Plan(beam(3)), Plan(sample(3), cut, seed=4), Plan(stochastic_beam(2)), Plan(greedy())])


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("fold", [True, False])
@pytest.mark.parametrize("most", [1, 5, 23, 500])
def test_every_node_is_shown_once_or_counted_once(seed: int, fold: bool, most: int) -> None:
    trace = busy(seed)
    boxes = boxes_of(Sheet(trace, Limits(boxes=most, fold=fold)))
    seen = [n for box in boxes for n in box.nodes]
    assert len(seen) == len(set(seen))
    assert len(seen) + sum(box.hidden for box in boxes) == len(trace.nodes)
    if most == 500:
        assert len(seen) == len(trace.nodes)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("fold", [True, False])
def test_no_two_boxes_touch_and_children_stand_right_of_their_parents(seed: int, fold: bool) -> None:
    drawn = layout(busy(seed, depth=7), Limits(boxes=200, fold=fold))
    for i, one in enumerate(drawn.boxes):
        if one.parent >= 0:
            above = drawn.boxes[one.parent]
            assert one.x >= above.x + above.width + SIZES["gap"] - 1e-6
        for other in drawn.boxes[i + 1 :]:
            apart_x = one.x + one.width <= other.x or other.x + other.width <= one.x
            apart_y = abs(one.y - other.y) >= (one.height + other.height) / 2 + SIZES["apart"] - 1e-6
            assert apart_x or apart_y, (one.lines, other.lines)
    first = {box.parent: box for box in reversed(drawn.boxes) if box.parent >= 0}
    for parent, box in first.items():
        assert box.y == pytest.approx(drawn.boxes[parent].y), "a box is level with its first child"


def test_layout_is_linear_in_a_long_chain_and_a_wide_fan() -> None:
    chain = grown(0, 120, [Plan(sample(), seed=s) for s in range(20)])
    drawn = layout(chain, Limits(boxes=100_000, fold=False))
    assert len(drawn.boxes) == len(chain.nodes) > 2000


def test_marks_agree_with_the_answers_and_visits() -> None:
    trace = busy(2)
    marks = mark(trace)
    for run in range(len(trace.runs)):
        best = {n.id for n in trace.path(trace.runs[run].answers[0].node)} | {0}
        assert {n.id for n in trace.nodes if run in marks.best[n.id]} == best
    for node in trace.nodes:
        for m in marks.at[node.id]:
            if m.status == "pruned":
                assert m.visit is not None
                assert not m.visit.kept
                assert m.died == m.visit.step + 1
    parting = trace.parting(0, 1)
    assert any(parting == node for node in marks.parts)


def elements(svg: str) -> list[str]:
    return [e.tag.rpartition("}")[2] for e in ET.fromstring(svg).iter()]


@pytest.mark.parametrize("color", ["probability", "run", "score"])
def test_svg_is_well_formed_and_holds_every_box(color: str) -> None:
    trace = busy()
    svg = to_svg(trace, color, Limits(boxes=1000, fold=False))  # type: ignore[arg-type]
    assert svg == to_svg(from_json(to_json(trace)), color, Limits(boxes=1000, fold=False))  # type: ignore[arg-type]
    titles = [e for e in ET.fromstring(svg).iter() if e.tag.endswith("title")]
    assert len(titles) == 1 + len(trace.nodes)
    assert "palmette-hatch" in svg
    for number in range(len(trace.runs)):
        assert f"■ {letter(number)}1" in svg


def test_hostile_tokens_change_no_structure() -> None:
    tame = [f"t{i}" for i in range(len(HOSTILE))]
    drawn = [
        to_svg(decode_together(hostile_engine(labels), [0], [Plan(beam(4)), Plan(sample())], max_tokens=5).run().trace,
               limits=Limits(fold=False))
        for labels in (HOSTILE, tame)
    ]  # fmt: skip
    counts = [{tag: elements(svg).count(tag) for tag in ("script", "g", "path", "image", "a")} for svg in drawn]
    assert counts[0] == counts[1]
    assert counts[0]["script"] == counts[0]["a"] == 0
    text = "".join(ET.fromstring(drawn[0]).itertext())
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\u2028\u2029]", text)


@given(st.text())
@settings(max_examples=300, deadline=None)
def test_visible_text_steers_nothing(text: str) -> None:
    for made in (printable(text), clean(text), shown(text.encode("utf-8", "surrogatepass"), "")):
        assert not re.search(
            "[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\u2028\u2029\ufeff\u200e\u200f]", made
        )
        made.encode()  # raises if a lone surrogate is left
    assert "\n" not in clean(text)
    assert cells(text) >= 0


@given(st.text(st.characters(codec="utf-8", exclude_categories=("Cc", "Cf"))), st.integers(2, 30))
@settings(max_examples=200, deadline=None)
def test_wrapped_lines_keep_every_character_and_their_width(text: str, width: int) -> None:
    lines = wrap(text, width)
    assert all(cells(line) <= width for line in lines)
    assert "".join(lines).replace(" ", "") == text.replace(" ", "")


@given(st.binary(max_size=24), st.data())
@settings(max_examples=200, deadline=None)
def test_pieces_of_a_path_spell_the_bytes_however_they_are_cut(raw: bytes, data: st.DataObject) -> None:
    from palmette.tokens.trace.values import TraceNode

    cuts = sorted(data.draw(st.sets(st.integers(1, max(1, len(raw) - 1)), max_size=5))) if raw else []
    parts = [raw[a:b] for a, b in zip([0, *cuts], [*cuts, len(raw)], strict=True) if a < b]
    nodes = [TraceNode(0, -1, -1, b"", "", 0, 0.0, 0)]
    nodes += [TraceNode(i + 1, i, 0, p, "", i + 1, 0.0, 1) for i, p in enumerate(parts)]
    found = pieces(Trace("", "", (), (), tuple(nodes)))
    whole = pieces(Trace("", "", (), (), (nodes[0], TraceNode(1, 0, 0, raw, "", 1, 0.0, 1)))) if raw else [("", "")]
    assert "".join(text for text, _ in found) + found[-1][1] == whole[-1][0] + whole[-1][1]


def test_colours_fall_evenly_in_lightness_and_text_on_them_is_readable() -> None:
    light = [luminance(shade(i / 50)) for i in range(51)]
    assert light == sorted(light, reverse=True)
    assert len(set(SCALE)) == len(SCALE)
    for i in range(51):
        fill, text = luminance(shade(i / 50)), luminance(ink(shade(i / 50)))
        assert (max(fill, text) + 0.05) / (min(fill, text) + 0.05) >= 4.5


def test_terminal_drawing_counts_hidden_nodes_and_keeps_its_width() -> None:
    trace = busy(depth=30)
    for width in (40, 80, 160):
        drawn = to_terminal(trace, width=width, color=False)
        assert "\x1b" not in drawn
        tree = drawn.split("\n\n")[1].splitlines()
        assert max(map(cells, tree)) <= width
    hidden = re.search(r"(\d+) of (\d+) tokens are hidden", drawn)
    assert hidden is not None
    shown_count = sum(len(b.nodes) for b in boxes_of(Sheet(trace, Limits(boxes=60, fold=True))))
    assert int(hidden[2]) + 1 == len(trace.nodes) == shown_count + int(hidden[1])
    plain = re.sub(r"\x1b\[[0-9;]*m", "", to_terminal(trace, width=160, color=True))
    assert plain == drawn, "colour changes nothing but colour"


def test_hostile_tokens_reach_no_terminal() -> None:
    trace = decode_together(hostile_engine(), [0], [Plan(beam(6))], max_tokens=4).run().trace
    drawn = to_terminal(trace, color=False) + token_table(trace.path(trace.runs[0].answers[0].node))
    drawn += color_text([(t, -1.0) for t in HOSTILE], color=False)
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\u2028\u2029]", drawn)


def test_a_histogram_names_the_chosen_and_the_view_that_cut() -> None:
    trace = grown(3, 3, [Plan(sample(), [top_k(3), top_p(0.5)])])
    path = trace.path(trace.runs[0].answers[0].node)
    for node in path:
        svg = to_histogram(trace, node.parent, 0)
        text = list(ET.fromstring(svg).itertext())
        assert text.count("●") == 1
        above = trace.nodes[node.parent].expansion
        assert above is not None
        removed = sum(len(stage.removed) for stage in above.looks[0].stages)
        assert sum("cut by" in line for line in text) == removed
        assert any("2. top_p" in line for line in text)
    with pytest.raises(UsageError, match="no histogram"):
        to_histogram(trace, path[-1].id, 0)


@pytest.mark.parametrize("suffix", [".html", ".svg", ".png", ".json"])
def test_write_replaces_a_whole_file_or_leaves_the_old(
    suffix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trace, target = busy(), tmp_path / f"tree{suffix}"
    export.write(trace, target)
    good = target.read_bytes()
    assert len(good) > 1000
    monkeypatch.setattr(Path, "replace", lambda self, other: (_ for _ in ()).throw(OSError(28, "No space left")))
    with pytest.raises(PalmetteError, match="No space left"):
        export.write(busy(2), target)
    assert target.read_bytes() == good
    assert [p.name for p in tmp_path.iterdir()] == [target.name]


def test_targets_are_refused_before_work_begins(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"Did you mean '\.json'"):
        export.check_target(tmp_path / "x.jsn")
    with pytest.raises(UsageError, match="no folder"):
        export.check_target(tmp_path / "gone" / "x.svg")
    (tmp_path / "d.svg").mkdir()
    with pytest.raises(UsageError, match="it is a folder"):
        export.check_target(tmp_path / "d.svg")


def test_steps_of_every_best_answer_are_written(tmp_path: Path) -> None:
    trace = busy(depth=4)
    written = export.write_steps(trace, tmp_path / "steps")
    names = sorted(p.name for p in written)
    expected = [f"{letter(r)}-{n.depth:03d}.svg" for r in range(4) for n in trace.path(trace.runs[r].answers[0].node)]
    assert names == sorted(expected)
    assert all(elements(p.read_text())[0] == "svg" for p in written)


def test_png_is_the_svg_at_its_scale() -> None:
    trace = busy(depth=3)
    svg = to_svg(trace)
    width, height = (float(ET.fromstring(svg).attrib[k]) for k in ("width", "height"))
    for scale in (1.0, 2.0):
        data = to_png(trace, scale=scale)
        assert data[:8] == b"\x89PNG\r\n\x1a\n"
        size = struct.unpack(">II", data[16:24])
        assert size == pytest.approx((width * scale, height * scale), abs=1)
    with pytest.raises(PalmetteError, match="'circle'"):
        svg_to_png('<svg width="9" height="9" xmlns="http://www.w3.org/2000/svg"><circle r="3"/></svg>')


def test_png_takes_hostile_tokens() -> None:
    trace = decode_together(hostile_engine(), [0], [Plan(beam(6))], max_tokens=3).run().trace
    assert len(to_png(trace, scale=1.0)) > 1000


def test_removed_mass_is_what_the_stages_say() -> None:
    trace = grown(3, 2, [Plan(sample(), [top_k(2)])])
    expansion = trace.nodes[0].expansion
    assert expansion is not None
    (stage,) = expansion.looks[0].stages
    cut = sum(math.exp(expansion.candidates[i].logprob) for i in stage.removed) + expansion.rest
    assert stage.removed_mass == pytest.approx(cut, abs=1e-6)
