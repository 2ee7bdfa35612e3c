"""Pictures, exports and the command line."""

from __future__ import annotations

import contextlib
import io
import json
import re
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import NamedTuple

import graphs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from palmette.cli.main import main
from palmette.core.errors import BadParameter, UnknownName
from palmette.knowledge.apple import TRIPLES
from palmette.knowledge.documents.read import Document
from palmette.knowledge.exchange import FORMATS, export, take
from palmette.knowledge.graph import Graph
from palmette.knowledge.picture.drawing import drawn
from palmette.knowledge.picture.html import to_html
from palmette.knowledge.picture.svg import to_png, to_svg
from palmette.knowledge.store.read import facts
from palmette.knowledge.values import Entity, Fact, Statement
from palmette.models.graph_demo import demo

label = st.one_of(
    st.sampled_from(graphs.NASTY),
    st.text(st.characters(codec="utf-8", exclude_characters="\x00"), min_size=1).filter(str.strip),
)
statements = st.lists(
    st.builds(
        Statement, st.builds(Entity, label, st.sampled_from(["", "a type", "t'y\"p"])), label,
        st.builds(Entity, label, st.sampled_from(["", "date"]), st.booleans()),
    ),
    min_size=1, max_size=5,
)  # fmt: skip


def shown(fact: Fact) -> tuple[object, ...]:
    return (fact.subject, fact.relation, fact.object)


@pytest.mark.parametrize("format", FORMATS)
@settings(max_examples=20, deadline=None)
@given(given=statements)
def test_what_is_exported_comes_back(format: str, given: list[Statement]) -> None:
    store, again = graphs.memory(), graphs.memory()
    store.say(given)
    text = "".join(export(store, format))
    take(again, text, format)
    wanted = {shown(f) for f in facts(store)}
    if format == "graphml":  # XML has no control characters

        def safe(e: Entity) -> Entity:
            return Entity(re.sub("[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff]", "\ufffd", e.name), e.type, e.literal)

        wanted = {(safe(f.subject), safe(Entity(f.relation)).name, safe(f.object)) for f in facts(store)}
    assert {shown(f) for f in facts(again)} == wanted
    assert text == "".join(export(store, format))


def test_exports_are_read_by_other_programs(tmp_path: Path) -> None:
    networkx = pytest.importorskip("networkx")
    graph = Graph(graphs.memory())
    graph.say(*TRIPLES)
    path = tmp_path / "g.graphml"
    path.write_text("".join(graph.export("graphml")))
    web = networkx.read_graphml(path)
    assert {(web.nodes[a]["name"], d["relation"], web.nodes[b]["name"]) for a, b, d in web.edges(data=True)} == set(
        TRIPLES
    )
    groups = graph.communities()
    assert "Apple" in {name for g in groups for name in g.members} and groups == graph.communities()


@pytest.mark.parametrize(
    ("format", "text", "why"),
    [
        ("json", "{}", "no dump"), ("json", '{"palmette graph": 9}', "format 9"),
        ("json", '{"palmette graph": 1}', "damaged"),
        ("graphml", "<a", "no GraphML"), ("graphml", "<!DOCTYPE x [<!ENTITY a 'b'>]><graphml/>", "entities of its own"),
        ("nquads", "hello", "line 1 is no N-Quad"), ("csv", "a,b\n1,2", "no column 'subject'"),
        ("cypher", "MATCH (n) DETACH DELETE n;", "line 1 is no fact"),
    ],
)  # fmt: skip
def test_what_is_no_export_is_refused_and_nothing_is_written(format: str, text: str, why: str) -> None:
    store = graphs.memory()
    with pytest.raises(BadParameter, match=why):
        take(store, text, format)
    assert not any(store.counts().values())
    with pytest.raises(UnknownName, match="Did you mean 'json'"):
        take(store, text, "jsn")


def test_no_cell_of_a_table_is_a_formula() -> None:
    store = graphs.memory()
    store.say([Statement(Entity('=HYPERLINK("http://x")'), "+1", Entity("@SUM(A1)"))])
    row = "".join(export(store, "csv")).split("\r\n")[1]
    assert row.startswith("\"'=HYPERLINK") and ",'+1," in row and ",'@SUM(A1)," in row


# -- pictures ----------------------------------------------------------------------------------------------------------


@settings(max_examples=20, deadline=None)
@given(statements)
def test_a_picture_is_xml_and_a_page_holds_no_markup_of_a_document(given: list[Statement]) -> None:
    found = [Fact(s.subject, s.relation, s.object) for s in given]
    picture = drawn(found, rounds=5)
    root = ElementTree.fromstring(to_svg(picture))
    assert len(root.findall(".//*[@data-spot]")) == len(picture.spots)
    page = to_html(found, title=given[0].subject.name, lead=given[0].relation)
    assert page.count("<script") == 2 and "http://" not in re.sub(r"http://www\.w3\.org/2000/svg|http://x", "", page)
    data = re.search(r'<script type="application/json" id="data">(.*?)</script>', page, re.DOTALL)
    assert data is not None and json.loads(data[1])["facts"][0][0] == found[0].subject.name


