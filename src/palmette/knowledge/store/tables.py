"""The relational schema, the same text on SQLite and PostgreSQL, and its migrations.

An assertion is a row; a fact is a view over assertions. Deleting a document therefore deletes rows and nothing has to
be computed again. Row numbers are given out by the writer, so loading needs no round trip per row. The table of
assertions is clustered by subject, relation and object: what is asked together lies together.
"""

from __future__ import annotations

__all__ = ["INDEXES", "MIGRATIONS", "VERSION"]

_FIRST = (
    "CREATE TABLE counter (name TEXT PRIMARY KEY, value BIGINT NOT NULL)",
    "CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL)",
    """CREATE TABLE document (
        id {id}, name TEXT NOT NULL UNIQUE, title TEXT NOT NULL, hash TEXT NOT NULL,
        recipe TEXT NOT NULL, recorded_at TEXT NOT NULL)""",
    """CREATE TABLE chunk (
        id {id}, document BIGINT NOT NULL, first BIGINT NOT NULL, last BIGINT NOT NULL,
        text TEXT NOT NULL, hash TEXT NOT NULL)""",
    """CREATE TABLE entity (
        id {id}, name TEXT NOT NULL, type TEXT NOT NULL, literal INT NOT NULL, key TEXT NOT NULL)""",
    "CREATE TABLE relation (id {id}, name TEXT NOT NULL UNIQUE)",
    """CREATE TABLE maker (
        id {id}, model TEXT NOT NULL, recipe TEXT NOT NULL, recorded_at TEXT NOT NULL,
        UNIQUE (model, recipe, recorded_at))""",
    """CREATE TABLE assertion (
        s BIGINT NOT NULL, p BIGINT NOT NULL, o BIGINT NOT NULL, id BIGINT NOT NULL, chunk BIGINT, first INT, last INT,
        maker BIGINT NOT NULL, confidence REAL NOT NULL, valid_from TEXT, valid_to TEXT, retracted_at TEXT,
        PRIMARY KEY (s, p, o, id)) {clustered}""",
    "CREATE TABLE mention (chunk BIGINT NOT NULL, entity BIGINT NOT NULL, first INT NOT NULL, last INT NOT NULL)",
    "CREATE TABLE alias (entity BIGINT NOT NULL, surface TEXT NOT NULL, key TEXT NOT NULL, chunk BIGINT)",
    """CREATE TABLE link (
        a BIGINT NOT NULL, b BIGINT NOT NULL, kind TEXT NOT NULL, source TEXT NOT NULL, PRIMARY KEY (a, b, source))""",
    """CREATE TABLE vector (
        model TEXT NOT NULL, chunk BIGINT NOT NULL, value {blob} NOT NULL, PRIMARY KEY (model, chunk))""",
    "CREATE TABLE reply (key TEXT PRIMARY KEY, chunk_hash TEXT NOT NULL, value TEXT NOT NULL, tokens BIGINT NOT NULL)",
    """CREATE VIEW fact AS SELECT s, p, o, count(*) AS support, min(id) AS first_assertion FROM assertion
        WHERE retracted_at IS NULL GROUP BY s, p, o""",
    """CREATE VIEW named_fact AS SELECT es.name AS subject, r.name AS relation, eo.name AS object, f.support
        FROM fact f JOIN entity es ON es.id = f.s JOIN relation r ON r.id = f.p JOIN entity eo ON eo.id = f.o""",
)

# Dropped before a bulk load into an empty store and built after it: sorting once is faster than a million insertions.
INDEXES = {
    "assertion_ops": "CREATE INDEX assertion_ops ON assertion (o, p, s) WHERE retracted_at IS NULL",
    "assertion_retracted": "CREATE INDEX assertion_retracted ON assertion (s, p, o) WHERE retracted_at IS NOT NULL",
    "assertion_chunk": "CREATE INDEX assertion_chunk ON assertion (chunk) WHERE chunk IS NOT NULL",
    "entity_name": "CREATE UNIQUE INDEX entity_name ON entity (name, type, literal)",
    "entity_key": "CREATE INDEX entity_key ON entity (key)",
    "mention_chunk": "CREATE INDEX mention_chunk ON mention (chunk)",
    "mention_entity": "CREATE INDEX mention_entity ON mention (entity)",
    "chunk_document": "CREATE INDEX chunk_document ON chunk (document)",
    "chunk_hash": "CREATE INDEX chunk_hash ON chunk (hash)",
    "alias_key": "CREATE INDEX alias_key ON alias (key)",
    "alias_entity": "CREATE INDEX alias_entity ON alias (entity)",
    "alias_chunk": "CREATE INDEX alias_chunk ON alias (chunk) WHERE chunk IS NOT NULL",
    "link_b": "CREATE INDEX link_b ON link (b)",
    "vector_chunk": "CREATE INDEX vector_chunk ON vector (chunk)",
    "reply_chunk": "CREATE INDEX reply_chunk ON reply (chunk_hash)",
}

# One entry for each version: the statements that lead to it from the one before.
MIGRATIONS: tuple[tuple[str, ...], ...] = ((*_FIRST, *INDEXES.values()),)
VERSION = len(MIGRATIONS)
