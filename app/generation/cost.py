"""What an answer takes of memory at its peak, in bytes, from its plan alone.

Each function bounds what its namesake in `encoding` holds at once: the gathered arrays, what the
library that encodes holds besides, and the body. Noise hardly compresses, so bodies count as if
nothing did.
"""

import math

from app.generation.plan import Plan

REQUEST_BYTES = 64 << 10
"""What a request takes before it has a picture: its task, its connection's buffers, a block."""
SAMPLE_BYTES = 400
"""What a sample takes besides its pictures: its index and label, its place in the queue's sets, and
in a job its size, its checksums, and its entry in an archive."""
EVENT_BYTES = 300
"""What a frame takes besides its pictures: its place in the set of those that have come."""
PNG_BYTES = 200
"""Bytes of a PNG beside its pixels, and a filter byte a row, for images of our sizes."""
ENTRY_BYTES = 250
"""A sample's or frame's own text in JSON, and its part of a zip's directory."""
START_COPIES = 3
"""Times that a start's pictures are in memory while engines are told of them, or request.json is
made."""
WEBP_PIXEL_BYTES = 40
"""Memory of libwebp for each pixel of a frame, measured: argb, hash chains, references."""
PALETTE_PIXEL_BYTES = 40
"""Memory of Pillow for each pixel of a picture in colours while it finds 256 of them, measured."""


def plan_bytes(n: int) -> int:
    """A request for `n` samples, without pictures."""
    return REQUEST_BYTES + n * SAMPLE_BYTES


def pictures(sent: str | list[str], shape: tuple[int, int, int]) -> int:
    """Pictures that a client sends, decoded to the model's."""
    return (1 if isinstance(sent, str) else len(sent)) * math.prod(shape)


def stream(plan: Plan, waiting: int, batch: int) -> int:
    """A trajectory as events: `waiting` bytes may wait for the reader, and two steps of up to
    `batch` samples are on their way when the engine is told to pause."""
    frame = 2 * 4 * _pixels(plan) + EVENT_BYTES
    late = 2 * min(_n(plan), batch) * frame
    return _base(plan) + min(_n(plan) * _frames(plan) * frame, waiting + late)


def bound_json(plan: Plan) -> int:
    """Terms of the bound as JSON: as they came, and as text."""
    term = 2 * 4 * _pixels(plan) + EVENT_BYTES + 2 * _base64(_png(plan)) + ENTRY_BYTES
    return _base(plan) + _n(plan) * term


def bound_npz(plan: Plan) -> int:
    """Terms of the bound in an npz: as they came."""
    return _base(plan) + _n(plan) * (2 * 4 * _pixels(plan) + EVENT_BYTES + 3 * 8)


def bound_stream(plan: Plan, waiting: int, batch: int) -> int:
    """Terms of the bound as events; those that were sent are kept without their pictures."""
    term = 2 * 4 * _pixels(plan) + EVENT_BYTES
    late = 2 * min(_n(plan), batch) * term
    return _base(plan) + _n(plan) * EVENT_BYTES + min(_n(plan) * term, waiting + late)


def sample_json(plan: Plan) -> int:
    """The images as JSON."""
    return _base(plan) + _n(plan) * (_pixels(plan) + _base64(_png(plan)) + ENTRY_BYTES)


def scaled_json(plan: Plan, scale: int) -> int:
    """The images as JSON, each pixel repeated; one of them is there as pixels, PNG and text."""
    C, H, W = plan.image_shape
    picture = _deflated(H * scale, W * C * scale)
    one = _pixels(plan) * scale**2 + picture + _base64(picture)
    body = _n(plan) * (_base64(picture) + ENTRY_BYTES)
    return _base(plan) + _n(plan) * _pixels(plan) + body + 2 * one


def sample_png(plan: Plan) -> int:
    """The images as a grid."""
    cells = _cells(_n(plan))
    return _base(plan) + _n(plan) * _pixels(plan) + _picture(plan, *cells)


def sample_zip(plan: Plan) -> int:
    """The images in a zip."""
    return _base(plan) + _n(plan) * (_pixels(plan) + _png(plan) + 2 * ENTRY_BYTES)


def sample_npz(plan: Plan) -> int:
    """The images in an npz, which is sent from the arrays themselves."""
    return _base(plan) + _n(plan) * _pixels(plan)