def test_the_same_graph_gives_the_same_picture_and_no_two_labels_overlap() -> None:
    graph = Graph(graphs.memory())
    graph.say(*TRIPLES)
    picture = drawn(graph.facts())
    assert picture == drawn(graph.facts()) and len(picture.spots) == 19
    for i, a in enumerate(picture.spots):
        for b in picture.spots[i + 1 :]:
            assert abs(a.x - b.x) >= (a.width + b.width) / 2 or abs(a.y - b.y) >= 26
    assert to_png(picture)[:8] == b"\x89PNG\r\n\x1a\n"
    few = drawn(graph.facts(), most=3)
    assert len(few.spots) == 3 and few.things == 19 and "3 of 19 things" in to_svg(few)
    assert drawn([]).spots == () and "0 facts" in to_html([])


# -- the command line --------------------------------------------------------------------------------------------------


class Result(NamedTuple):
    """What a command printed, both streams, and its exit code."""

    exit_code: int
    output: str


def run(*args: str) -> Result:
    out = io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(out):
        code = main(["graph", *args])
    return Result(code, out.getvalue())


@pytest.fixture
def notes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "apple.md").write_text(
        "# Apple\n\nSteve Jobs founded Apple in 1976. Apple released the iMac. Tim Cook leads Apple."
    )
    (tmp_path / "ibm.txt").write_text("International Business Machines (IBM) was founded in 1911.")
    assert run("build", "notes.db", "apple.md", "ibm.txt").output == "2 documents read: 5 statements\n"
    return tmp_path


def test_build_ask_show_path_remove_export(notes: Path) -> None:
    assert "2 unchanged" in run("build", "notes.db", "apple.md", "ibm.txt").output
    asked = run("ask", "notes.db", "Who leads Apple?")
    assert asked.exit_code == 0 and asked.output.startswith("Tim Cook leads Apple. [apple.md")
    refused = run("ask", "notes.db", "Who leads Microsoft?", "--model", "zoo:seedling")
    assert refused.exit_code == 3 and refused.output.startswith("I cannot answer that")
    as_json = json.loads(run("ask", "notes.db", "Who leads Apple?", "--json", "--html", "a.html").output)
    assert (
        as_json["facts"][0]["quotes"][0]["text"] == "Tim Cook leads Apple."
        and "Who leads Apple?" in Path("a.html").read_text()
    )
    assert "iMac <-[released]- Apple <-[founded]- Steve Jobs" in run("path", "notes.db", "iMac", "Steve Jobs").output
    assert run("path", "notes.db", "iMac", "IBM").exit_code == 3
    assert "Apple released iMac" in run("show", "notes.db").output
    assert run("show", "notes.db", "Apple", "--html", "o.html", "--svg", "o.svg", "--png", "o.png").exit_code == 0
    assert all(Path(f"o.{kind}").stat().st_size > 1000 for kind in ("html", "svg", "png"))
    query = '{"match": [{"subject": "?x", "relation": "leads", "object": "Apple"}], "select": ["?x"]}'
    assert run("query", "notes.db", query).output == "Tim Cook\n"
    assert run("remove", "notes.db", "ibm.txt").output == "1 document and 1 statement removed\n"
    whole = run("export", "notes.db").output
    assert run("export", "notes.db", "--out", "dump.json").exit_code == 0 and Path("dump.json").read_text() == whole
    assert run("import", "other.db", "dump.json").output == "4 statements read\n"
    assert run("export", "other.db").output == whole
    assert set(json.loads(run("schema", "notes.db", "--induce").output)) == {"types", "relations"}
    assert run("conflicts", "notes.db", "leads").output == "nothing contradicts itself in leads\n"
    assert "Did you mean 'leads'" in run("conflicts", "notes.db", "lead").output
    assert "no relation of the schema is functional" in run("conflicts", "notes.db").output


def test_groups_and_questions_about_the_whole(notes: Path) -> None:
    pytest.importorskip("networkx")
    listed = run("communities", "notes.db")
    assert listed.exit_code == 0 and "Apple" in listed.output and "Tim Cook leads Apple." in listed.output
    (group,) = json.loads(run("communities", "notes.db", "--json").output)
    assert {"Apple", "Tim Cook", "Steve Jobs", "iMac"} == set(group["members"]) and group["facts"][0]["quotes"]
    whole = run("ask", "notes.db", "What is this about?", "--global")
    assert whole.exit_code == 0 and "Steve Jobs founded Apple." in whole.output
    said = json.loads(run("ask", "notes.db", "Summarise it", "--global", "--json", "--model", "zoo:seedling").output)
    assert said["calls"] == 2 and len(said["groups"]) == 1
    again = json.loads(run("ask", "notes.db", "Summarise it", "--global", "--json", "--model", "zoo:seedling").output)
    assert again["calls"] == 1 and again["groups"] == said["groups"]  # the summary was kept
    assert "--global has no --mode" in run("ask", "notes.db", "What?", "--global", "--mode", "cite").output
    run("remove", "notes.db", "apple.md")
    assert run("communities", "notes.db").output == "no three things hang together\n"
    assert run("ask", "notes.db", "What is this about?", "--global").exit_code == 3


