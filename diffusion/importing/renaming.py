"""Tensors of another project's network, put in the places of ours.

A project says, in a table, which of our tensors each of its own is; what is missing there, has no
place, or has another shape than our network needs is refused by its name in the file.
"""

from collections.abc import Callable, Mapping

from torch import Tensor

from diffusion.checkpoint import NOT_FINITE
from diffusion.importing.errors import ForeignError

Table = dict[str, tuple[str, ...]]
"""Their tensor -> ours: one, or those that theirs holds one after the other, such as q, k and v."""
Shapes = Mapping[str, tuple[int, ...]]
"""The shape of each tensor of our network, by its name."""
Split = Callable[[Tensor], tuple[Tensor, ...]]
Hint = Callable[[str], str]
"""What to look at when something is wrong with a tensor of theirs: a flag, as ` (--flag)`."""


def network_in(
    tensors: Mapping[str, Tensor], first: str, part: str | None = None
) -> dict[str, Tensor]:
    """Return the tensors of the network in a file that has one called `first`, and their names
    without what comes before that, such as `module.`.

    Where several networks are in the file, as the averaged weights beside the others, `part` says
    which, by what comes before. Raises ForeignError where none or several are left.
    """
    before = [name.removesuffix(first) for name in tensors if f".{name}".endswith(f".{first}")]
    if not before:
        raise ForeignError(f"tensor {first} is missing: not a network of this project")
    wanted = [prefix for prefix in before if part in (None, prefix.rstrip("."))]
    if len(wanted) != 1:
        known = ", ".join(repr(prefix.rstrip(".")) for prefix in before)
        said = "missing" if part is None else f"{part!r} is not allowed"
        raise ForeignError(f"--part: {said}; networks of the file are {known}")
    prefix = wanted[0]
    return {
        name.removeprefix(prefix): tensor
        for name, tensor in tensors.items()
        if name.startswith(prefix)
    }


def size(tensors: Mapping[str, Tensor], name: str, dim: int = 0) -> int:
    """Return the size of a tensor of theirs in a dimension. Raises ForeignError without it."""
    if name not in tensors:
        raise ForeignError(f"tensor {name} is missing: not a network of this project")
    if tensors[name].dim() <= dim:
        raise ForeignError(f"tensor {name} has {tensors[name].dim()} dimensions, too few")
    return tensors[name].shape[dim]


def layer(theirs: str, *ours: str) -> Table:
    """Make the lines of a table for the weight and the bias of a layer."""
    return {f"{theirs}.{part}": tuple(f"{o}.{part}" for o in ours) for part in ("weight", "bias")}


def layers(theirs: str, ours: str, names: Mapping[str, str], expected: Shapes) -> Table:
    """Make the lines for the layers of a block, of their names and ours; a layer that our block
    does not have has none."""
    table: Table = {}
    for their_name, our_name in names.items():
        if f"{ours}.{our_name}.weight" in expected:
            table |= layer(f"{theirs}.{their_name}", f"{ours}.{our_name}")
    return table


def rename(
    tensors: Mapping[str, Tensor],
    table: Table,
    expected: Shapes,
    hint: Hint,
    split: Split | None = None,
) -> dict[str, Tensor]:
    """Return the tensors of our network, whose shapes are expected, of those of theirs.

    Where ours is a matrix, theirs may be a convolution of size 1. `split` takes apart a tensor that
    stands for several of ours. Raises ForeignError, with the tensor and `hint`'s advice.
    """
    for name in table:
        if name not in tensors:
            raise ForeignError(f"tensor {name} is missing{hint(name)}")
    for name in tensors:
        if name not in table:
            raise ForeignError(f"tensor {name} has no place in the network{hint(name)}")
    made: dict[str, Tensor] = {}
    for theirs, ours in table.items():
        tensor = _fitted(theirs, tensors[theirs], [expected[name] for name in ours], hint)
        parts = split(tensor) if split is not None and len(ours) > 1 else (tensor,)
        made |= zip(ours, parts, strict=True)
    return made


def _fitted(name: str, tensor: Tensor, wanted: list[tuple[int, ...]], hint: Hint) -> Tensor:
    """The tensor as float32, in the shape of those wanted one after the other."""
    shape = (sum(first for first, *_ in wanted), *wanted[0][1:])
    found = tuple(tensor.shape)
    ones = len(found) - len(shape)
    if not tensor.is_floating_point() or found != (*shape, *(1,) * ones):
        raise ForeignError(
            f"tensor {name} has shape {found} of {tensor.dtype}, not {shape} of floating-point "
            f"numbers{hint(name)}"
        )
    made = tensor.reshape(shape).float()
    if not bool(made.isfinite().all()):
        raise ForeignError(f"tensor {name} {NOT_FINITE}")
    return made
