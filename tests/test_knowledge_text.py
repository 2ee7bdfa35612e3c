"""Laws of reading: offsets are true, nothing is lost or said twice, and files that are no text say so."""

from __future__ import annotations

import re
import time
from pathlib import Path

import graphs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from palmette.core.errors import BadParameter, DocumentError
from palmette.knowledge.documents.chunk import pieces, sentences
from palmette.knowledge.documents.read import document_of, read
from palmette.knowledge.extract import plain
from palmette.knowledge.extract.ingest import Budget, estimate, ingest
from palmette.knowledge.extract.plain import Gazetteer, definitions, mentions, names_in, read_plainly
from palmette.knowledge.extract.reading import Plain, Reading
from palmette.knowledge.names import Lexicon
from palmette.knowledge.schema import Schema
from palmette.knowledge.store.read import assertions, facts
from palmette.knowledge.values import Entity, Piece, Statement

MARKS = re.compile(r"(?:\s|#+|[-=]|\b1\.)*")
prose = st.text("ab.!? \n\t#-=Zz1🙂é\"'", max_size=300)


@settings(max_examples=60, deadline=None)
@given(prose, st.integers(20, 80))
def test_pieces_stand_where_they_say_and_leave_out_white_space_alone(text: str, size: int) -> None:
    cut = pieces(text, size)
    at = 0
    for piece in cut:
        assert text[piece.start : piece.end] == piece.text and 0 < len(piece.text) <= size
        assert not text[at : piece.start].strip()
        at = piece.end
    assert not text[at:].strip()


@settings(max_examples=60, deadline=None)
@given(prose)
def test_sentences_leave_out_white_space_alone(text: str) -> None:
    at = 0
    for a, b in sentences(text):
        assert a >= at and a < b
        assert MARKS.fullmatch(text, at, a)
        at = b
    assert MARKS.fullmatch(text, at)


BLOCKS = {
    "heading": "{0} {1}", "closed": "## {1} ##", "ruled": "{1}\n===", "item": "- {1}", "long item": "* {1}\n  {1}",
    "task": "- [x] {1}", "numbered": "1. {1}", "quoted": "> {1}\n> {1}", "row": "| {1} | {1} |", "line": "***",
    "table": "{1} | {1}\n--- | ---", "code": "```python\n{1}\n\nx = {1}\n```", "prose": "{1}\n{1}",
}  # fmt: skip
PROSE = ("item", "long item", "task", "numbered", "quoted", "prose")  # what a line without a mark goes on with
said = st.lists(
    st.sampled_from(["Ann met Bob", "Ann", "met", "in", "1976", "Apple.", "Dr.", "left!", "U.S.", "“Go.”"]), min_size=1
)


@st.composite
def markdown(draw: st.DrawFn) -> tuple[str, list[tuple[int, int]]]:
    """A document of blocks, and where each of them stands; of prose every one, of a table every row."""
    text, places, before = "", list[tuple[int, int]](), ""
    for kind in draw(st.lists(st.sampled_from(list(BLOCKS)), min_size=1, max_size=8)):
        apart = (
            (before in PROSE and kind in ("prose", "ruled", "table")) or kind == before == "quoted" or before == "table"
        )
        text += "" if not text else "\n\n" if apart else draw(st.sampled_from(["\n", "\n\n"]))
        block = BLOCKS[kind].format("#" * draw(st.integers(1, 6)), " ".join(draw(said)))
        lines = block.split("\n") if kind in ("code", "table") else [block]
        for line in lines:
            places.append((len(text), len(text) + len(line)))
            text += line + "\n"
        text, before = text[:-1], kind
    return text, places


