"""API keys: what their file may say, and that nothing shows a key."""

import hashlib
import os
from pathlib import Path

import pytest

from app.door.api_keys import BadKeysFile, digest, make_table, plain_key, read_file

KEY = "alice's long secret key"
HASH = hashlib.sha256(KEY.encode()).hexdigest()
OTHER = "0" * 64


def read(tmp_path: Path, text: str | bytes) -> list[object]:
    """What is read from a file with this text."""
    path = tmp_path / "keys.toml"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return list(read_file(str(path)))


def table(name: str = "alice", sha256: str = HASH, more: str = "") -> str:
    return f'[[keys]]\nname = "{name}"\nkey_sha256 = "{sha256}"\n{more}\n'


def test_a_key_is_kept_as_its_hash_whichever_of_the_two_the_file_has(tmp_path: Path) -> None:
    (hashed,) = read(tmp_path, table())
    (given,) = read(tmp_path, f'[[keys]]\nname = "alice"\nkey = "{KEY}"\n')
    assert hashed == given
    assert KEY not in repr(given) and digest(KEY) in repr(given)


def test_a_key_has_the_limits_of_its_table_and_no_others(tmp_path: Path) -> None:
    more = "admin = true\nrate = 60\nsamples = 5\nsteps = 50\njobs = 2\nbytes = 1000"
    limited, plain = read_file(str(_file(tmp_path, table(more=more) + table("bob", OTHER))))
    assert (limited.admin, limited.rate, limited.samples, limited.steps) == (True, 60, 5, 50)
    assert (limited.jobs, limited.bytes) == (2, 1000)
    assert (plain.admin, plain.rate, plain.bytes) == (False, None, None)


def _file(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "keys.toml"
    path.write_text(text)
    return path


def test_two_keys_of_one_name_are_one_client_while_one_replaces_the_other(tmp_path: Path) -> None:
    assert len(read(tmp_path, table() + table(sha256=OTHER))) == 2
    with pytest.raises(BadKeysFile, match="the keys of alice differ in their limits or in admin"):
        read(tmp_path, table() + table(sha256=OTHER, more="rate = 1"))


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", r"it must have one table \[\[keys\]\] or more, and nothing else"),
        ("keys = 5", r"one table \[\[keys\]\]"),
        ("keys = []", r"one table \[\[keys\]\]"),
        ("keys = [5]", "keys.1: "),
        (table() + "[other]", r"one table \[\[keys\]\]"),
        ("[[keys]]", "keys.1.name: Field required"),
        (table(name="a b"), "keys.1.name: it must be 1..40 letters"),
        (table(name="x" * 41), "keys.1.name: it must be 1..40 letters"),
        (table(name=r"a\n"), "keys.1.name: it must be 1..40 letters"),
        (table(sha256=HASH.upper()), "keys.1.key_sha256: it must be the SHA-256"),
        (table(more=f'key = "{KEY}"'), "keys.1: it has key and key_sha256"),
        ('[[keys]]\nname = "a"\nkey = "guessable"', "keys.1: every key must have at least 16"),
        ('[[keys]]\nname = "a"\nkey = "a key with an é in it"', "keys.1: .* printable ASCII"),
        ('[[keys]]\nname = "a"\nkey = " of outer spaces "', "keys.1: .* without outer spaces"),
        ("keys = " + 9999 * "[", "nested too deeply"),
        ('[[keys]]\nname = "a"\nkey = 1234567890123456', "keys.1: key must be text of at least 16"),
        (table(more="rate = 0"), "keys.1.rate: Input should be greater than or equal to 1"),
        (table(more="rate = 1.5"), "keys.1.rate: "),
        (table(more='admin = "yes"'), "keys.1.admin: "),
        (table(more="limit = 5"), "keys.1.limit: Extra inputs are not permitted"),
        (table() + table(name="bob"), "a key is in it twice"),
        ("[[keys", "not TOML: "),
        (b"\xff", "not TOML: "),
    ],
)
def test_a_file_that_says_something_else_is_refused(
    tmp_path: Path, text: str | bytes, reason: str
) -> None:
    with pytest.raises(BadKeysFile, match=reason) as error:
        read(tmp_path, text)
    assert KEY not in str(error.value) and "guessable" not in str(error.value)


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadKeysFile, match="No such file or directory"):
        read_file(str(tmp_path / "keys.toml"))


def test_a_file_that_would_be_read_for_ever_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "huge").write_bytes(bytes(2 << 20))
    for path, reason in (
        (tmp_path / "pipe", "not a regular file"),
        (Path("/dev/zero"), "not a regular file"),
        (tmp_path, "Is a directory"),
        (tmp_path / "huge", "it has 2097152 bytes"),
    ):
        with pytest.raises(BadKeysFile, match=reason):
            read_file(str(path))


def test_a_key_without_a_name_is_called_by_its_hash() -> None:
    assert plain_key(KEY).name == HASH[:12]


@pytest.mark.parametrize("admin", [True, False])
def test_a_new_key_is_random_and_its_table_can_be_read(tmp_path: Path, admin: bool) -> None:
    key, text = make_table("alice", admin=admin)
    (found,) = read_file(str(_file(tmp_path, text)))
    assert (found.name, found.key_sha256, found.admin) == ("alice", digest(key), admin)
    assert key not in text and len(key) > 40
    assert key != make_table("alice")[0]
