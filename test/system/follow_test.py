"""A follower: the leader's journal byte for byte, its own views, and no writes."""
import hashlib
import itertools
import shutil
import threading

from daybook_test import HOTEL, Server, Skip, Subscription, Tap, daybook, folder, request, wait_for

tap = Tap()


def append(server, count, **more):
    body = {"events": [{"type": "A", "data": {"n": n}, "stream": "s", **more} for n in range(count)]}
    answer = request(server, "POST", "/v1/append", body)
    assert answer.status == 201, answer
    return answer.json()["last"]


def reaches(server, position):
    wait_for(lambda: request(server, "GET", "/ready").json()["journal"]["position"] >= position,
             f"the follower reaches {position}", 40)


def everything(server):
    return request(server, "GET", "/v1/events", headers={"Accept": "application/x-ndjson"}).body


@tap.test
def a_follower_has_what_the_leader_has_and_says_who_it_is():
    with Server() as leader:
        append(leader, 10)
        with Server(follow=leader) as follower:
            reaches(follower, 10)
            last = append(leader, 5)
            reaches(follower, last)
            assert everything(follower) == everything(leader)
            answer = request(follower, "GET", "/v1/streams/s")
            assert answer.headers["Daybook-Role"] == "follower", dict(answer.headers)
            assert answer.headers["Daybook-Journal"] == request(leader, "GET", "/health").headers["Daybook-Journal"]
            ready = request(follower, "GET", "/ready").json()
            assert ready["status"] == "ready" and ready["follower"]["state"] == "following", ready
            assert b"daybook_follower_connected 1\n" in request(follower, "GET", "/metrics").body
            assert b"daybook_followers 1\n" in request(leader, "GET", "/metrics").body


@tap.test
def a_write_to_a_follower_is_sent_to_the_leader():
    with Server() as leader, Server(follow=leader) as follower:
        for path in ("/v1/append", "/v1/streams/s", "/v1/commands/BookRoom"):
            answer = request(follower, "POST", path, {"events": []})
            problem = answer.json()
            assert answer.status == 421 and problem["code"] == "not-leader" and problem["leader"] == leader.url, answer


@tap.test
def a_subscription_moves_between_leader_and_follower():
    with Server() as leader, Server(follow=leader) as follower:
        append(leader, 5)
        with Subscription(leader) as feed:
            assert [frame["data"]["position"] for frame in feed.events(5)] == [1, 2, 3, 4, 5]
            cursor = feed.last
        append(leader, 3)
        with Subscription(follower, last=cursor) as feed:
            assert [frame["data"]["position"] for frame in feed.events(3)] == [6, 7, 8]


@tap.test
def killed_followers_and_leaders_come_back_to_the_same_journal():
    with folder() as one, folder() as two:
        leader = Server(data=one).start()
        follower = Server(data=two, follow=leader).start()
        try:
            for round in range(4):
                last = append(leader, 20)
                (follower if round % 2 else leader).kill()
                (follower if round % 2 else leader).start()
                last = append(leader, 1)
                reaches(follower, last)
            assert everything(follower) == everything(leader)
            assert request(follower, "GET", "/v1/events?limit=1").json()["head"] == last
        finally:
            follower.kill()
            leader.kill()


@tap.test
def reads_go_on_while_the_leader_is_away_and_following_resumes():
    with folder() as one, folder() as two:
        leader = Server(data=one).start()
        follower = Server(data=two, follow=leader).start()
        try:
            reaches(follower, append(leader, 3))
            leader.kill()
            wait_for(lambda: not request(follower, "GET", "/ready").json()["follower"]["connected"], "the loss is noticed", 40)
            assert request(follower, "GET", "/ready").status == 200
            assert len(request(follower, "GET", "/v1/events").json()["events"]) == 3
            leader.start()
            reaches(follower, append(leader, 2))
            assert everything(follower) == everything(leader)
        finally:
            follower.kill()
            leader.kill()


@tap.test
def a_follower_of_another_journal_stops_following_and_goes_on_answering():
    with folder() as one:
        with Server() as leader, Server(data=one, follow=leader) as follower:
            reaches(follower, append(leader, 3))
        with Server() as other:
            append(other, 9)
            with Server(data=one, follow=other) as follower:
                state = wait_for(lambda: (lambda f: f["state"] == "parted" and f)(
                    request(follower, "GET", "/ready").json()["follower"]), "it has parted", 40)
                assert state["reason"], state
                assert request(follower, "GET", "/v1/events?limit=1").json()["head"] == 3
                says_that_it_parted(follower)


