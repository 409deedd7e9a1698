"""LitServe with dynamic batching around the pipeline, as its documentation shows.

python -m benchmarks.peers.batching --checkpoint models/mnist --port 8001 --max-batch 8
"""

import argparse
from collections import defaultdict
from typing import Any, get_args

import litserve

from benchmarks.peers.pipeline import Body, Pipeline, pngs
from diffusion.config import Precision

BATCH_SECONDS = 0.05
"""How long it waits for a batch to fill."""
TIMEOUT_SECONDS = 600
"""LitServe's default of 30 would answer an overload with errors instead of late."""


class SampleAPI(litserve.LitAPI):  # type: ignore[misc]  # LitServe may not be installed
    """One pipeline in one worker process."""

    def __init__(self, checkpoint: str, precision: Precision, max_batch: int) -> None:
        super().__init__(max_batch_size=max_batch, batch_timeout=BATCH_SECONDS, api_path="/sample")
        self.checkpoint, self.precision = checkpoint, precision

    def setup(self, device: str) -> None:
        self.pipeline = Pipeline(self.checkpoint, device, self.precision)

    def decode_request(self, request: dict[str, Any]) -> Body:
        return Body(**request)

    def predict(self, bodies: list[Body]) -> list[dict[str, Any]]:
        """Requests of equal steps are one batch of images; LitServe counts requests."""
        alike: dict[int, list[int]] = defaultdict(list)
        for place, body in enumerate(bodies):
            alike[body.steps].append(place)
        answers: dict[int, dict[str, Any]] = {}
        for places in alike.values():
            batches = self.pipeline([bodies[place] for place in places])
            for place, states in zip(places, batches, strict=True):
                answers[place] = {"images": pngs(states[-1])}
        return [answers[place] for place in range(len(bodies))]


def main() -> None:
    """Serve until SIGTERM."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.peers.batching")
    parser.add_argument("--checkpoint", required=True)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--precision", choices=get_args(Precision), default="float32")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--max-batch", type=int, required=True)
    args = parser.parse_args()
    api = SampleAPI(args.checkpoint, args.precision, args.max_batch)
    server = litserve.LitServer(api, accelerator=args.device, timeout=TIMEOUT_SECONDS)
    server.run(host="127.0.0.1", port=args.port, generate_client_file=False, log_level="warning")


if __name__ == "__main__":
    main()