@settings(max_examples=200, deadline=None)
@given(markdown())
def test_a_sentence_stays_within_its_block_and_no_word_is_lost(drawn: tuple[str, list[tuple[int, int]]]) -> None:
    text, places = drawn
    found = sentences(text)
    assert all(any(start <= a < b <= end for start, end in places) for a, b in found)
    rest = text
    for a, b in found:
        assert text[a:b] == text[a:b].strip() and not text[a:b].startswith(("# ", "- ", "| ", "> ", "```"))
        rest = rest[:a] + " " * (b - a) + rest[b:]
    assert not rest.replace("```python", "").replace("[x]", "").replace("1. ", "").strip("\n #=*->|`")
    for piece in pieces(text, 40):  # the marks stay where the text is cut
        assert text[piece.start : piece.end] == piece.text


@settings(max_examples=40, deadline=None)
@given(markdown())
def test_quotes_from_markdown_stand_in_the_text_letter_for_letter(drawn: tuple[str, list[tuple[int, int]]]) -> None:
    text, places = drawn[0], drawn[1]
    store = graphs.memory()
    store.say(graphs.said(("Carl", "knows", "Ann")))
    ingest(store, [document_of("d", f"{text}\n\nAnn met Bob.", "")], Plain())
    quotes = [a.quote for a in assertions(store) if a.quote is not None]
    assert any(quote.text == "Ann met Bob." for quote in quotes)
    for quote in quotes:
        assert f"{text}\n\nAnn met Bob."[quote.start : quote.end] == quote.text
        assert quote.start > len(text) or any(a <= quote.start and quote.end <= b for a, b in places)


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("# Apple\nSteve Jobs founded Apple.", ["Apple", "Steve Jobs founded Apple."]),
        ("Apple\n-----\nIt is old.", ["Apple", "It is old."]),
        ("He was born in\n1976. He left.", ["He was born in\n1976.", "He left."]),
        ("Chapters:\n1. Ann\n2. Bob\n10) Carl", ["Chapters:", "Ann", "Bob", "Carl"]),
        ("> # Head\n> Ann met\n> Bob.\n> - item", ["Head", "Ann met\n> Bob.", "item"]),
        ("1. - Ann\n   - Bob", ["Ann", "Bob"]),
        ("Name | Role\n:-- | --:\nTim | Chief. Yes\nProse.", ["Name | Role", "Tim | Chief. Yes", "Prose."]),
        ("before\n```\na b.\n\nC d\n```\nafter", ["before", "a b.", "C d", "after"]),
        ("code\n```\nProse. More.\n```sh\nls\n```", ["code", "Prose.", "More.", "ls"]),  # a piece that begins in code
        ("```\nOpened. Never closed.", ["Opened.", "Never closed."]),
        ("```x``` is code. So is `y`.", ["```x``` is code.", "So is `y`."]),
        ('He said "Go." Then **he left.** **Ann** stayed.', ['He said "Go."', "Then **he left.**", "**Ann** stayed."]),
        ("#no heading\n-no item\n2 | 3", ["#no heading\n-no item\n2 | 3"]),
    ],
)  # fmt: skip
def test_lines_that_markdown_sets_apart_are_sentences_of_their_own(text: str, wanted: list[str]) -> None:
    assert [text[a:b] for a, b in sentences(text)] == wanted


def test_a_heading_begins_a_piece_and_a_paragraph_stays_whole() -> None:
    text = "# One\n\nShort.\n\nAlso short.\n\n## Two\n\n" + "word " * 30
    assert [p.text.split("\n")[0] for p in pieces(text, 120)][:2] == ["# One", "## Two"]
    with pytest.raises(BadParameter, match="at least 20"):
        pieces(text, 3)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.sampled_from(graphs.WORDS), max_size=30).map(" ".join))
def test_names_and_statements_are_words_of_the_text(text: str) -> None:
    found = mentions(text)
    for m in found:
        assert text[m.start : m.end] == m.entity.name
    for s in read_plainly(text, found):
        quote = text[s.start : s.end]
        assert s.subject.name in quote and s.object.name in quote and s.relation.split()[0] in quote


