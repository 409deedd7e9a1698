"""The samples of a job that one turn makes."""

import dataclasses
from collections import defaultdict
from collections.abc import Sequence
from uuid import uuid4

from app.generation.collect import image
from app.generation.plan import Plan
from app.jobs.leases import Kept
from app.jobs.result_store import ResultStore, encode_image, encode_trajectory
from app.jobs.tables import Job
from app.wire.messages import Finished, Frame


class Chunk:
    """Some samples of a job while they are made, by number. A finished one becomes a file at once;
    `kept` are those whose files are whole and that the database does not know of yet."""

    def __init__(
        self, job: Job, plan: Plan, model: str, numbers: Sequence[int], results: ResultStore
    ) -> None:
        """`model` is what engines call the version that makes them."""
        self.job = job
        self.kept: list[Kept] = []
        self._plan = plan
        self._results = results
        # (x_t, x0_hat) of unfinished samples, by index and position
        self._frames: defaultdict[int, dict[int, tuple[bytes, bytes]]] = defaultdict(dict)
        self.submit = dataclasses.replace(
            plan.submit.only(numbers), id=uuid4().hex, model=model, made_by=job.made_by
        )

    def show(self, frame: Frame) -> None:
        """Hold a frame until its sample is finished."""
        self._frames[frame.index][frame.position] = (frame.x_t, frame.x_0_hat)

    def keep(self, finished: Finished) -> None:
        """Write the file of a finished sample; blocks. Raises StorageUnavailable or StorageFull."""
        index, submit = finished.index, self._plan.submit
        if submit.shown:
            last = {submit.steps: (finished.x_0, finished.x_0)}
            encoded = encode_trajectory(self._plan, self._frames.pop(index, {}) | last)
        else:
            encoded = encode_image(image(self._plan, finished.x_0))
        content, first_crc, second_crc = encoded
        self._results.write(self.job.id, index, content)
        number = index - submit.indices[0]
        self.kept.append(Kept(number, len(content), first_crc, second_crc))
