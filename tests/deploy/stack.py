"""The profile `replicas` of docker-compose.yml without containers: PostgreSQL, three servers with
fake engines, and HAProxy with our file in front of them."""

import contextlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx

from tests.app.server import Server, free_port
from tests.deploy.compose import ROOT, environment, load
from tests.deploy.name_server import NameServer
from tests.deploy.programs import Program, find, until
from tests.postgres import Postgres

ADDRESSES = ("127.0.0.11", "127.0.0.12", "127.0.0.13")
STEP_SECONDS = "0.02"
LEASE_SECONDS = 2
ELSEWHERE = {"DDPM_JOBS_URL", "PGPASSWORD"}
"""Variables of the file that are others here: the database has another address."""
ACTIVE = 'haproxy_backend_active_servers{proxy="servers"}'
CONFIG = ROOT / "deploy/haproxy/haproxy.cfg"


@dataclass
class Stack:
    """Servers that answer at `url`; `servers` may be replaced one by one."""

    url: str
    metrics: str
    servers: list[Server]
    proxy: Program
    folder: Path
    port: int
    database: str

    def start(self, place: int) -> Server:
        """Start the server at that place, again where one has ended."""
        for ended in self.servers[place : place + 1]:
            ended.client.close()
        variables = environment(load()["services"]["replica"])
        variables = {k: v for k, v in variables.items() if k not in ELSEWHERE}
        log = self.folder / f"server{place}.log"
        self.servers[place : place + 1] = [
            Server(
                log,
                f"--jobs-url={self.database}",
                f"--jobs-lease-seconds={LEASE_SECONDS}",
                port=self.port,
                host=ADDRESSES[place],
                engine=("tests.fake_engine", STEP_SECONDS),
                variables=variables,
            )
        ]
        return self.servers[place]

    def stop(self) -> None:
        """Stop the servers."""
        for server in self.servers:
            server.__exit__()

    def asked(self) -> int:
        """How many servers the proxy asks: those that were ready when it looked last."""
        shown = httpx.get(f"{self.metrics}/metrics").text
        return int(
            re.search(r'^haproxy_backend_active_servers{proxy="servers"} (\d+)', shown, re.M)[1]
        )


@contextlib.contextmanager
def started(folder: Path, postgres: Postgres) -> Iterator[Stack]:
    """All of them, ready."""
    front, metrics, port = free_port(), free_port(), free_port()
    with NameServer("replica", ADDRESSES) as names, contextlib.ExitStack() as running:
        variables = {
            "LISTEN": f"127.0.0.1:{front}",
            "METRICS": f"127.0.0.1:{metrics}",
            "SERVERS": f"replica:{port}",
            "DNS": f"127.0.0.1:{names.port}",
        }
        command = [find("haproxy"), "-db", "-f", str(CONFIG)]
        proxy = running.enter_context(Program(command, folder / "proxy.log", variables))
        stack = Stack(
            f"http://127.0.0.1:{front}",
            f"http://127.0.0.1:{metrics}",
            [],
            proxy,
            folder,
            port,
            postgres.new_database(),
        )
        running.callback(stack.stop)
        for place in range(len(ADDRESSES)):
            stack.start(place)
        for server in stack.servers:
            server.wait_ready()
        until(lambda: stack.asked() == len(ADDRESSES), "the proxy asks all servers")
        yield stack