def _names_word_by_word(text: str, start: int, end: int) -> list[tuple[int, int]]:
    """What `names_in` finds, with a look at every word."""
    runs: list[list[tuple[int, int, str]]] = [[]]
    for found in plain._WORD.finditer(text, start, end):
        word, run = found[0], runs[-1]
        if run and "\n" in text[run[-1][1] : found.start()]:
            runs.append(run := [])
        if any(c.isupper() for c in word) or (run and (word.lower() in plain._INSIDE or word[0].isdigit())):
            run.append((*found.span(), word))
        elif run:
            runs.append([])
    return [span for run in runs for span in plain._trimmed(run)]


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.sampled_from([*"ÉéǅЖ京1b", "Ab", "𝐀", "жж", "U.S.", "iX", "of", "the"]), max_size=12),
    st.lists(st.sampled_from([" ", " ", "\n", "-", "_", ", ", "'", " “", " — ", "/", "."]), min_size=12, max_size=12),
    st.data(),
)  # fmt: skip
def test_names_are_those_of_a_look_at_every_word(words: list[str], gaps: list[str], data: st.DataObject) -> None:
    text = "".join(word + gap for word, gap in zip(words, gaps, strict=False))
    start = data.draw(st.integers(0, len(text)))
    end = data.draw(st.integers(start, len(text)))
    assert names_in(text, start, end) == _names_word_by_word(text, start, end)


def test_no_capital_is_passed_over() -> None:
    capitals = [c for c in map(chr, range(0x110000)) if c.isupper()]
    assert len(capitals) > 1000 and all(plain._CAPITAL.match(c) for c in capitals)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("Tim Cook leads Apple.", "Tim Cook leads Apple"),
        ("In 2007 Apple released the iPhone.", "Apple released iPhone"),
        ("Marie Curie was born in Warsaw.", "Marie Curie was born in Warsaw"),
        ("The University of Oxford is located in England.", "University of Oxford is located in England"),
        ("Ann and Bob went home.", None), ("Ann, Bob", None), ("He met Ann.", None),
        ("Vision Pro was announced on June 5, 2023.", "Vision Pro was announced on June 5, 2023"),
    ],
)  # fmt: skip
def test_plain_reading_says_what_stands_there(text: str, said: str | None) -> None:
    found = [f"{s.subject} {s.relation} {s.object}" for s in read_plainly(text, mentions(text))]
    assert found == ([said] if said else [])


def test_a_gazetteer_finds_names_in_any_case_with_their_types() -> None:
    known = Gazetteer({"vision pro": "product"})
    (first, second) = mentions("The VISION PRO is by Apple.", known)
    assert first.entity == Entity("vision pro", "product") and second.entity == Entity("Apple")
    assert definitions("(IBM) alone, and Light Amplification (LA) too") == [("Light Amplification", "LA")]


# -- files -------------------------------------------------------------------------------------------------------------


def test_files_are_read_by_their_kind(tmp_path: Path) -> None:
    (tmp_path / "a.md").write_text("# Notes on Apple\n\nText.")
    (tmp_path / "my-notes.txt").write_bytes("Zwölf\r\nBoxkämpfer".encode("utf-16"))
    page = "<html><head><title>My &amp; page</title><script>alert('x')</script></head>"
    page += "<body><h1>One</h1><p>Two <b>three</b>.</p></body>"
    (tmp_path / "p.html").write_text(page)
    (tmp_path / "old.txt").write_bytes("Caf\xe9".encode("cp1252"))
    assert read(tmp_path / "a.md").title == "Notes on Apple"
    assert (
        read(tmp_path / "my-notes.txt").text == "Zwölf\nBoxkämpfer"
        and read(tmp_path / "my-notes.txt").title == "my notes"
    )
    html = read(tmp_path / "p.html")
    assert (html.title, html.text) == ("My & page", "One\n\nTwo three.")
    assert read(tmp_path / "old.txt", encoding="cp1252").text == "Café"
    with pytest.raises(DocumentError, match=r"0xe9 at 3.*cp1252"):
        read(tmp_path / "old.txt")
    with pytest.raises(DocumentError, match="no encoding 'utf-9'"):
        read(tmp_path / "old.txt", encoding="utf-9")


