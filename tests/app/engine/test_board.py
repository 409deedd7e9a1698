"""The runner is a board: what the engine asks of it, it has."""

from app.engine.board import Board
from app.engine.runner import NetworkCall, Runner


def test_the_runner_has_all_that_a_board_has() -> None:
    board: type[Board[NetworkCall]] = Runner  # which the type checker compares
    asked = {name for name in vars(Board) if not name.startswith("_")}
    assert asked <= vars(board).keys()
