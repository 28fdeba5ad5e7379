#!/usr/bin/env python3
"""With retries and without (docs/breaking-by-hand.md): a retry heals a fault that passes, the breaker ends those that stay.

One test for each cell of that page's table.
"""
import sys
import time

from harness import site, test, together

FIVE = "window=10s min_calls=5 consecutive=5 failure_rate=off open=60s open_max=60s jitter=0%"
NEVER = "window=10s consecutive=off failure_rate=off"      # only counts: what would be without a breaker
RETRY = "proxy_next_upstream error timeout http_500; proxy_next_upstream_tries 2; proxy_read_timeout 1s;"
NO_RETRY = "proxy_next_upstream off; proxy_read_timeout 1s;"
CALLS = 20


def pair(scene, breaker, retries, modes=("ok", "ok"), peers=""):
    """A service of two servers behind a breaker, asked in turn."""
    one, two = scene.upstream("one", modes[0]), scene.upstream("two", modes[1])
    upstream = f"""upstream service {{
        server 127.0.0.1:{one.port} max_fails=0; server 127.0.0.1:{two.port} max_fails=0; {peers}
    }}"""
    n = scene.nginx(site(breaker, f"location / {{ breaker_use b; {retries} proxy_pass http://service; }}", upstreams=upstream),
                    workers=1)
    return n, one, two


def statuses(n, count=CALLS):
    return [n.get("/").status for _ in range(count)]


def loses_one(u):
    """A connection is closed without an answer, once."""
    u.decide = lambda method, path, headers: "close" if u.count() == 0 else "ok"


# ---- one lost connection ----

@test
def a_lost_connection_is_healed_by_a_retry_alone(scene):
    n, one, two = pair(scene, NEVER, RETRY)
    loses_one(one)
    assert statuses(n) == [200] * CALLS and one.count() + two.count() == CALLS + 1


@test
def a_lost_connection_is_an_error_that_the_breaker_alone_counts(scene):
    n, one, two = pair(scene, FIVE, NO_RETRY)
    loses_one(one)
    assert sorted(statuses(n)) == [200] * (CALLS - 1) + [502]
    b = n.breaker("b")
    assert b["calls"]["failure"] == 1 and b["state"] == "closed", b


@test
def a_lost_connection_is_healed_and_not_counted_with_both(scene):
    n, one, two = pair(scene, FIVE, RETRY)
    loses_one(one)
    assert statuses(n) == [200] * CALLS
    assert n.breaker("b")["calls"] == {**n.breaker("b")["calls"], "ok": CALLS, "failure": 0}, n.breaker("b")


# ---- one of two servers dead ----

@test
def with_one_server_dead_retries_alone_pay_twice_for_every_second_call(scene):
    n, one, two = pair(scene, NEVER, RETRY, modes=("500", "ok"))
    assert statuses(n) == [200] * CALLS
    assert one.count() == CALLS / 2 and two.count() == CALLS, (one.count(), two.count())


@test
def with_one_server_dead_its_own_breaker_leaves_it_out(scene):
    n, one, two = pair(scene, FIVE, NO_RETRY, modes=("500", "ok"), peers="breaker_peers b;")
    seen = statuses(n)
    assert seen.count(500) == 5 and seen[10:] == [200] * (CALLS - 10), seen
    assert one.count() == 5


@test
def with_one_server_dead_both_leave_it_out_and_heal_the_first_calls(scene):
    n, one, two = pair(scene, FIVE, RETRY, modes=("500", "ok"), peers="breaker_peers b;")
    assert statuses(n) == [200] * CALLS
    assert one.count() == 5 and two.count() == CALLS, (one.count(), two.count())


# ---- the whole service dead ----

@test
def with_the_service_dead_retries_alone_are_twice_the_load(scene):
    n, one, two = pair(scene, NEVER, RETRY, modes=("500", "500"))
    assert statuses(n) == [500] * CALLS and one.count() + two.count() == 2 * CALLS


@test
def with_the_service_dead_the_breaker_alone_ends_it_after_five_calls(scene):
    n, one, two = pair(scene, FIVE, NO_RETRY, modes=("500", "500"))
    assert statuses(n) == [500] * 5 + [503] * (CALLS - 5) and one.count() + two.count() == 5


@test
def with_the_service_dead_both_end_it_after_five_calls_that_were_tried_twice(scene):
    n, one, two = pair(scene, FIVE, RETRY, modes=("500", "500"))
    assert statuses(n) == [500] * 5 + [503] * (CALLS - 5) and one.count() + two.count() == 10


@test
def a_retry_budget_leaves_a_dead_service_almost_alone(scene):
    n, one, two = pair(scene, NEVER + " retry_budget=10%", RETRY, modes=("500", "500"))
    assert set(statuses(n, 100)) == {500}           # also when there is no retry left: the service's own answer
    assert one.count() + two.count() <= 100 + 10 + 20, one.count() + two.count()     # 10 %, and one a second that is always there


# ---- the service hangs: five callers at a time, twice ----

def waits(scene, breaker, retries):
    """The shortest wait of five callers at once, and how often the service was asked for them and for the five after them."""
    n, one, two = pair(scene, breaker, retries, modes=("hang", "hang"))

    def call():
        began = time.monotonic()
        n.get("/")
        return time.monotonic() - began

    first = min(together(5, call))
    asked = one.count() + two.count()
    together(5, call)
    return first, asked, one.count() + two.count() - asked


@test
def with_the_service_hanging_retries_alone_make_every_caller_wait_twice(scene):
    first, asked, asked_later = waits(scene, NEVER, RETRY)
    assert first >= 1.9 and (asked, asked_later) == (10, 10), (first, asked, asked_later)


@test
def with_the_service_hanging_the_breaker_alone_makes_five_callers_wait_once(scene):
    first, asked, asked_later = waits(scene, FIVE, NO_RETRY)
    assert first >= 0.9 and (asked, asked_later) == (5, 0), (first, asked, asked_later)


@test
def with_the_service_hanging_both_make_five_callers_wait_twice(scene):
    first, asked, asked_later = waits(scene, FIVE, RETRY)
    assert first >= 1.9 and (asked, asked_later) == (10, 0), (first, asked, asked_later)


if __name__ == "__main__":
    sys.exit(test.run())
