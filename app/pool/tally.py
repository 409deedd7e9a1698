"""How much is left to do, counted as jobs come and go: to look costs the same however many there
are."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from app.wire.messages import Submit


class Counting(Protocol):
    """What counts jobs and their unfinished samples."""

    def join(self, submit: Submit, samples: int) -> None:
        """Count a job of which so many samples are not finished."""

    def finish(self, submit: Submit, samples: int) -> None:
        """So many more samples of a job that is counted are finished."""

    def leave(self, submit: Submit, samples: int) -> None:
        """Count a job no more, of which so many samples are not finished."""


@dataclass(eq=False)
class Tally:
    """What is left to do of some jobs: samples, denoising steps at most, and network rows at most
    by the key of their model. Also their number, for each client that pays for them. `on_change` is
    called when that changes; `on_client` with a client that has its first job here, and 1, or had
    its last one, and -1."""

    samples: int = 0
    steps: int = 0
    rows: Counter[str] = field(default_factory=Counter)
    clients: Counter[str] = field(default_factory=Counter)
    on_change: Callable[[], None] = lambda: None
    on_client: Callable[[str, int], None] = lambda _client, _more: None

    def join(self, submit: Submit, samples: int) -> None:
        """As `Counting` says."""
        self.clients[submit.client] += 1
        if self.clients[submit.client] == 1:
            self.on_client(submit.client, 1)
        self._add(submit, samples)

    def finish(self, submit: Submit, samples: int) -> None:
        """As `Counting` says."""
        self._add(submit, -samples)

    def leave(self, submit: Submit, samples: int) -> None:
        """As `Counting` says."""
        self.clients[submit.client] -= 1
        if not self.clients[submit.client]:
            del self.clients[submit.client]
            self.on_client(submit.client, -1)
        self._add(submit, -samples)

    def _add(self, submit: Submit, samples: int) -> None:
        self.samples += samples
        self.steps += samples * submit.steps
        self.rows[submit.model] += samples * submit.chain_rows
        if not self.rows[submit.model]:
            del self.rows[submit.model]
        self.on_change()


class Share:
    """What is left to do for one request of a client, counted as the client's."""

    def __init__(self, client: str, clients: dict[str, Tally]) -> None:
        self.client = client
        self._clients = clients

    def join(self, submit: Submit, samples: int) -> None:
        """As `Counting` says."""
        self._clients.setdefault(self.client, Tally()).join(submit, samples)

    def finish(self, submit: Submit, samples: int) -> None:
        """As `Counting` says."""
        self._clients[self.client].finish(submit, samples)

    def leave(self, submit: Submit, samples: int) -> None:
        """As `Counting` says."""
        own = self._clients[self.client]
        own.leave(submit, samples)
        if not own.clients:
            del self._clients[self.client]


class Queue:
    """What is left to do for everybody, and for each client that has a job. A job that several
    clients wait for is everybody's once, and each one's."""

    def __init__(self) -> None:
        self.everybody = Tally()
        self._clients: dict[str, Tally] = {}

    @property
    def num_clients(self) -> int:
        """Clients that have a job."""
        return len(self._clients)

    def of(self, client: str) -> Tally:
        """What is left to do for a client."""
        return self._clients.get(client) or Tally()

    def share(self, client: str) -> Share:
        """What counts a job as this client's."""
        return Share(client, self._clients)
