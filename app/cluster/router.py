"""How Ray Serve finds the replica that a call is for; and how the server learns which there are."""

import asyncio

from ray.serve.request_router import PendingRequest, ReplicaID, RequestRouter, RunningReplica

AGAIN_SECONDS = 0.1
"""How often to look for a replica that is not there."""


class ByName(RequestRouter):  # type: ignore[misc]  # Ray's types are not read
    """Gives each call to the replica that it names in its argument `replica`; where that is empty,
    to any. A call that names one that is gone waits until its caller gives it up."""

    queue_len_response_deadline_s = 2.0  # 0.1 s by default: a busy replica is no reason to warn

    async def choose_replicas(
        self,
        candidate_replicas: list[RunningReplica],
        pending_request: PendingRequest | None = None,
    ) -> list[list[RunningReplica]]:
        """As RequestRouter says."""
        asked = "" if pending_request is None else pending_request.kwargs.get("replica", "")
        found = [each for each in candidate_replicas if asked in ("", name_of(each))]
        if not found:  # Ray asks again at once, and would do nothing else
            await asyncio.sleep(AGAIN_SECONDS)
        return [found]

    def on_replica_actor_died(self, replica_id: ReplicaID) -> None:
        """As RequestRouter says; the controller tells of it seconds later."""
        super().on_replica_actor_died(replica_id)
        from app.cluster.roster import REPLICAS

        REPLICAS.note(REPLICAS.now - {replica_id.unique_id})

    def update_replicas(self, replicas: list[RunningReplica]) -> None:
        """As RequestRouter says."""
        super().update_replicas(replicas)
        # Ray copies this class by its value: what it means by a name must be looked up here.
        from app.cluster.roster import REPLICAS
        from app.cluster.router import name_of

        REPLICAS.note(frozenset(map(name_of, replicas)))


def name_of(replica: RunningReplica) -> str:
    """What calls name a replica by."""
    return str(replica.replica_id.unique_id)