def test_bad_files_are_named_and_the_others_read(notes: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (notes / "bad.txt").write_bytes(b"caf\xe9")
    (notes / "empty.md").write_text("")
    (notes / "new.md").write_text("Ann met Bob.")
    assert main(["graph", "build", "notes.db", "bad.txt", "empty.md", "none.md", "new.md"]) == 1
    said = capfd.readouterr()
    assert all(word in said.err for word in ("0xe9 at 3", "empty.md holds no text", "cannot read none.md"))
    assert "1 document read" in said.out
    assert main(["graph", "ask", "no.db", "Who?"]) == 2 and "no store at 'no.db'" in capfd.readouterr().err
    assert (
        main(["graph", "path", "notes.db", "Tim Cok", "Apple"]) == 2
        and "Did you mean 'Tim Cook'" in capfd.readouterr().err
    )
    assert main(["graph", "remove", "notes.db", "aple.md"]) == 2 and "Did you mean 'apple.md'" in capfd.readouterr().err
    (notes / "schema.json").write_text('{"relations": ["leads"], "tpyes": []}')
    assert main(["graph", "build", "notes.db", "new.md", "--schema", "schema.json"]) == 2
    assert "/tpyes" in capfd.readouterr().err
    assert main(["graph", "build", "notes.db", "aple.md"]) == 2
    assert "cannot read aple.md: there is no such file. Did you mean 'apple.md'?" in capfd.readouterr().err


def test_what_fails_begins_no_store(notes: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (notes / "a.json").write_text('{"a": 1}')
    assert main(["graph", "import", "new.db", "a.json"]) == 2 and "no dump of a graph" in capfd.readouterr().err
    assert main(["graph", "build", "new.db", "apple.md", "--schema", "a.json"]) == 2 and "/a" in capfd.readouterr().err
    assert not list(notes.glob("new.db*"))
    assert main(["graph", "import", "notes.db", "a.json"]) == 2 and (notes / "notes.db").exists()
    assert main(["graph", "build", "notes.db", "apple.md", "--max-mb", "-1"]) == 2


def test_a_query_that_finds_nothing_or_not_all_says_so(notes: Path, capfd: pytest.CaptureFixture[str]) -> None:
    def said(subject: str, **more: object) -> str:
        match = [{"subject": subject, "relation": "?r", "object": "?x"}]
        assert main(["graph", "query", "notes.db", json.dumps({"match": match, "select": ["?x"], **more})]) == 0
        return capfd.readouterr().err

    assert said("iMac") == "no rows: nothing in the graph fits all of it\n"
    assert said("?s", limit=2) == "only the first 2 rows; there are more (limit)\n" and said("?s") == ""
    assert main(["graph", "query", "notes.db", "Apple"]) == 2
    assert "the query 'Apple' is no JSON" in capfd.readouterr().err


def test_the_near_miss_of_a_document_is_found_among_very_many() -> None:
    graph = Graph(graphs.memory())
    graph.add([Document(f"a{i:03}.md", "Ann met Bob.") for i in range(60)] + [Document("zebra.md", "Ann met Bob.")])
    with pytest.raises(
        UnknownName, match=r"no document 'zebr.md'\. Did you mean 'zebra.md'\? .*which has 61 documents"
    ):
        graph.remove("zebr.md")


def test_a_build_by_a_model_estimates_stops_and_goes_on(notes: Path) -> None:
    for name in ("x", "y"):
        (notes / f"{name}.txt").write_text(f"Ann met {name.upper()}om.")
    options = ("--model", "zoo:seedling", "--max-tokens", "60")
    said = run("build", "notes.db", "x.txt", "y.txt", *options, "--dry-run").output
    assert said.startswith("2 documents to read in 2 pieces: 2 calls, ")
    first = run("build", "notes.db", "x.txt", "y.txt", *options, "--calls", "1")
    assert first.exit_code == 1 and "with 1 document left" in first.output
    rest = run("build", "notes.db", "x.txt", "y.txt", *options)
    assert rest.exit_code == 0 and "1 unchanged" in rest.output and "1 call," in rest.output


def test_the_seven_steps_run_without_a_model_and_on_the_toy() -> None:
    for model in ("none", "zoo:seedling"):
        lines = list(demo(model))
        assert sum(line.startswith("Step ") for line in lines) == 7
        assert "I cannot answer that from this graph" in lines[-1]
    assert "iPhone <-[created]- Apple <-[co-founded]- Steve Jobs" in "\n".join(lines)
    assert len(TRIPLES) == 22
    assert run("demo").exit_code == 0