@pytest.mark.parametrize(
    ("data", "why"), [(b"", "holds no text"), (b" \n", "holds no text"), (b"a\x00b", "zero byte at 1")]
)
def test_what_holds_no_text_says_so(tmp_path: Path, data: bytes, why: str) -> None:
    (tmp_path / "x.txt").write_bytes(data)
    with pytest.raises(DocumentError, match=why):
        read(tmp_path / "x.txt")


def test_a_huge_file_is_refused_before_it_is_read(tmp_path: Path) -> None:
    path = tmp_path / "big.txt"
    with path.open("wb") as file:
        file.truncate(100 * 1024 * 1024)
    with pytest.raises(DocumentError, match="105 MB, and 34 are allowed"):
        read(path)
    with pytest.raises(DocumentError, match="cannot read"):
        read(tmp_path / "none.txt")
    with pytest.raises(DocumentError, match="surrogate"):
        document_of("x", "a\ud800")


def test_a_pdf_is_read_where_pypdf_is(tmp_path: Path) -> None:
    pytest.importorskip("pypdf")
    from matplotlib.backends.backend_pdf import PdfPages
    from matplotlib.figure import Figure

    figure = Figure()
    figure.text(0.1, 0.5, "Ann met Bob in Paris")
    with PdfPages(tmp_path / "x.pdf") as pages:
        pages.savefig(figure)
    assert "Ann met Bob" in read(tmp_path / "x.pdf").text
    (tmp_path / "bad.pdf").write_bytes(b"no pdf at all")
    with pytest.raises(DocumentError, match="cannot be read as PDF"):
        read(tmp_path / "bad.pdf")


# -- cost, cache, budget -----------------------------------------------------------------------------------------------


class Counting:
    """A reader that costs one call and ten tokens for each piece, and says one thing."""

    id, recipe = "counting", "1"

    def __init__(self, most: int = 10**9) -> None:
        self.calls, self.most = 0, most

    def cost(self, piece: Piece, title: str) -> tuple[int, int]:
        return 1, 10

    def read(self, piece: Piece, title: str) -> Reading:
        self.calls += 1
        if self.calls > self.most:
            raise KeyboardInterrupt
        return Reading((Statement(Entity(piece.text[:9]), "says", Entity("something"), 0, 5),), 10, 1)


def test_an_unchanged_corpus_costs_nothing_and_a_changed_piece_one_call() -> None:
    store, reader = graphs.memory(), Counting()
    texts = [document_of(f"d{i}", f"# Head {i}\n\nBody.\n\n# Tail {i}\n\nBody.") for i in range(4)]
    assert estimate(store, texts, reader).calls == 8
    first = ingest(store, texts, reader)
    assert (first.calls, first.tokens, first.statements) == (8, 80, 8)
    again = ingest(store, texts, reader)
    assert again.calls == 0 and len(again.unchanged) == 4 and estimate(store, texts, reader).calls == 0
    texts[0] = document_of("d0", "# Head 0\n\nBody.\n\n# Tail 0\n\nOther body.", "Head 0")
    changed = ingest(store, texts, reader)
    assert (changed.calls, changed.cached, changed.documents) == (1, 1, ("d0",))


def test_a_budget_stops_before_it_is_passed_and_the_next_run_goes_on() -> None:
    store, reader = graphs.memory(), Counting()
    texts = [document_of(f"d{i}", f"# Head {i}\n\nBody.\n\n# Tail {i}\n\nBody.") for i in range(4)]
    first = ingest(store, texts, reader, budget=Budget(calls=5))
    assert first.calls == 5 and first.documents == ("d0", "d1") and first.left == ("d2", "d3") and not first.whole
    rest = ingest(store, texts, reader, budget=Budget(tokens=30))
    assert rest.calls == 3 and rest.cached == 1 and rest.whole and reader.calls == 8


