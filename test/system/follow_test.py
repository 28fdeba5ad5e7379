"""A follower: the leader's journal byte for byte, its own views, and no writes."""
import itertools
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