def says_that_it_parted(follower):
    ready = request(follower, "GET", "/ready")
    assert ready.status == 503 and ready.json()["status"] == "not-ready" and ready.json()["journal"]["reason"], ready
    assert ready.json()["follower"]["lag"] is None, ready
    for path in ("/v1/events", "/v1/streams/s", "/v1/views", "/health"):
        answer = request(follower, "GET", path)
        assert answer.status == 200 and answer.headers["Daybook-Parted"], (path, answer)
    figures = request(follower, "GET", "/metrics").body
    assert b'daybook_follower_state{state="parted"} 1\n' in figures and b"daybook_follower_lag " not in figures
    for path, accept in (("/v1/events", "text/event-stream"), ("/v1/log", "*/*")):
        answer = request(follower, "GET", path, headers={"Accept": accept})
        assert answer.status == 503 and answer.json()["code"] == "parted" and answer.headers["Retry-After"], answer


# Its leader is put back from an older copy while the follower runs, and writes something else then.
@tap.test
def a_follower_that_has_more_than_its_leader_says_so_and_ends_its_subscriptions():
    with folder() as data, folder() as kept, Server(data=data) as leader:
        append(leader, 2)
        leader.stop()
        shutil.copytree(data, kept, dirs_exist_ok=True)
        leader.start()
        with Server(follow=leader, options=["--limit", "heartbeat_ms=300"]) as follower:
            reaches(follower, append(leader, 3))
            assert "Daybook-Parted" not in request(follower, "GET", "/v1/events").headers
            with Subscription(follower) as feed:
                assert len(feed.events(5)) == 5
                leader.kill()
                shutil.rmtree(data)
                shutil.copytree(kept, data)
                leader.start()
                wait_for(lambda: request(follower, "GET", "/ready").json()["follower"]["state"] == "parted", "it has parted", 40)
                says_that_it_parted(follower)
                try:
                    while feed.next():
                        pass
                except EOFError:
                    pass


@tap.test
def a_follower_whose_token_is_refused_is_stalled_and_not_ready_until_it_is_let_in():
    with folder() as data:
        tokens = data / "tokens"
        good = hashlib.sha256(b"right").hexdigest()
        other = hashlib.sha256(b"other").hexdigest()
        tokens.write_text(f"sha256:{good}\n")
        leader = Server(options=["--token-file", str(tokens)])
        follower = Server(follow=leader)
        follower.environment["DAYBOOK_TOKEN"] = "right"
        with leader, follower:
            wait_for(lambda: request(follower, "GET", "/ready").status == 200, "it follows", 40)
            leader.kill()
            tokens.write_text(f"sha256:{other}\n")
            leader.start()
            ready = wait_for(lambda: (lambda r: r.status == 503 and r)(request(follower, "GET", "/ready")), "it says so", 40)
            assert ready.json()["follower"]["state"] == "stalled" and "token" in ready.json()["journal"]["reason"], ready
            answer = request(follower, "GET", "/v1/events")
            assert answer.status == 200 and "Daybook-Parted" not in answer.headers, answer  # late, but true
            tokens.write_text(f"sha256:{other}\nsha256:{good}\n")
            wait_for(lambda: request(follower, "GET", "/ready").status == 200, "it follows again", 40)


@tap.test
def a_followers_views_wait_for_what_the_leader_has_written():
    if not (HOTEL / "app.so").exists():
        raise Skip("the hotel is not built")
    with Server(app=HOTEL) as leader, Server(app=HOTEL, follow=leader) as follower:
        for number in range(5):
            position = request(leader, "POST", "/v1/commands/AddRooms",
                               {"hotel": "H", "room_type": str(number), "rooms": 1}).position
            answer = request(follower, "GET", f"/v1/views/availability?min_position={position}", headers={"Prefer": "wait=10"})
            assert answer.status == 200 and answer.position >= position, answer


@tap.test
def one_follower_too_many_is_told_to_come_back():
    with Server(options=["--limit", "follower_count_max=0"]) as leader:
        answer = request(leader, "GET", "/v1/log")
        assert answer.status == 429 and answer.json()["code"] == "too-many-followers", answer


tap.main()
