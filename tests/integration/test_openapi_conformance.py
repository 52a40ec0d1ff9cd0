"""The server does what its OpenAPI document says: schemathesis makes requests from it, right and wrong ones, and looks at the answers."""

import base64
import os

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from schemathesis import GenerationMode
from zoo import Zoo

import motet
from motet.graph import compile_graph
from motet.openapi import openapi

FUZZ = "MOTET_FUZZ" in os.environ  # then other requests each time, and more of them
EXAMPLES = 100 if FUZZ else 15  # of each operation


@pytest.fixture(scope="module")
def url():
    with motet.run(Zoo.bind(), port=0):
        (server,) = motet.status().result()
        yield server.url


DOCUMENT = schemathesis.openapi.from_dict(openapi(compile_graph(Zoo.bind())))
OPERATIONS = {found.ok().label: found.ok() for found in DOCUMENT.get_all_operations()}


# Base64 in the alphabet for URLs, which is no format that JSON Schema knows.
schemathesis.openapi.format("base64url", st.binary().map(lambda data: base64.urlsafe_b64encode(data).decode()))


def check(url, operation, mode):
    """Make requests, by the document or against it, and check the answers."""

    @settings(
        max_examples=EXAMPLES,
        derandomize=not FUZZ,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(case=operation.as_strategy(generation_mode=mode))
    def run(case):
        case.call_and_validate(base_url=url)

    run()


DESCRIBED = {name: operation for name, operation in OPERATIONS.items() if operation.path != "/vector"}  # lists of lists of one length


@pytest.mark.parametrize("operation", DESCRIBED.values(), ids=DESCRIBED)
def test_document_is_kept(url, operation):
    """What fits the document is taken, and status, content type and value of each answer fit it, too."""
    check(url, operation, GenerationMode.POSITIVE)


TEXTS = ("/find", "/register", "/upload")  # take numbers as texts, since forms and queries have nothing else
BASE64 = ("/scan", "/sign")  # schemathesis can't tell which texts aren't base64, and takes the empty one for wrong
WITH_BODIES = {name: operation for name, operation in OPERATIONS.items() if operation.body and operation.path not in TEXTS + BASE64}


@pytest.mark.parametrize("operation", WITH_BODIES.values(), ids=WITH_BODIES)
def test_what_the_document_forbids_is_refused(url, operation):
    """What doesn't fit the document is refused, as the document says that errors are told."""
    check(url, operation, GenerationMode.NEGATIVE)


@pytest.mark.parametrize("path", BASE64)
def test_what_is_no_base64_is_refused(url, path):
    """As schemathesis can't ask for it."""
    answer = httpx.post(url + path, json={"data": "no base64!"})
    assert (answer.status_code, answer.json()["error"]["problems"][0]["at"]) == (422, "data")
