"""What a process has of memory, and gives back."""

from app.engine.memory import free_memory, memory_in_use

MIB = 1 << 20


def test_what_is_let_go_of_is_given_back_to_the_system() -> None:
    free_memory()
    before = memory_in_use()
    # Pieces too small to be mapped by themselves: without being asked, glibc keeps them
    held = [bytearray(b"1" * 1000) for _ in range(64 * MIB // 1000)]
    taken = memory_in_use() - before
    assert taken > 60 * MIB
    del held
    free_memory()
    assert memory_in_use() - before < taken / 2
