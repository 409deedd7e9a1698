"""What requests that are made of pictures have in common."""

from pydantic import Field

from app.generation.schemas.fields import Labels, ModelName, RequestBody


class PicturesRequest(RequestBody):
    """How the pictures of a request are read, and by which model."""

    labels: Labels | None = Field(
        None,
        description="Class-conditional checkpoints only: one label for all pictures, or one each.",
    )
    resize: bool = Field(
        False, description="Scale pictures of other sizes, and cut them in the middle."
    )
    model: ModelName = None
