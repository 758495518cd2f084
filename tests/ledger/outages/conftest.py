"""A server behind a proxy that loses, cuts and silences what passes, and one that may be restarted."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import sqlalchemy as sa
from chaos.proxy import Network, Proxy
from chaos.stages import PostgresStage


@pytest.fixture(scope="module")
def network() -> Iterator[Network]:
    with Network() as network:
        yield network


@pytest.fixture
def proxy(network: Network, postgres: str) -> Iterator[Proxy]:
    """A proxy in front of the session's server."""
    folder = sa.make_url(postgres).query["host"]
    proxy = network.proxy(socket_path=f"{folder}/.s.PGSQL.5432")
    yield proxy
    proxy.heal()


@pytest.fixture
def far(proxy: Proxy) -> str:
    """The server's address behind the proxy."""
    return f"postgresql://postgres@127.0.0.1:{proxy.port}/postgres"


@pytest.fixture(scope="module")
def restartable(network: Network) -> Iterator[PostgresStage]:
    stage = PostgresStage(network)
    yield stage
    stage.close()


@pytest.fixture
def stage(restartable: PostgresStage) -> PostgresStage:
    """A server that may be restarted, behind a proxy of its own, with empty tables."""
    restartable.fresh()
    return restartable
