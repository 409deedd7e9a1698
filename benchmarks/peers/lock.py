"""What people write today: FastAPI, the pipeline, and a lock around it.

python -m benchmarks.peers.lock --checkpoint models/mnist --port 8001
"""

import argparse
import threading
from typing import Any, get_args

import torch
import uvicorn
from fastapi import FastAPI

from benchmarks.peers.pipeline import Body, Pipeline, pngs
from diffusion.config import Precision


def create_app(checkpoint: str, device: str, precision: Precision) -> FastAPI:
    """The service; its handlers run in FastAPI's threads, one at a time past the lock."""
    app = FastAPI()
    pipeline, lock = Pipeline(checkpoint, device, precision), threading.Lock()

    @app.get("/health")
    def health() -> str:
        return "ok"

    @app.post("/sample")
    def sample(body: Body) -> dict[str, Any]:
        with lock:
            (states,) = pipeline([body])
        return {"images": pngs(states[-1])}

    @app.post("/denoise-trajectory")
    def trajectory(body: Body) -> dict[str, Any]:
        with lock:
            (states,) = pipeline([body])
        shown = torch.linspace(0, len(states) - 1, body.frames).round().long()
        return {"frames": [pngs(states[position]) for position in shown]}

    return app


def main() -> None:
    """Serve until SIGTERM."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.peers.lock")
    parser.add_argument("--checkpoint", required=True)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--precision", choices=get_args(Precision), default="float32")
    parser.add_argument("--port", type=int, required=True)
    args = parser.parse_args()
    app = create_app(args.checkpoint, args.device, args.precision)
    uvicorn.run(app, port=args.port, log_level="warning")


if __name__ == "__main__":
    main()
