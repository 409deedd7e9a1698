"""Do two running servers give the same bytes? Both are asked 40 requests; every image is compared.

    python -m app.cli serve --checkpoint mnist --port 9101    # in a checkout of the old version
    python -m app.cli serve --checkpoint mnist --port 9102    # in a checkout of the new one
    python -m benchmarks.same_bytes http://127.0.0.1:9101 http://127.0.0.1:9102

The requests use all samplers, labels and guidance, both paths and every representation, as far as
the model and the limits of both servers allow. Compared are the SHA-256 of each picture, of each
binary answer as a whole, and what JSON says besides its id and its timing. Bytes are promised for
the same weights, runtime, precision and kind of machine: servers of different weights are not
compared, and other differences are named.

An API key, if the servers want one, is read from DDPM_API_KEY. The exit status is 0 when all is the
same, 1 when anything differs or is refused, 2 when the servers cannot be compared.
"""

import argparse
import json
import os
import sys
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import httpx
from tqdm import tqdm

from benchmarks.load import Request
from benchmarks.same_bytes_requests import Content, make_requests, read_content
from benchmarks.tables import Cell, markdown

MODEL_FIELDS = (
    "name", "num_timesteps", "classes", "null_label", "sha256", "runtime", "precision", "device",
    "batch_invariant", "limits",
)  # fmt: skip
"""What is read of `GET /model`."""
MAX_NAMES = 3
"""How many differences a line of the table names."""


class Incomparable(Exception):
    """The two servers cannot be compared; the message says why and what to do."""


@dataclass(frozen=True)
class Outcome:
    """How the two answers to a request compare. `difference` is empty when they are the same."""

    request: Request
    pictures: int
    difference: str

    def row(self, number: int) -> tuple[Cell, ...]:
        """A line of the table."""
        fields = {name: value for name, value in self.request.body.items() if name != "seed"}
        words = (f"{name}={_short(value)}" for name, value in fields.items())
        text = f"{self.request.path} {' '.join(words)}"
        return number, text, self.request.accept, self.pictures, self.difference or "same"


def connect(url: str, timeout: float, transport: httpx.BaseTransport | None = None) -> httpx.Client:
    """A client of one server. Raises Incomparable for a URL that is not http:// or https://."""
    key = os.environ.get("DDPM_API_KEY")
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    if not url.startswith(("http://", "https://")):
        raise Incomparable(f"{url}: it must begin with http:// or https://")
    return httpx.Client(base_url=url, headers=headers, timeout=timeout, transport=transport)


def ask_model(server: httpx.Client) -> dict[str, Any]:
    """What `GET /model` says. Raises Incomparable when the server cannot be reached or says
    nothing of use."""
    try:
        answer = server.get("/model")
    except httpx.TransportError as error:
        reason = f"{server.base_url}: cannot be reached ({error or type(error).__name__})"
        raise Incomparable(f"{reason}; is a server running there?") from error
    if answer.status_code != 200:
        reason = f"GET /model: status {answer.status_code}: {_detail(answer)}"
        raise Incomparable(f"{server.base_url}: {reason}")
    try:
        model: dict[str, Any] = answer.json()
        missing = [name for name in MODEL_FIELDS if name not in model]
    except (ValueError, TypeError):
        missing = ["everything: it is no JSON object"]
    if missing:
        raise Incomparable(f"{server.base_url}: GET /model lacks {', '.join(missing)}")
    return model


def check_comparable(first: Mapping[str, Any], second: Mapping[str, Any]) -> list[str]:
    """What lets equal requests have other bytes, in words. Raises Incomparable for other
    weights."""
    if first["sha256"] != second["sha256"]:
        raise Incomparable(
            f"the servers have different weights: {first['name']} ({first['sha256'][:8]}) and "
            f"{second['name']} ({second['sha256'][:8]}); start both with the same --checkpoint"
        )
    return [
        f"they differ in {name} ({first[name]} and {second[name]}): bytes may differ"
        for name in ("runtime", "precision", "device")
        if first[name] != second[name]
    ] + [
        f"the {which} server is not batch-invariant: its bytes depend on what else it computes"
        for which, model in (("first", first), ("second", second))
        if not model["batch_invariant"]
    ]


def compare(request: Request, servers: Sequence[httpx.Client]) -> Outcome:
    """Ask both. Raises Incomparable when one is gone."""
    contents, troubles = [], []
    for server in servers:
        try:
            answer = server.post(
                request.path, json=request.body, headers={"Accept": request.accept}
            )
            if answer.status_code != 200:
                raise ValueError(f"status {answer.status_code}: {_detail(answer)}")
            contents.append(read_content(request.accept, answer.content))
        except httpx.TransportError as error:
            reason = f"{server.base_url}: no answer ({error or type(error).__name__})"
            raise Incomparable(reason) from error
        except (ValueError, KeyError, zipfile.BadZipFile) as error:
            troubles.append(f"{server.base_url}: {error}")
    if troubles:
        return Outcome(request, 0, "; ".join(troubles))
    return Outcome(request, len(contents[0].pictures), _difference(*contents))


def _difference(first: Content, second: Content) -> str:
    names = first.differences(second)
    if not names:
        return ""
    more = f" and {len(names) - MAX_NAMES} more" if len(names) > MAX_NAMES else ""
    return f"different: {', '.join(names[:MAX_NAMES])}{more}"


def _detail(answer: httpx.Response) -> str:
    try:
        return str(answer.json()["detail"])
    except (ValueError, KeyError, TypeError):
        return answer.reason_phrase


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 24 else f"[{len(value)} of them]"


def run(servers: Sequence[httpx.Client]) -> list[Outcome]:
    """Compare all requests, with tables on stdout and progress on stderr. Raises Incomparable."""
    models = [ask_model(server) for server in servers]
    columns = ("server", "model", "weights", "runtime", "precision", "device")
    print(markdown(columns, [
        (str(server.base_url), model["name"], model["sha256"][:8], model["runtime"],
         model["precision"], model["device"])
        for server, model in zip(servers, models, strict=True)
    ]))  # fmt: skip
    for warning in check_comparable(*models):
        print(f"\nNote: {warning}.")
    limits = {
        name: min(limit, models[1]["limits"].get(name, limit))
        for name, limit in models[0]["limits"].items()
    }
    requests = make_requests(models[0], limits)
    outcomes = [
        compare(request, servers)
        for request in tqdm(requests, desc="comparing", unit="request", file=sys.stderr)
    ]
    header = ("", "request", "representation", "pictures", "bytes")
    print("\n" + markdown(header, [o.row(i) for i, o in enumerate(outcomes, start=1)]))
    return outcomes


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the tables; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.same_bytes",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("first", metavar="URL", help="a running server")
    parser.add_argument("second", metavar="URL", help="another one, with the same checkpoint")
    parser.add_argument(
        "--timeout", type=float, default=600.0, help="seconds for one answer (%(default)g)"
    )
    args = parser.parse_args(arguments)
    try:
        with connect(args.first, args.timeout) as a, connect(args.second, args.timeout) as b:
            outcomes = run([a, b])
    except Incomparable as error:
        parser.exit(2, f"error: {error}\n")
    same = sum(not outcome.difference for outcome in outcomes)
    pictures = sum(outcome.pictures for outcome in outcomes)
    print(f"\n{same} of {len(outcomes)} answers are the same; {pictures} pictures were compared.")
    return int(same < len(outcomes))


if __name__ == "__main__":
    sys.exit(main())