def test_an_interrupted_run_repeats_no_finished_call() -> None:
    texts = [document_of(f"d{i}", f"# Head {i}\n\nBody.\n\n# Tail {i}\n\nBody.") for i in range(3)]
    for stop in range(6):
        store, reader = graphs.memory(), Counting(stop)
        with pytest.raises(KeyboardInterrupt):
            ingest(store, texts, reader)
        assert ingest(store, texts, Counting()).calls == 6 - stop
        assert len(store.documents()) == 3


def test_removing_a_document_forgets_what_a_model_said_of_it() -> None:
    store, reader = graphs.memory(), Counting()
    ingest(store, [document_of("a", "One."), document_of("b", "One."), document_of("c", "Two.")], reader)
    store.remove("c")
    store.remove("b")
    assert store.db.rows("SELECT count(*) FROM reply") == [(1,)]  # the piece that a has in common with b
    store.remove("a")
    assert store.db.rows("SELECT count(*) FROM reply") == [(0,)]


def test_two_documents_of_one_name_are_refused_and_a_schema_filters_plain_reading() -> None:
    store = graphs.memory()
    with pytest.raises(BadParameter, match="two documents are called 'a'"):
        ingest(store, [document_of("a", "x"), document_of("a", "y")], Plain())
    ingest(
        store,
        [document_of("a", "Ann met Bob. Ann likes Bob. Ann knows Bob.")],
        Plain(Schema.read({"relations": ["met"]})),
    )
    assert [str(f) for f in facts(store)] == ["Ann met Bob"]


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.lists(st.sampled_from("abc"), min_size=1, max_size=4).map(" ".join), max_size=6),
    st.lists(st.sampled_from(["a", "B", "c", "d"]), max_size=10),
)
def test_a_lexicon_finds_the_longest_name_at_every_place(names: list[str], words: list[str]) -> None:
    text, wanted, i = " ".join(words), [], 0
    while i < len(words):
        ends = [j for j in range(i + 1, len(words) + 1) if " ".join(words[i:j]).lower() in names]
        if ends:
            wanted.append(" ".join(words[i : ends[-1]]))
        i = ends[-1] if ends else i + 1
    found = [*Lexicon.of({name: name for name in names}).find(text)]
    assert [text[start:end] for start, end, _ in found] == wanted
    assert all(text[start:end].lower() == name for start, end, name in found)


@pytest.mark.parametrize(
    "text",
    [
        " " * 200_000 + "x", "\n" * 200_000 + "# x", "# " + " " * 200_000 + "x", "a" * 2_000_000, "a b " * 300_000,
        "---\n" * 50_000, "#" * 200_000, ". " * 100_000, ".\"" * 100_000, "a\n" * 100_000, "- " * 100_000,
        "| " * 100_000, "-|" * 100_000, "```\n" * 50_000,
        "```a\n" * 50_000, "> " * 100_000, "1. " * 100_000, "=" * 200_000 + "x",
    ],
    ids=range(18),
)  # fmt: skip
def test_long_texts_are_cut_in_linear_time(text: str) -> None:
    start = time.process_time()
    document = document_of("x", text)
    for piece in pieces(document.text):
        assert document.text[piece.start : piece.end] == piece.text and len(piece.text) <= 1200
    assert all(a < b for a, b in sentences(document.text))
    assert time.process_time() - start < 10  # it took minutes, by the square of the length


@pytest.mark.parametrize("part", ["<", "<b", "<!--", '<a x="', "<?", "</", "<![CDATA[", "<div>", "&lt", "<script>"])
def test_malformed_pages_are_read_in_linear_time(tmp_path: Path, part: str) -> None:
    (tmp_path / "a.html").write_text("<title>T</title>Ann met Bob. <!-- <b> not this --> " + part * 50_000)
    start = time.process_time()
    page = read(tmp_path / "a.html")
    assert time.process_time() - start < 10
    assert page.title == "T" and page.text.startswith("Ann met Bob.") and "not this" not in page.text
