"""Subscriptions: catch up, then live; nothing lost or repeated, whatever happens to either side."""
import itertools
import random
import shutil
import socket
import threading

from daybook_test import Server, Subscription, Tap, daybook, folder, request, wait_for

tap = Tap()


def append(server, *types, **more):
    body = {"events": [{"type": type, "data": {}, **more} for type in types]}
    answer = request(server, "POST", "/v1/append", body)
    assert answer.status == 201, answer
    return answer.json()


def positions(frames):
    return [frame["data"]["position"] for frame in frames]


@tap.test
def a_subscription_catches_up_says_so_and_goes_on_live():
    with Server() as server:
        append(server, "A", "B", "C")
        with Subscription(server) as feed:
            assert feed.answer.status == 200 and feed.answer.headers["Content-Type"] == "text/event-stream"
            assert feed.answer.headers["Cache-Control"] == "no-store" and feed.answer.headers["X-Accel-Buffering"] == "no"
            frames = feed.events(3)
            assert positions(frames) == [1, 2, 3] and feed.retry == 1000
            assert all(frame["event"] is None for frame in frames), frames
            journal = request(server, "GET", "/ready").json()["journal"]["id"]
            assert [frame["id"] for frame in frames] == [f"{journal}-{n}" for n in (1, 2, 3)]
            caught_up = feed.next()
            assert caught_up["event"] == "daybook.caught-up" and caught_up["data"]["position"] == 3, caught_up
            append(server, "D")
            assert positions(feed.events(1)) == [4]


@tap.test
def it_resumes_behind_the_last_id_whatever_after_says():
    with Server() as server:
        append(server, *"ABCDE")
        with Subscription(server, "/v1/events?after=3") as feed:
            assert positions(feed.events(2)) == [4, 5]
            cursor = feed.last
        with Subscription(server, "/v1/events?after=0", last=cursor.rsplit("-", 1)[0] + "-4") as feed:
            assert positions(feed.events(1)) == [5]
        with Subscription(server, f"/v1/events?after={cursor}") as feed:
            append(server, "F")
            assert positions(feed.events(1)) == [6]
        answer = request(server, "GET", "/v1/events", headers={"Accept": "text/event-stream", "Last-Event-ID": "nonsense"})
        assert answer.status == 400 and answer.json()["code"] == "cursor-invalid", answer


@tap.test
def a_prefix_of_stream_names_filters_what_is_there_and_what_comes():
    with Server() as server:
        for stream in ("room-1", "guest-1", "room-2", "rooms"):
            append(server, "A", stream=stream)
        append(server, "A")  # in no stream
        for path, found in (("/v1/events?prefix=room-", [1, 3]), ("/v1/events?prefix=room", [1, 3, 4]),
                            ("/v1/events?prefix=room-&type=B", []), ("/v1/events?prefix=x", [])):
            assert [event["position"] for event in request(server, "GET", path).json()["events"]] == found, path
            lines = request(server, "GET", path, headers={"Accept": "application/x-ndjson"}).body.splitlines()
            assert len(lines) == len(found), path
        backward = request(server, "GET", "/v1/events?prefix=room-&direction=backward").json()
        assert [event["position"] for event in backward["events"]] == [3, 1], backward
        query = {"items": [{"types": ["A"]}]}
        page = request(server, "POST", "/v1/events/query?prefix=guest", query).json()
        assert [event["position"] for event in page["events"]] == [2], page
        with Subscription(server, "/v1/events?prefix=room-&type=A") as feed:
            assert positions(feed.events(2)) == [1, 3]
            assert feed.next()["event"] == "daybook.caught-up"
            append(server, "A", stream="guest-2")
            append(server, "B", stream="room-1")
            append(server, "A", stream="room-3")
            assert positions(feed.events(1)) == [8]
        for bad in ("", "a/b", "%01", "x" * 257):
            answer = request(server, "GET", f"/v1/events?prefix={bad}")
            assert answer.status == 400 and answer.json()["violations"][0]["pointer"] == "?prefix", (bad, answer)
        assert request(server, "GET", "/v1/events?prefix=.").status == 200


@tap.test
def it_has_no_end_and_says_so_to_those_who_ask_for_one():
    with Server() as server:
        for path, name in (("/v1/events?limit=5", "limit"), ("/v1/events?before=5", "before"),
                           ("/v1/events?direction=backward", "direction"), ("/v1/streams/s?to=5", "to")):
            answer = request(server, "GET", path, headers={"Accept": "text/event-stream"})
            assert answer.status == 400 and answer.json()["violations"][0]["pointer"] == f"?{name}", answer


