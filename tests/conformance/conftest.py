"""Fixtures of the conformance tests."""

import pytest


@pytest.fixture(params=["asyncio", "threads"])
def driver(request):
    """Each driver, one after the other."""
    return request.param
