"""The server's own document against the server: whatever the document admits, no answer is a failure of the server."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import requests
from hypothesis import HealthCheck, settings
from serving import Running, running

from palmette.models.wrap.scripted import scripted
from palmette.serve.openapi import document

schemathesis = pytest.importorskip("schemathesis", reason="schemathesis is not installed: pip install 'palmette[dev]'")
from schemathesis.checks import not_a_server_error  # noqa: E402
from schemathesis.specs.openapi.checks import (  # noqa: E402
    content_type_conformance,
    response_schema_conformance,
    unsupported_method,
)

schema = schemathesis.openapi.from_dict(document(["m"]))


@pytest.fixture(scope="module")
def server() -> Iterator[Running]:
    with running(models={"m": scripted(lambda request: "Hello there.")}) as made:
        yield made


@schema.parametrize()
@settings(max_examples=8, derandomize=True, deadline=None, suppress_health_check=list(HealthCheck))
def test_what_the_document_admits_never_fails_in_the_server(case: schemathesis.Case, server: Running) -> None:
    with requests.Session() as session:
        response = case.call(base_url=server.url, session=session, timeout=30)
    case.validate_response(
        response, checks=(not_a_server_error, content_type_conformance, response_schema_conformance, unsupported_method)
    )