@tap.test
def a_cursor_of_another_journal_gets_a_reset_and_everything_from_the_start():
    with Server() as server:
        append(server, "A", "B")
        with Subscription(server, last="0" * 32 + "-77") as feed:
            reset = feed.next()
            assert reset["event"] == "daybook.reset" and reset["data"]["position"] == 0, reset
            assert positions(feed.events(2)) == [1, 2]


@tap.test
def a_cursor_beyond_the_head_of_a_follower_waits():
    with Server() as server, Server(follow=server) as follower:
        append(server, "A")
        wait_for(lambda: request(follower, "GET", "/ready").json()["journal"]["position"] == 1, "it is copied", 40)
        assert request(follower, "GET", "/v1/events?after=3").json()["events"] == []
        with Subscription(follower, "/v1/events?after=3") as feed:
            assert feed.next()["event"] == "daybook.caught-up"
            append(server, "B", "C", "D")
            assert positions(feed.events(1)) == [4]


# A leader gave out every position there was: a cursor beyond its head is from before something was lost (P3).
@tap.test
def a_cursor_beyond_the_head_of_a_leader_gets_a_reset_and_nothing_is_skipped():
    with folder() as kept, folder() as data:
        with Server(data=data) as server:
            append(server, "A", stream="s")
        shutil.copytree(data, kept, dirs_exist_ok=True)
        with Server(data=data) as server:
            append(server, "B", "C", stream="s")
            with Subscription(server) as feed:
                cursor = feed.events(3)[-1]["id"]
        shutil.rmtree(data)
        shutil.copytree(kept, data)
        with Server(data=data) as server:
            for path in ("/v1/events", "/v1/streams/s", "/v1/events?type=A,D,E"):
                for last, where in ((cursor, path), (None, path + ("&" if "?" in path else "?") + "after=3")):
                    with Subscription(server, where, last=last) as feed:
                        reset = feed.next()
                        assert reset["event"] == "daybook.reset" and reset["data"]["position"] == 0, reset
                        assert positions(feed.events(1)) == [1]
            append(server, "D", "E", "F", stream="s")
            with Subscription(server, last=cursor) as feed:  # nothing can be known any more: it is a position again
                assert feed.next()["data"]["position"] == 4


@tap.test
def what_was_read_beyond_the_head_guards_nothing():
    with Server() as server:
        append(server, "A", stream="s")
        body = {"events": [{"type": "B", "data": {}}]}
        for condition in ({"after": 2}, {"after": 2, "failIfEventsMatch": {"items": [{"types": ["Z"]}]}},
                          {"after": 2**53, "failIfEventsMatch": {"items": [{"tags": ["z"]}]}}):
            condition = {"failIfEventsMatch": {"items": []}, **condition}
            answer = request(server, "POST", "/v1/append", {**body, "condition": condition})
            assert answer.status == 409 and answer.json()["code"] == "append-condition-failed", answer
            assert answer.json()["conflicts"] == [{"after": condition["after"], "head": 1}], answer
            dcb = request(server, "POST", "/dcb/append", {**body, "condition": condition})
            assert dcb.status == 200 and dcb.json()["appendConditionFailed"] is True, dcb
        condition = {"failIfEventsMatch": {"items": []}, "after": 1}
        both = [{**body, "condition": condition}, {**body, "condition": {**condition, "after": 2}},
                {**body, "condition": {**condition, "after": 9}}]  # each sees the one before it
        results = request(server, "POST", "/v1/append", {"appends": both}).json()["results"]
        assert [result["status"] for result in results] == [201, 201, 409], results
        answer = request(server, "POST", "/v1/streams/s", {"type": "B", "data": {}}, {"If-Match": '"7"'})
        assert answer.status == 412 and answer.headers["ETag"] == '"1"', answer


@tap.test
def every_route_that_takes_a_position_refuses_one_beyond_the_head():
    with Server() as server:
        append(server, "A", stream="s")
        journal = request(server, "GET", "/health").headers["Daybook-Journal"]
        asked = [("GET", "/v1/events?after=2"), ("GET", f"/v1/events?after={journal}-2"), ("GET", f"/v1/events?before={journal}-2"),
                 ("GET", "/v1/log?after=2"), ("GET", "/dcb/read?options=%7B%22from%22%3A3%7D"),
                 ("POST", "/v1/events/query?after=2"), ("POST", "/v1/groups/g")]
        for method, path in asked:
            body = {"after": 2} if "groups" in path else {"items": []} if method == "POST" else None
            for accept in ("application/json", "application/x-ndjson"):
                answer = request(server, method, path, body, {"Accept": accept} if "events" in path else {})
                assert answer.status == 409 and answer.json()["code"] == "beyond-head", (path, answer)
        assert request(server, "GET", "/v1/events?before=99&direction=backward").json()["after"] == 1
        assert request(server, "GET", "/dcb/read?options=%7B%22from%22%3A2%7D").json() == []
        assert request(server, "POST", "/v1/groups/g", {"after": 1}).status == 201
        code, out, err = daybook("read", "--after", 9, url=server.url)
        assert code == 1 and "beyond" in err, (code, out, err)


