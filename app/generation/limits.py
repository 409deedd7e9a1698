"""What the server's limits allow of one request, before anything is computed."""

from collections.abc import Sequence

from app.generation.errors import AnswerTooLarge, InvalidField
from app.generation.pictures import Sent
from app.generation.schemas.fields import MAX_INTEGER
from app.generation.schemas.requests import SampleRequest
from app.settings import Settings
from app.wire.model_info import ModelInfo

SAMPLE_PARTS = 4
"""The part of all answers' memory that one sample of a job may take, as a fraction 1/x: it is there
several times while it is sent."""


def check_images(request: SampleRequest, limits: Settings, as_job: bool) -> None:
    """Raise InvalidField for more images than a request, or a job, may have, and for indices that
    not every JSON reader keeps exact."""
    limit = limits.max_job_samples if as_job else limits.max_samples
    if request.n > limit:
        what = "job" if as_job else "request"
        raise InvalidField("n", request.n, f"this server makes 1..{limit} images a {what}")
    if request.first_index + request.n - 1 > MAX_INTEGER:
        reason = f"the last index, first_index + n - 1, must be at most {MAX_INTEGER}"
        raise InvalidField("first_index", request.first_index, reason)


def check_cost(
    n: int, steps: int, limits: Settings, *, number: str = "n", length: str = "steps"
) -> None:
    """Raise InvalidField for what one client may never have in the queue. It names the field that
    tells the `number` of images, or what makes the `length` of a chain, if one is too long."""
    if steps > limits.most_steps:
        reason = f"for one client this server takes at most {limits.most_steps} steps"
        what = "" if length == "steps" else f"chains have {steps} steps then; "
        raise InvalidField(length, steps, what + reason)
    most = limits.most_samples(steps)
    if n > most:
        reason = f"in {steps} steps this server makes at most {most} images for one client"
        raise InvalidField(number, n, reason)


def check_pictures(sent: Sequence[Sent], field: str, limits: Settings) -> None:
    """Raise InvalidField, which names this field, for more pictures than a request may have."""
    if len(sent) > limits.max_samples:
        reason = f"this server takes 1..{limits.max_samples} pictures a request"
        raise InvalidField(field, len(sent), reason)


def check_response_size(
    n: int, model: ModelInfo, frames: int, limits: Settings, as_job: bool
) -> None:
    """Raise AnswerTooLarge for more than an answer, or a sample of a job, may have."""
    C, H, W = model.image_shape
    pictures = n * max(1, 2 * frames)
    size = pictures * C * H * W * 4  # float32, as the npz has them
    limit = limits.max_response_bytes
    if as_job:
        limit = min(limit, limits.answers_budget_bytes // SAMPLE_PARTS)
    if size > limit:
        what = "one sample of the job" if as_job else "the answer"
        raise AnswerTooLarge(
            f"{what} would take {size} bytes ({pictures} float32 pictures of {C}x{H}x{W}); "
            f"this server's limit is {limit}: ask for fewer {'' if as_job else 'images or '}frames",
        )