def trajectory_json(plan: Plan) -> int:
    """The trajectories as JSON; one of them is in memory three times while it becomes text."""
    pictures = 2 * _frames(plan)
    text = pictures * (_base64(_png(plan)) + ENTRY_BYTES)
    return _base(plan) + _n(plan) * (pictures * _pixels(plan) + text) + 3 * text


def trajectory_npz(plan: Plan) -> int:
    """The trajectories in an npz, which is sent from the arrays themselves."""
    return _base(plan) + _n(plan) * _frames(plan) * 2 * 4 * _pixels(plan)


def encode_json(plan: Plan) -> int:
    """The last states as JSON: as an array, as a file, as base64 and as text."""
    size = _n(plan) * 4 * _pixels(plan)
    return _base(plan) + 2 * size + 3 * _base64(size)


def encode_npz(plan: Plan) -> int:
    """The last states in an npz, which is sent from a copy of the array."""
    return _base(plan) + 2 * _n(plan) * 4 * _pixels(plan)


def film_strip(plan: Plan) -> int:
    """The trajectories as one picture."""
    return _base(plan) + _states(plan) + _picture(plan, _n(plan), _frames(plan))


def trajectory_gif(plan: Plan) -> int:
    """The trajectories as a GIF: Pillow holds a byte a pixel of every frame, LZW may grow by half,
    and a frame has a palette."""
    grid = _grid_pixels(plan)
    frames = _frames(plan) * (grid + grid * 3 // 2 + 4096)
    working = grid * (3 if plan.image_shape[0] == 1 else PALETTE_PIXEL_BYTES)
    return _base(plan) + _states(plan) + frames + working


def trajectory_apng(plan: Plan) -> int:
    """The trajectories as an animated PNG: Pillow holds every frame."""
    rows, columns = _cells(_n(plan))
    C, H, W = plan.image_shape
    grid = _grid_pixels(plan)
    body = _deflated(rows * H, columns * W * C)
    frames = _frames(plan) * (_picture_pixels(plan, grid) + body + 1024)
    # It compares two frames at a time, as RGBA.
    return _base(plan) + _states(plan) + frames + 6 * 4 * grid


def trajectory_webp(plan: Plan) -> int:
    """The trajectories as a WebP: every frame waits, and the body is there three times."""
    C, grid = plan.image_shape[0], _grid_pixels(plan)
    waiting = _frames(plan) * (grid + _picture_pixels(plan, grid))
    body = _frames(plan) * (grid * C * 9 // 8 + 1024)
    return _base(plan) + _states(plan) + waiting + 3 * body + WEBP_PIXEL_BYTES * grid


def _n(plan: Plan) -> int:
    return len(plan.submit.indices)


def _frames(plan: Plan) -> int:
    return len(plan.shown_times)


def _pixels(plan: Plan) -> int:
    """Bytes of an image's pixels."""
    return math.prod(plan.image_shape)


def _base(plan: Plan) -> int:
    start = plan.submit.start
    begun = 0 if start is None else START_COPIES * start.size
    return plan_bytes(_n(plan)) + _n(plan) * _frames(plan) * EVENT_BYTES + begun


def _states(plan: Plan) -> int:
    """x_t of every frame, as pixels."""
    return _n(plan) * _frames(plan) * _pixels(plan)


def _cells(n: int) -> tuple[int, int]:
    """Rows and columns of `pixels.tile`."""
    columns = math.ceil(math.sqrt(n))
    return math.ceil(n / columns), columns


def _grid_pixels(plan: Plan) -> int:
    rows, columns = _cells(_n(plan))
    return rows * columns * _pixels(plan) // plan.image_shape[0]


def _picture(plan: Plan, rows: int, columns: int) -> int:
    """A picture of so many tiles: its array, Pillow's copy, and its PNG."""
    C, H, W = plan.image_shape
    area = rows * H * columns * W
    return area * C + _picture_pixels(plan, area) + _deflated(rows * H, columns * W * C)


def _picture_pixels(plan: Plan, area: int) -> int:
    """Bytes of a picture of `area` pixels in Pillow, which has four for RGB."""
    return area if plan.image_shape[0] == 1 else 4 * area


def _png(plan: Plan) -> int:
    C, H, W = plan.image_shape
    return _deflated(H, W * C)


def _deflated(rows: int, row_bytes: int) -> int:
    """Bytes of a PNG, at most: its rows, each with a filter byte, that do not compress."""
    raw = rows * (1 + row_bytes)
    return raw + raw // 256 + PNG_BYTES


def _base64(size: int) -> int:
    return 4 * math.ceil(size / 3)