@tap.test
def an_export_after_a_position_that_is_lost_is_refused_and_leaves_no_file():
    with Server() as server, folder() as work:
        append(server, "A")
        for place in ((), (work / "events",)):
            code, out, err = daybook("export", "--after", 9, *place, url=server.url)
            assert code == 1 and out == "" and "beyond the head" in err, (code, out, err)
        assert not (work / "events").exists()
        code, out, err = daybook("export", "--after", 1, url=server.url)
        assert (code, out, err) == (0, "", ""), (code, out, err)


@tap.test
def what_a_page_of_a_stream_cannot_follow_is_refused():
    with Server() as server:
        append(server, "A", "B", stream="s")
        for accept in ("application/json", "application/x-ndjson"):
            answer = request(server, "GET", "/v1/streams/s?after=1", headers={"Accept": accept})
            assert answer.status == 400 and answer.json()["violations"][0]["pointer"] == "?after", answer
        with Subscription(server, "/v1/streams/s?after=1") as feed:
            assert positions(feed.events(1)) == [2]


@tap.test
def filters_choose_and_checkpoints_tell_of_the_rest():
    with Server(options=["--limit", "checkpoint_count=10,heartbeat_ms=300"]) as server:
        append(server, "A", "B", tags=["t:1"])
        with Subscription(server, "/v1/events?type=B&tag=t:1&named=1") as feed:
            first = feed.next()
            assert first["event"] == "B" and first["data"]["position"] == 2, first
            assert feed.next()["event"] == "daybook.caught-up"
            append(server, *["A"] * 12)
            checkpoint = feed.next()
            while checkpoint["event"] == "comment":
                checkpoint = feed.next()
            assert checkpoint["event"] == "daybook.checkpoint" and checkpoint["data"]["position"] >= 12, checkpoint
            append(server, "B", tags=["t:2"])
            append(server, "B", tags=["t:1"])
            assert positions(feed.events(1)) == [16]


@tap.test
def a_stream_can_be_subscribed_to_before_it_exists():
    with Server() as server:
        append(server, "X")
        with Subscription(server, "/v1/streams/later") as feed:
            assert feed.next()["event"] == "daybook.caught-up"
            request(server, "POST", "/v1/streams/other", {"type": "A", "data": 1})
            request(server, "POST", "/v1/streams/later", {"type": "B", "data": 1})
            frame = feed.events(1)[0]
            assert frame["data"]["stream"] == "later" and frame["data"]["version"] == 1, frame
        with Subscription(server, "/v1/streams/later?from=2") as feed:
            request(server, "POST", "/v1/streams/later", [{"type": "C", "data": 1}, {"type": "D", "data": 1}])
            assert [frame["data"]["version"] for frame in feed.events(2)] == [2, 3]


@tap.test
def silence_is_broken_by_heartbeats():
    with Server(options=["--limit", "heartbeat_ms=200"]) as server:
        with Subscription(server) as feed:
            assert feed.next()["event"] == "daybook.caught-up"
            for _ in range(3):
                assert feed.next()["event"] == "comment"


@tap.test
def a_slow_subscriber_loses_nothing_when_the_row_has_moved_on():
    with Server(options=["--limit", "subscription_buffer_size_max=20000"]) as server:
        with Subscription(server) as feed:
            assert feed.next()["event"] == "daybook.caught-up"
            for _ in range(20):
                append(server, *["A"] * 100)
            assert positions(feed.events(2000)) == list(range(1, 2001))


@tap.test
def a_subscriber_that_takes_nothing_is_cut_and_the_others_go_on():
    with Server(options=["--limit", "write_ms_max=500"]) as server:
        lazy = socket.socket()
        lazy.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        lazy.connect(("127.0.0.1", server.port))
        lazy.sendall(b"GET /v1/events HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\n\r\n")
        with Subscription(server) as feed:
            for number in range(1, 31):
                request(server, "POST", "/v1/append", {"events": [{"type": "A", "data": "x" * 300000}]})
                assert positions(feed.events(1)) == [number]
            wait_for(lambda: b"daybook_subscribers 1\n" in request(server, "GET", "/metrics").body, "the lazy one is cut")
            append(server, "B")
            assert positions(feed.events(1)) == [31]
        lazy.close()


