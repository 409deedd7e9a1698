"""A Ray cluster of several logical machines, with the application on it.

`python -m tests.app.cluster.nodes FOLDER PORT ENGINE… -- SETTING=VALUE…` has a head with the server
and a machine for each engine, a module with its first arguments. Each line that it reads ends a
machine at once, with all that runs there, and lets another one join; the end of the input stops it.
"""

import os
import sys
from pathlib import Path
from typing import Any

from app.cluster.driver import ray_variables

ENGINE_CPUS = 2
"""More than the head has, so that engines are elsewhere."""


def main() -> None:
    """Run until told to stop."""
    end = sys.argv.index("--")
    folder, port, engine = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3:end]
    settings = dict(argument.split("=", 1) for argument in sys.argv[end + 1 :])
    (folder / "ray").mkdir()
    os.environ.update(ray_variables(folder), RAY_TMPDIR=str(folder))
    import ray
    from ray import serve
    from ray.cluster_utils import Cluster

    from app.cluster.deployments import with_engines

    head = {"num_cpus": 1, "object_store_memory": 150 << 20, "include_dashboard": False}
    cluster: Any = Cluster(initialize_head=True, head_node_args=head)
    machine = {"num_cpus": ENGINE_CPUS, "object_store_memory": 100 << 20}
    machines = [cluster.add_node(**machine) for _ in range(int(settings["cluster_engines"]))]
    ray.init(address=cluster.address, log_to_driver=False)
    serve.start(proxy_location="HeadOnly", http_options={"host": "127.0.0.1", "port": port})
    command = [sys.executable, "-m", *engine]
    serve.run(
        with_engines({**settings, "cluster_engine_cpus": str(ENGINE_CPUS)}, command), name="ddpm"
    )
    say("deployed")
    for _ in sys.stdin:
        cluster.remove_node(machines.pop(0), allow_graceful=False)
        say("killed")
        machines.append(cluster.add_node(**machine))
    serve.shutdown()
    ray.shutdown()
    cluster.shutdown()


def say(word: str) -> None:
    """Tell the test."""
    sys.stdout.write(f"{word}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
