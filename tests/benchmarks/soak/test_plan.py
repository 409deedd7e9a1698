"""The times of a night."""

from benchmarks.soak.plan import Plan


def test_what_clients_ask_the_server_to_keep_has_expired_by_the_end() -> None:
    for minutes, expiry in ((1, 240), (30, 450), (60, 900), (600, 900)):
        plan = Plan(60.0 * minutes)
        assert plan.expiry == expiry
        assert plan.with_keys + plan.expiry <= plan.seconds


def test_the_end_is_calm() -> None:
    assert Plan(100.0).troubled == 60.0