@tap.test
def who_leaves_is_forgotten_at_once():
    with Server() as server:
        feeds = [Subscription(server) for _ in range(20)]
        wait_for(lambda: b"daybook_subscribers 20\n" in request(server, "GET", "/metrics").body, "all are there")
        for feed in feeds:
            feed.close()
        wait_for(lambda: b"daybook_subscribers 0\n" in request(server, "GET", "/metrics").body, "all are gone")


@tap.test
def one_subscription_too_many_is_told_to_come_back():
    with Server(options=["--limit", "subscription_count_max=2"]) as server:
        with Subscription(server), Subscription(server):
            answer = request(server, "GET", "/v1/events", headers={"Accept": "text/event-stream"})
            assert answer.status == 429 and answer.json()["code"] == "too-many-subscriptions", answer
            assert int(answer.headers["Retry-After"]) > 0
        wait_for(lambda: b"daybook_subscribers 0\n" in request(server, "GET", "/metrics").body, "both are gone")
        with Subscription(server) as feed:
            assert feed.answer.status == 200


@tap.test
def two_hundred_subscribers_get_every_event_in_order():
    with Server() as server:
        feeds = [Subscription(server) for _ in range(200)]
        for _ in range(10):
            append(server, *"ABCDE")
        for feed in feeds:
            assert positions(feed.events(50)) == list(range(1, 51))
            feed.close()


@tap.test
def old_clients_and_mere_questions_about_a_subscription_do_no_harm():
    with Server() as server:
        append(server, "A", "B")
        head = request(server, "HEAD", "/v1/events", headers={"Accept": "text/event-stream"})
        assert head.status == 200 and head.headers["Content-Type"] == "text/event-stream" and head.body == b"", head
        old = socket.create_connection(("127.0.0.1", server.port), timeout=15)
        old.sendall(b"GET /v1/events HTTP/1.0\r\nHost: localhost\r\nAccept: text/event-stream\r\n\r\n")
        received = b""
        while b"daybook.caught-up" not in received:
            piece = old.recv(65536)
            assert piece, received
            received += piece
        assert received.count(b"data: {") == 3 and b"chunked" not in received, received
        old.close()
        wait_for(lambda: b"daybook_subscribers 0\n" in request(server, "GET", "/metrics").body, "nobody is left")


@tap.test
def sigterm_ends_subscriptions_cleanly():
    with Server() as server:
        with Subscription(server) as feed:
            assert feed.next()["event"] == "daybook.caught-up"
            assert server.stop() == 0
            try:
                feed.next()
                raise AssertionError("the subscription should have ended")
            except EOFError:
                pass


@tap.test
def nothing_acknowledged_is_lost_or_repeated_over_kills():
    chance = random.Random(3)
    with folder() as place:
        server = Server(data=place).start()
        stop, acknowledged, seen = threading.Event(), [], []

        def write():
            for number in itertools.count(1):
                while not stop.is_set():
                    try:  # the same id again is the same event
                        event = {"type": "N", "data": {"n": number}, "id": f"00000000-0000-4000-8000-{number:012x}"}
                        if request(server, "POST", "/v1/append", {"events": [event]}, timeout=5).status == 201:
                            acknowledged.append(number)
                            break
                    except OSError:
                        stop.wait(0.01)
                if stop.is_set():
                    return

        def read():
            last = None
            while True:
                try:
                    with Subscription(server, last=last, timeout=5) as feed:
                        while True:
                            frame = feed.next()
                            last = feed.last
                            if frame["event"] is None:
                                seen.append((frame["data"]["position"], frame["data"]["data"]["n"]))
                except (OSError, EOFError, ValueError, AssertionError):
                    pass
                except Exception:  # http.client's many ways to say that the other side is gone
                    pass
                if stop.is_set() and len(seen) >= len(acknowledged):
                    return
                stop.wait(0.01)

        threads = [threading.Thread(target=write), threading.Thread(target=read, daemon=True)]
        for thread in threads:
            thread.start()
        for _ in range(6):
            target = len(acknowledged) + chance.randrange(20, 60)
            wait_for(lambda: len(acknowledged) >= target, "events are acknowledged", 60)
            server.kill()
            server.start()
        stop.set()
        threads[0].join()
        wait_for(lambda: len(seen) >= len(acknowledged), "the subscriber has seen all", 60)
        server.kill()
        threads[1].join(15)
        assert [position for position, _ in seen] == list(range(1, len(seen) + 1)), "a position was lost or repeated"
        assert [number for _, number in seen][:len(acknowledged)] == acknowledged, "an event was lost or reordered"
        print(f"# {len(seen)} events over 6 kills")


tap.main()
