"""The contract: every route, every kind of answer, as API documents promise it."""
import base64
import json
import shutil
import socket
import subprocess
import urllib.parse
import uuid

from daybook_test import HOTEL, Server, Skip, Subscription, Tap, daybook, folder, raw, request, wait_for

tap = Tap()


def append(server, *events, **more):
    return request(server, "POST", "/v1/append", {"events": list(events), **more})


def event(type, data=None, **more):
    return {"type": type, "data": {} if data is None else data, **more}


def is_problem(answer, status, code):
    assert answer.status == status, (status, code, answer)
    assert answer.headers["Content-Type"] == "application/problem+json", dict(answer.headers)
    problem = answer.json()
    assert problem["status"] == status and problem["code"] == code, problem
    assert problem["type"].endswith(":" + code) and problem["title"] and problem["instance"].startswith("/"), problem
    return problem


# ---- every answer ----

@tap.test
def every_answer_names_journal_role_and_position():
    with Server() as server:
        journal = request(server, "GET", "/ready").json()["journal"]["id"]
        append(server, event("A"))
        for method, path in [("GET", "/health"), ("GET", "/v1/events"), ("GET", "/nothing"), ("DELETE", "/v1/events"),
                             ("POST", "/v1/append"), ("GET", "/metrics"), ("GET", "/openapi.json")]:
            headers = request(server, method, path).headers
            assert headers["Daybook-Journal"] == journal, (path, headers)
            assert headers["Daybook-Role"] == "leader" and headers["Daybook-Position"] == "1", (path, headers)
            assert headers["X-Content-Type-Options"] == "nosniff"


@tap.test
def unknown_paths_and_methods_are_told_apart():
    with Server() as server:
        is_problem(request(server, "GET", "/v1/nothing"), 404, "not-found")
        answer = request(server, "DELETE", "/v1/streams/a")
        is_problem(answer, 405, "method-not-allowed")
        assert answer.headers["Allow"] == "GET, HEAD, POST, OPTIONS", dict(answer.headers)
        assert request(server, "OPTIONS", "/v1/events").status == 204
        head = request(server, "HEAD", "/v1/events")
        assert head.status == 200 and head.body == b"", head


@tap.test
def a_write_needs_json_and_every_request_a_known_host():
    with Server() as server:
        body = json.dumps({"events": [event("A")]})
        for type in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data"):
            is_problem(request(server, "POST", "/v1/append", body, {"Content-Type": type}), 415, "json-needed")
        is_problem(request(server, "POST", "/v1/append", body, {"Host": "evil.example"}), 421, "unknown-host")
        is_problem(request(server, "GET", "/v1/events", headers={"Host": "evil.example"}), 421, "unknown-host")
        assert request(server, "GET", "/health", headers={"Host": "probe.example"}).status == 200
        assert request(server, "GET", "/v1/events").json()["head"] == 0
    with Server(options=["--host", "hotel.example,other.example"]) as server:
        for host in ("hotel.example", "other.example:8080", "localhost", "127.0.0.1", "[::1]:80"):
            assert request(server, "GET", "/v1/events", headers={"Host": host}).status == 200, host


# ---- appending ----

@tap.test
def an_append_answers_its_positions_and_versions():
    with Server() as server:
        answer = append(server, event("A", stream="s"), event("B", stream="s"), event("C"))
        assert answer.status == 201 and answer.position == 3, answer
        assert answer.json() == {"first": 1, "last": 3, "replayed": False, "streams": {"s": 2}}, answer


@tap.test
def what_is_wrong_with_an_append_is_said_at_once_and_nothing_is_stored():
    with Server() as server:
        body = {"events": [event(""), event("A", tags=["", "x" * 257]), {"type": "B", "data": 1, "what": 1},
                           event("$secret")]}
        problem = is_problem(request(server, "POST", "/v1/append", body), 422, "invalid")
        pointers = [violation["pointer"] for violation in problem["violations"]]
        for pointer in ("/events/0/type", "/events/1/tags/0", "/events/1/tags/1", "/events/2/what", "/events/3/type"):
            assert pointer in pointers, (pointer, pointers)
        is_problem(append(server), 422, "invalid")
        for text in ('{"events":[', '{"events":[],"events":[]}', "[" * 65 + "]" * 65, "", "{} {}"):
            is_problem(request(server, "POST", "/v1/append", text), 400, "malformed")
        assert request(server, "GET", "/v1/events").json()["events"] == []


@tap.test
def versions_and_conditions_are_checked_and_every_conflict_is_told():
    with Server() as server:
        append(server, event("A", stream="a", tags=["t:1"]), event("B", stream="b"))
        problem = is_problem(append(server, event("C"), streams={"a": 5, "b": "none", "c": "exists"}), 409,
                             "append-condition-failed")
        assert {"stream": "a", "expected": 5, "actual": 1} in problem["conflicts"], problem
        assert {"stream": "b", "expected": "none", "actual": 1} in problem["conflicts"], problem
        assert {"stream": "c", "expected": "exists", "actual": 0} in problem["conflicts"], problem
        condition = {"failIfEventsMatch": {"items": [{"types": ["Z"]}, {"tags": ["t:1"]}]}}
        problem = is_problem(append(server, event("C"), condition=condition), 409, "append-condition-failed")
        assert problem["conflicts"] == [{"item": 1, "position": 1}], problem
        assert append(server, event("C"), condition={**condition, "after": 2}).status == 201
        assert append(server, event("C"), streams={"a": 1, "b": "exists", "c": "none", "d": "any"}).status == 201
        assert append(server, event("C"), condition={"failIfEventsMatch": {"items": [{}]}}).status == 422


@tap.test
def event_ids_make_an_append_safe_to_repeat():
    with Server() as server:
        one, two = str(uuid.uuid4()), str(uuid.uuid4())
        events = [event("A", {"n": 1}, id=one), event("B", {"n": 2}, id=two)]
        first = append(server, *events)
        again = append(server, *events)
        assert again.status == 201 and again.json() == {**first.json(), "replayed": True}, again
        is_problem(append(server, event("A", {"n": 9}, id=one)), 422, "event-id-reused")
        is_problem(append(server, events[0], event("C", id=str(uuid.uuid4()))), 422, "event-id-reused")
        assert request(server, "GET", "/v1/events").json()["head"] == 2


@tap.test
def several_appends_share_a_request_and_each_has_its_own_answer():
    with Server() as server:
        answer = request(server, "POST", "/v1/append", {"appends": [
            {"events": [event("A", stream="s")], "streams": {"s": "none"}},
            {"events": [event("B", stream="s")], "streams": {"s": "none"}},
            {"events": [event("C", stream="s")], "streams": {"s": 1}},
            {"events": [event("")]}]})
        results = answer.json()["results"]
        assert answer.status == 200 and [result["status"] for result in results] == [201, 409, 201, 422], results
        assert results[2]["first"] == 2 and results[1]["code"] == "append-condition-failed", results


@tap.test
def a_stream_takes_an_event_or_many_under_preconditions():
    with Server() as server:
        answer = request(server, "POST", "/v1/streams/a%20b", event("A"), {"If-None-Match": "*"})
        assert answer.status == 201 and answer.headers["ETag"] == '"1"', (answer, dict(answer.headers))
        answer = request(server, "POST", "/v1/streams/a%20b", [event("B"), event("C")], {"If-Match": 'W/"1"'})
        assert answer.status == 201 and answer.headers["ETag"] == '"3"', answer
        assert request(server, "POST", "/v1/streams/a%20b", event("D"), {"If-Match": "*"}).status == 201
        for headers in ({"If-Match": '"1"'}, {"If-None-Match": "*"}):
            answer = request(server, "POST", "/v1/streams/a%20b", event("E"), headers)
            is_problem(answer, 412, "precondition-failed")
            assert answer.headers["ETag"] == '"4"', dict(answer.headers)
        is_problem(request(server, "POST", "/v1/streams/new", event("E"), {"If-Match": "*"}), 412, "precondition-failed")
        for headers in ({"If-Match": "7"}, {"If-Match": '"x"'}, {"If-None-Match": '"1"'},
                        {"If-Match": "*", "If-None-Match": "*"}):
            is_problem(request(server, "POST", "/v1/streams/a", event("E"), headers), 400, "precondition-invalid")
        for path, body, pointer in (("/v1/streams/$own", event("E"), ""), ("/v1/streams/$own", [event("E")], "/0"),
                                    ("/v1/append", {"events": [event("E", id="1" * 32, stream="x")]}, "/events/0/id")):
            problem = is_problem(request(server, "POST", path, body), 422, "invalid")
            assert [violation["pointer"] for violation in problem["violations"]] == [pointer], problem
        is_problem(request(server, "POST", "/v1/streams/a%2Fb", event("E")), 422, "invalid")


@tap.test
def data_is_kept_as_it_was_sent():
    with Server() as server:
        number = "12345678901234567890.000000000000000000001"
        request(server, "POST", "/v1/streams/s", ('{"type":"A","data":{"z": %s, "a" : "\\u00e9 é"}}' % number).encode())
        assert ('"data":{"z":%s,"a":"\\u00e9 é"}' % number).encode() in request(server, "GET", "/v1/streams/s").body
        raw_bytes = bytes(range(256))
        request(server, "POST", "/v1/streams/b", {"type": "B", "data_base64": base64.b64encode(raw_bytes).decode(),
                                                  "content_type": "image/png"})
        found = request(server, "GET", "/v1/streams/b").json()["events"][0]
        assert base64.b64decode(found["data_base64"]) == raw_bytes and found["content_type"] == "image/png", found


@tap.test
def a_traceparent_is_kept_with_the_events():
    with Server() as server:
        trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
        request(server, "POST", "/v1/streams/s", event("A"), {"traceparent": trace})
        request(server, "POST", "/v1/streams/s", event("B"), {"traceparent": 'rubbish","x":"'})
        events = request(server, "GET", "/v1/streams/s").json()["events"]
        assert events[0]["meta"]["traceparent"] == trace and "traceparent" not in events[1].get("meta", {}), events


# ---- reading ----

@tap.test
def a_stream_is_read_in_pages_that_never_change_once_full():
    with Server() as server:
        request(server, "POST", "/v1/streams/s", [event("A", {"n": n}) for n in range(25)])
        seen, path = [], "/v1/streams/s?limit=10"
        for expected in (10, 10, 5):
            answer = request(server, "GET", path)
            page = answer.json()
            seen += [found["version"] for found in page["events"]]
            assert len(page["events"]) == expected and answer.headers["ETag"] == '"25"', page
            if expected == 10:
                assert set(page) == {"events"} and "immutable" in answer.headers["Cache-Control"], page
                path = answer.headers["Link"].split(">")[0][1:]
                assert answer.headers["Link"].endswith('rel="next"')
            else:
                assert page["version"] == 25 and page["head"] == 25 and "Link" not in answer.headers, page
        assert seen == list(range(1, 26)), seen
        again = request(server, "GET", "/v1/streams/s", headers={"If-None-Match": '"25"'})
        assert again.status == 304 and again.body == b"", again
        backward = request(server, "GET", "/v1/streams/s?direction=backward&limit=3").json()["events"]
        assert [found["version"] for found in backward] == [25, 24, 23], backward
        last = request(server, "GET", "/v1/streams/s?direction=backward&limit=25")
        assert len(last.json()["events"]) == 25 and "Link" not in last.headers, last.headers
        lines = request(server, "GET", "/v1/streams/s?limit=1", headers={"Accept": "application/x-ndjson"})
        assert lines.headers["Vary"] == "Accept" and lines.headers["Cache-Control"] == "no-cache", lines.headers
        middle = request(server, "GET", "/v1/streams/s?from=5&to=7").json()["events"]
        assert [found["version"] for found in middle] == [5, 6, 7], middle
        assert request(server, "GET", "/v1/streams/s?from=99").json() == {"events": [], "version": 25, "head": 25}
        assert request(server, "GET", "/v1/streams/s?from=7&to=5").json()["events"] == []
        is_problem(request(server, "GET", "/v1/streams/nobody"), 404, "no-such-stream")


@tap.test
def a_page_read_before_shows_what_came_since():
    paths = ["/v1/streams/s", "/v1/streams/s?from=2", "/v1/streams/s?direction=backward", "/v1/streams/s?limit=2", "/v1/events",
             "/v1/events?tag=t", "/v1/events?type=A", "/v1/events?type=A&limit=1", "/v1/events?tag=t&direction=backward",
             "/v1/events?tag=t&after=1", "/v1/events?type=B", "/v1/events?system=1", "/v1/events?prefix=s",
             "/v1/events?tag=t&type=A"]

    def hits(server):
        return float(next(line.split()[1] for line in request(server, "GET", "/metrics").body.decode().splitlines()
                          if line.startswith("daybook_page_cache_hits_total ")))

    with Server() as kept, Server(options=["--limit", "page_cache_size_max=0"]) as plain:
        for more in (event("A", stream="s", tags=["t"]), event("B", stream="other"), event("A", stream="s"),
                     event("C", stream="x", tags=["t"]), event("B", stream="s", tags=["t", "u"]), event("D")):
            for server in (kept, plain):
                append(server, {**more, "id": str(uuid.uuid5(uuid.NAMESPACE_URL, json.dumps(more)))})
            for path in paths * 2:
                one, other = (request(server, "GET", path) for server in (kept, plain))
                assert one.status == other.status, (path, one, other)
                if one.status == 200:
                    pages = [{**answer.json(), "events": [{**e, "time": ""} for e in answer.json()["events"]]}
                             for answer in (one, other)]
                    assert pages[0] == pages[1], (path, pages)
        assert hits(kept) > 60 and hits(plain) == 0, hits(kept)
        body = {"items": [{"types": ["A"]}]}
        assert len(request(kept, "POST", "/v1/events/query", body).json()["events"]) == 2
        body = {"items": [{"types": ["B"]}]}
        assert [e["type"] for e in request(kept, "POST", "/v1/events/query", body).json()["events"]] == ["B", "B"]


@tap.test
def the_journal_is_read_filtered_and_says_where_to_go_on():
    with Server() as server:
        append(server, *[event("ABC"[n % 3], {"n": n}, tags=[f"t:{n % 2}", f"u:{n % 5}"]) for n in range(30)])

        def read(query):
            return request(server, "GET", "/v1/events" + query).json()

        assert [found["type"] for found in read("?type=A,B&limit=4")["events"]] == ["A", "B", "A", "B"]
        both = [found["data"]["n"] for found in read("?tag=t:0&tag=u:0")["events"]]
        assert both == [0, 10, 20], both
        page = read("?type=C&limit=2")
        assert page["more"] and page["after"] == 6 and page["head"] == 30, page
        page = read("?type=C&after=6")
        assert not page["more"] and page["after"] == 30 and len(page["events"]) == 8, page
        assert [found["position"] for found in read("?after=3&before=6")["events"]] == [4, 5]
        page = read("?direction=backward&limit=2")
        assert [found["position"] for found in page["events"]] == [30, 29] and page["before"] == 29, page
        assert [found["position"] for found in read("?direction=backward&before=29&limit=2")["events"]] == [28, 27]
        for after in ("31", "99", request(server, "GET", "/health").headers["Daybook-Journal"] + "-31"):
            problem = is_problem(request(server, "GET", f"/v1/events?after={after}"), 409, "beyond-head")
            assert problem["head"] == 30, problem
        assert read("?after=30") == {"events": [], "after": 30, "head": 30, "more": False}
        assert read("?before=1")["events"] == [] and read("?direction=backward&before=1")["events"] == []
        query = {"items": [{"types": ["A"], "tags": ["u:0"]}, {"types": ["B"], "tags": ["u:1"]}]}
        found = request(server, "POST", "/v1/events/query?limit=10", query).json()["events"]
        assert [one["data"]["n"] for one in found] == [0, 1, 15, 16], found
        everything = request(server, "POST", "/v1/events/query", {"items": []}).json()
        assert len(everything["events"]) == 30, everything
        is_problem(request(server, "POST", "/v1/events/query", {"items": [{}]}), 422, "invalid")


@tap.test
def parameters_are_checked_and_unknown_ones_refused():
    with Server() as server:
        append(server, event("A"))
        for query in ("?limit=0", "?limit=10001", "?limit=x", "?after=-1", "?direction=up", "?typ=A", "?type=", "?tag=%01",
                      "?system=maybe"):
            problem = is_problem(request(server, "GET", "/v1/events" + query), 400, "parameter-invalid")
            assert problem["violations"][0]["pointer"] == "?" + query[1:].split("=")[0], problem
        is_problem(request(server, "GET", "/v1/events?type=%zz"), 400, "query-invalid")
        is_problem(request(server, "GET", "/v1/events?after=" + "0" * 32 + "-1"), 409, "other-journal")
        is_problem(request(server, "GET", "/v1/events", headers={"Accept": "image/png"}), 406, "not-acceptable")


@tap.test
def ndjson_streams_everything_there_is():
    with Server(options=["--limit", "stream_piece_size_max=4096"]) as server:
        for _ in range(4):
            append(server, *[event("A", {"text": "x" * 200}, stream="s") for _ in range(500)])
        for path, headers in (("/v1/events", {}), ("/v1/streams/s", {})):
            answer = request(server, "GET", path, headers={"Accept": "application/x-ndjson", **headers})
            positions = [json.loads(line)["position"] for line in answer.body.splitlines()]
            assert positions == list(range(1, 2001)), (path, len(positions))
        half_closed = raw(server, b"GET /v1/events HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
                                  b"Accept: application/x-ndjson\r\n\r\n", shut=True)
        assert half_closed.count(b'"position":') == 2000, len(half_closed)
        some = request(server, "GET", "/v1/events?after=10&limit=5&direction=forward",
                       headers={"Accept": "application/x-ndjson"}).body.splitlines()
        assert [json.loads(line)["position"] for line in some] == [11, 12, 13, 14, 15]


# ---- commands, views, queries ----

BOOKING = {"reservation": "R-1", "hotel": "H", "room_type": "A", "arrival": "2026-05-01", "nights": 2, "guest": "Kim",
           "on": "2026-01-01"}


def hotel(**more):
    if not (HOTEL / "app.so").exists():
        raise Skip("the hotel is not built")
    return Server(app=HOTEL, **more)


@tap.test
def a_command_is_decided_once_per_key():
    with hotel() as server:
        assert request(server, "POST", "/v1/commands/AddRooms", {"hotel": "H", "room_type": "A", "rooms": 1}).status == 201
        trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
        first = request(server, "POST", "/v1/commands/BookRoom", BOOKING, {"Idempotency-Key": "k", "traceparent": trace})
        assert request(server, "GET", "/v1/events?after=1").json()["events"][0]["meta"]["traceparent"] == trace
        again = request(server, "POST", "/v1/commands/BookRoom", BOOKING, {"Idempotency-Key": "k"})
        assert first.status == again.status == 201 and again.json() == {**first.json(), "replayed": True}, again
        assert first.json()["events"][0]["type"] == "RoomBooked" and first.position == 2, first
        is_problem(request(server, "POST", "/v1/commands/BookRoom", {**BOOKING, "guest": "Lee"}, {"Idempotency-Key": "k"}),
                   422, "idempotency-key-reused")
        answer = request(server, "POST", "/v1/commands/BookRoom", {**BOOKING, "reservation": "R-2"})
        problem = is_problem(answer, 422, "rejected")
        assert problem["rule"] == "no-free-room" and problem["nights"] == ["2026-05-01", "2026-05-02"], problem
        problem = is_problem(request(server, "POST", "/v1/commands/BookRoom", {"nights": "two", "other": 1}), 422, "invalid")
        assert {"/nights", "/other", "/guest"} <= {one["pointer"] for one in problem["violations"]}, problem
        is_problem(request(server, "POST", "/v1/commands/Nothing", {}), 404, "no-such-command")
        is_problem(request(server, "POST", "/v1/commands/BookRoom", "{"), 400, "malformed")


@tap.test
def a_server_without_an_application_has_no_commands_and_no_views():
    with Server() as server:
        is_problem(request(server, "POST", "/v1/commands/BookRoom", {}), 404, "no-such-command")
        is_problem(request(server, "GET", "/v1/views/availability"), 404, "no-such-view")
        assert request(server, "GET", "/v1/views").json() == {"views": [], "queries": [], "head": 0}


@tap.test
def views_answer_once_they_have_reached_the_position_asked_for():
    with hotel() as server:
        request(server, "POST", "/v1/commands/AddRooms", {"hotel": "H", "room_type": "A", "rooms": 3})
        written = request(server, "POST", "/v1/commands/BookRoom", BOOKING).position
        answer = request(server, "GET", f"/v1/views/availability?min_position={written}", headers={"Prefer": "wait=10"})
        assert answer.status == 200 and answer.position >= written, answer
        assert [row["free"] for row in answer.json()] == [2, 2], answer
        problem = is_problem(request(server, "GET", "/v1/views/availability?min_position=999"), 409, "not-caught-up")
        assert problem["reached"] >= 0
        past = request(server, "GET", "/v1/views/reservations?as_of=1")
        assert past.status == 200 and past.json() == [] and past.position == 1, past
        rows = request(server, "GET", "/v1/views/reservations?guest=eq.Kim&select=guest,nights").json()
        assert rows == [{"guest": "Kim", "nights": 2}], rows
        counted = request(server, "GET", "/v1/views/availability?limit=1", headers={"Prefer": "count=exact"})
        assert counted.status == 206 and counted.headers["Content-Range"] == "0-0/2", dict(counted.headers)
        csv = request(server, "GET", "/v1/views/availability", headers={"Accept": "text/csv"})
        assert csv.body.startswith(b"hotel,room_type,night"), csv
        free = request(server, "GET", "/v1/queries/free_rooms?hotel=H&from=2026-05-01&to=2026-05-04").json()
        assert [row["free"] for row in free] == [2, 2, 3], free
        is_problem(request(server, "GET", "/v1/views/availability?nothing=eq.1"), 400, "column-unknown")
        is_problem(request(server, "GET", "/v1/queries/nothing"), 404, "no-such-query")
        assert request(server, "POST", "/v1/views/availability/rebuild").status == 202
        is_problem(request(server, "POST", "/v1/views/nothing/rebuild"), 404, "no-such-view")
        wait_for(lambda: all(view["state"] == "live" for view in request(server, "GET", "/v1/views").json()["views"]),
                 "the rebuilt view is live")


# The law: nothing that a client appends can be taken for a frame of the server's own (daybook.reset, daybook.caught-up …).
@tap.test
def types_that_look_like_the_servers_own_frames_are_refused_on_every_way_in():
    with Server() as server:
        for type in ("daybook.reset", "daybook.caught-up", "daybook.checkpoint", "daybook.", "daybook.mine", " daybook.reset"):
            one = event(type, {})
            for path, body, pointer in (("/v1/append", {"events": [event("A", {}), one]}, "/events/1/type"),
                                        ("/v1/streams/s", [one], "/0/type"), ("/dcb/append", {"events": [one]}, "/events/0/type")):
                problem = is_problem(request(server, "POST", path, body), 422, "invalid")
                assert [violation["pointer"] for violation in problem["violations"]] == [pointer], problem
                assert "daybook." in problem["violations"][0]["detail"], problem
            results = request(server, "POST", "/v1/append", {"appends": [{"events": [one]}, {"events": [event("daybook", {})]}]})
            assert [result["status"] for result in results.json()["results"]] == [422, 201], results
            assert request(server, "GET", f"/v1/events?type={urllib.parse.quote(type)}").json()["events"] == []
        with folder() as place:
            (place / "events.ndjson").write_text('{"type":"daybook.reset","data":{}}\n')
            code, out, err = daybook("import", place / "events.ndjson", url=server.url)
            assert code != 0, (code, out, err)
        append(server, event("open", {}), event("error", {}), event("message", {}), event("A", {}), event("a\u2028b", {}))
        with Subscription(server, "/v1/events?type=open,error,message,A,a%E2%80%A8b&named=1") as feed:
            frames = feed.events(5)  # what an EventSource says of its connection is not said in an event's name
            assert [frame["event"] for frame in frames] == [None, None, None, "A", "a\u2028b"], frames
            assert [frame["data"]["type"] for frame in frames] == ["open", "error", "message", "A", "a\u2028b"], frames


# A frame without data is no event (WHATWG HTML 9.2.6), but some clients dispatch it: whatever comes has data or is a comment.
@tap.test
def no_block_of_a_subscription_is_without_data_or_comment():
    with Server(options=["--limit", "heartbeat_ms=200"]) as server:
        append(server, event("A", {}))
        for path in ("/v1/events?named=1", "/v1/streams/later"):
            with socket.create_connection(("127.0.0.1", server.port), timeout=15) as connection:
                connection.sendall(f"GET {path} HTTP/1.0\r\nHost: localhost\r\nAccept: text/event-stream\r\n\r\n".encode())
                text = b""
                while text.count(b"\n:\n") < 2 and len(text) < 4000:
                    text += connection.recv(4096)
            blocks = text.split(b"\r\n\r\n", 1)[1].split(b"\n\n")
            assert blocks[0].startswith(b"retry: 1000\n"), blocks
            assert all(b"data: " in block or block.startswith(b":") for block in blocks[:-1]), blocks


@tap.test
def a_type_with_a_comma_is_asked_for_as_it_is_encoded():
    with Server() as server:
        append(server, event("a,b", {}), event("a", {}), event("b", {}), event("c+d", {}))
        for query, found in (("type=a,b", [2, 3]), ("type=a%2Cb", [1]), ("type=a%2cb,b", [1, 3]), ("type=a&type=b", [2, 3]),
                             ("type=a%2Cb&type=c%2Bd", [1, 4])):
            events = request(server, "GET", f"/v1/events?{query}").json()["events"]
            assert [one["position"] for one in events] == found, (query, events)
            with Subscription(server, f"/v1/events?{query}") as feed:
                assert [frame["data"]["position"] for frame in feed.events(len(found))] == found, query
        for types, found in (("a,b", ["a", "b"]), ("a\\,b", ["a,b"]), ("a\\,b,a", ["a,b", "a"])):
            for command in ("read", "export"):
                code, out, err = daybook(command, "--type", types, url=server.url)
                assert code == 0 and [json.loads(line)["type"] for line in out.splitlines()] == found, (types, out, err)


# The law that holds for commands: one key is one append, whatever is sent again (RFC draft Idempotency-Key).
@tap.test
def an_append_is_made_once_per_key_in_the_scope_of_its_route():
    with Server() as server:
        body = {"events": [event("A", {}, stream="s"), event("B", {}, stream="t"), event("C", {}, stream="s")]}
        key = {"Idempotency-Key": "k-1"}
        first = request(server, "POST", "/v1/append", body, key)
        assert first.status == 201 and first.json()["replayed"] is False, first
        append(server, event("D", {}, stream="s"))
        again = request(server, "POST", "/v1/append", body, key)
        assert again.status == 201 and again.json() == {**first.json(), "replayed": True}, (first, again)
        assert again.position == first.position
        other = {"events": [event("A", {"n": 2}, stream="s")]}
        is_problem(request(server, "POST", "/v1/append", other, key), 422, "idempotency-key-reused")
        one = event("E", {})
        for path, status in (("/v1/streams/s", 201), ("/dcb/append", 200)):  # scopes of their own
            sent = one if "streams" in path else {"events": [one]}
            head = request(server, "GET", "/v1/events").json()["head"]
            for turn in range(3):
                answer = request(server, "POST", path, sent, key)
                assert answer.status == status and answer.position == head + 1, (path, answer)
                assert status == 200 or answer.json()["replayed"] is (turn > 0), answer
            changed = event("E", {"n": 3}) if "streams" in path else {"events": [event("E", {"n": 3})]}
            is_problem(request(server, "POST", path, changed, key), 422, "idempotency-key-reused")
        is_problem(request(server, "POST", "/v1/streams/other", one, key), 422, "idempotency-key-reused")
        guarded = {"Idempotency-Key": "k-2", "If-None-Match": "*"}  # a repetition is no conflict with itself
        for turn in range(2):
            answer = request(server, "POST", "/v1/streams/new", one, guarded)
            assert answer.status == 201 and answer.headers["ETag"] == '"1"', answer
        many = {"appends": [{"events": [event("F", {})]}, {"events": [event("G", {})]}]}
        answers = [request(server, "POST", "/v1/append", many, {"Idempotency-Key": "k-3"}).json()["results"] for _ in range(2)]
        assert [result["first"] for result in answers[0]] == [result["first"] for result in answers[1]], answers
        assert all(result["replayed"] for result in answers[1]), answers
        refused = {"Idempotency-Key": "k-4", "If-Match": '"9"'}
        assert request(server, "POST", "/v1/streams/later", one, refused).status == 412  # a refusal is not remembered
        assert request(server, "POST", "/v1/streams/later", one, {"Idempotency-Key": "k-4"}).status == 201
        for bad in ("", "x" * 256, "caf\u00e9"):
            is_problem(request(server, "POST", "/v1/append", body, {"Idempotency-Key": bad}), 400, "idempotency-key-invalid")
        server.kill()
        server.start()
        assert request(server, "POST", "/v1/append", body, key).json()["replayed"] is True


@tap.test
def a_cloudevent_in_binary_mode_is_refused_by_name_and_not_stored_without_its_attributes():
    with Server() as server:
        headers = {"ce-specversion": "1.0", "ce-type": "Booked", "ce-id": "1", "ce-source": "/x"}
        for path in ("/v1/append", "/v1/streams/s", "/dcb/append"):
            body = event("A", {}) if "streams" in path else {"events": [event("A", {})]}
            problem = is_problem(request(server, "POST", path, body, headers), 415, "cloudevent-binary")
            assert "binary" in problem["detail"]
        assert request(server, "GET", "/v1/events").json()["events"] == []


# P3 in every mode: what was answered before it is synced is waited for, and nobody is told that it does not exist.
@tap.test
def what_was_answered_before_its_sync_can_be_asked_for_and_is_never_said_to_be_missing():
    with Server(app=HOTEL, options=["--durability", "async"]) as server:
        for number in range(6):
            body = {"hotel": "H", "room_type": str(number), "rooms": 1}
            for replayed in (False, True):
                answer = request(server, "POST", "/v1/commands/AddRooms", body, {"Idempotency-Key": f"k-{number}"})
                assert answer.status == 201 and answer.json()["replayed"] is replayed, answer
            written = answer.position
            page = request(server, "GET", f"/v1/events?after={written}")
            assert page.status == 200 and page.json()["events"] == [], page
            rows = request(server, "GET", f"/v1/views/availability?min_position={written}", headers={"Prefer": "wait=10"})
            assert rows.status == 200 and rows.position >= written, rows
            condition = {"failIfEventsMatch": {"items": []}, "after": written - 1}
            answer = request(server, "POST", "/v1/append", {"events": [event("A", {})], "condition": condition})
            is_problem(answer, 409, "append-condition-failed")
        assert request(server, "DELETE", "/v1/groups/none").status == 404
        assert request(server, "POST", "/v1/groups/g", {"after": "now"}).status == 201


@tap.test
def an_answer_too_large_for_memory_comes_whole():
    with folder() as app:
        (app / "views").mkdir()
        (app / "views" / "notes.sql").write_text(
            "-- view: notes\n-- version: 1\ncreate table notes (n integer primary key, text text not null);\n"
            "-- on Noted\ninsert into notes values (:data ->> 'n', :data ->> 'text');\n")
        with Server(app=app) as server:
            for first in range(0, 3000, 500):
                position = append(server, *[event("Noted", {"n": n, "text": "x" * 1000})
                                            for n in range(first, first + 500)]).position
            path = f"/v1/views/notes?limit=10000&min_position={position}"
            answer = request(server, "GET", path, headers={"Prefer": "wait=30"}, timeout=60)
            assert answer.status == 200 and len(answer.body) > 3_000_000, answer
            assert [row["n"] for row in answer.json()] == list(range(3000))
            lines = request(server, "GET", path, headers={"Accept": "application/x-ndjson"}).body.splitlines()
            assert len(lines) == 3000 and json.loads(lines[-1])["n"] == 2999


@tap.test
def the_applications_pages_are_served_and_nothing_else_of_its_folder():
    with hotel() as server:
        page = request(server, "GET", "/")
        assert page.status == 200 and page.headers["Content-Type"].startswith("text/html"), page
        assert "default-src 'self'" in page.headers["Content-Security-Policy"]
        etag = page.headers["ETag"]
        assert request(server, "GET", "/", headers={"If-None-Match": etag}).status == 304
        assert request(server, "HEAD", "/").body == b""
        for path in ("/../app.so", "/%2e%2e/app.so", "/..%2fapp.so", "//etc/passwd", "/./index.html", "/.hidden", "/%00"):
            assert raw(server, f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())[9:12] in \
                (b"404", b"400"), path
        is_problem(request(server, "POST", "/index.html", {}), 404, "not-found")


# ---- operations ----

def samples_of(text):
    samples, families = {}, {}
    for line in text.splitlines():
        if line.startswith("# TYPE "):
            assert line.split()[2] not in families, line
            families[line.split()[2]] = line.split()[3]
        elif not line.startswith("#"):
            name, value = line.rsplit(" ", 1)
            samples[name] = float(value)
    return samples, families


@tap.test
def metrics_are_text_of_prometheus_and_open_metrics_for_who_asks():
    plain, open_metrics = "text/plain; version=0.0.4; charset=utf-8", "application/openmetrics-text; version=1.0.0; charset=utf-8"
    scraper = "application/openmetrics-text;version=1.0.0;q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1"
    with Server(app=HOTEL) as server:
        append(server, event("A"))
        append(server, event("A"), streams={"x": 7})
        for accept, wanted in ((None, plain), ("*/*", plain), ("text/plain", plain), ("text/html", plain), (scraper, open_metrics),
                               ("application/openmetrics-text; version=1.0.0", open_metrics)):
            answer = request(server, "GET", "/metrics", headers={"Accept": accept} if accept else None)
            assert answer.headers["Content-Type"] == wanted and answer.headers["Vary"] == "Accept", (accept, answer.headers)
            text = answer.body.decode()
            assert text.endswith("# EOF\n") == (wanted == open_metrics), text[-100:]
            samples, families = samples_of(text)
            assert samples["daybook_journal_position"] == 1 and samples["daybook_append_conflicts_total"] >= 1, text
            assert samples["daybook_log_syncs_total"] >= 1, text
            for name, kind in families.items():
                assert kind != "counter" or name.endswith("_total") == (wanted == plain), name
        if shutil.which("promtool"):
            text = request(server, "GET", "/metrics").body
            checked = subprocess.run(["promtool", "check", "metrics"], input=text, capture_output=True)
            assert checked.returncode == 0 and not checked.stderr, checked.stderr.decode()


@tap.test
def how_long_requests_take_is_counted_by_what_was_asked_and_what_came_of_it():
    with Server() as server:
        for n in range(3):
            append(server, event("A"))
        for path in ("/v1/events", "/v1/streams/none", "/nothing", "/" + "x" * 300):
            request(server, "GET", path)
        samples, families = samples_of(request(server, "GET", "/metrics").body.decode())
        name = "daybook_http_request_seconds"
        assert families[name] == "histogram"
        counts = {key[len(name + "_count"):]: value for key, value in samples.items() if key.startswith(name + "_count")}
        assert counts == {'{route="append",status="2xx"}': 3, '{route="read",status="2xx"}': 1,
                          '{route="read",status="4xx"}': 1, '{route="page",status="4xx"}': 2}, counts
        buckets = [value for key, value in samples.items() if key.startswith(name + '_bucket{route="append"')]
        assert buckets == sorted(buckets) and buckets[-1] == 3 and len(buckets) == 15, buckets
        assert samples[name + '_sum{route="append",status="2xx"}'] > 0


@tap.test
def the_description_and_the_server_agree():
    with Server() as server:
        document = request(server, "GET", "/openapi.json").json()
        assert document["openapi"].startswith("3.1")
        names = [operation["operationId"] for path in document["paths"].values() for operation in path.values()]
        assert len(names) == len(set(names)) and len(names) >= 15, names
        for path, methods in document["paths"].items():
            real = path.replace("{stream}", "s").replace("{view}", "v").replace("{name}", "N")
            allow = request(server, "PATCH", real).headers["Allow"].split(", ")
            described = {method.upper() for method in methods}
            assert described == set(allow) - {"HEAD", "OPTIONS"}, (path, described, allow)
            for method, operation in methods.items():
                wanted = {part[1:-1] for part in path.split("/") if part.startswith("{")}
                given = {one["name"] for one in operation["parameters"] if one["in"] == "path"}
                assert wanted == given, (path, given)
                refs = [line for line in json.dumps(operation).split('"') if line.startswith("#/components/schemas/")]
                assert all(ref.rsplit("/", 1)[1] in document["components"]["schemas"] for ref in refs), refs
                if method == "get" and "text/event-stream" not in json.dumps(operation) and path != "/v1/log":
                    answer = request(server, "GET", real)
                    assert str(answer.status) in operation["responses"], (path, answer.status)


@tap.test
def health_and_readiness_are_told():
    with Server() as server:
        assert request(server, "GET", "/health").json() == {"status": "alive"}
        ready = request(server, "GET", "/ready").json()
        assert ready["status"] == "ready" and ready["journal"]["writable"] and ready["journal"]["role"] == "leader", ready


@tap.test
def a_damaged_journal_is_named_and_read_as_far_as_it_goes():
    with folder() as place:
        with Server(data=place) as server:
            for n in range(10):
                append(server, event("A", {"n": n, "mark": f"mark-{n}-"}))
        segment = sorted((place / "log").glob("*.seg"))[0]
        data = bytearray(segment.read_bytes())
        at = data.find(b"mark-7-")
        data[at] ^= 1
        segment.write_bytes(data)
        code, told, _ = daybook("verify", place)
        assert code == 1 and segment.name in told, told
        with Server(data=place) as server:
            ready = request(server, "GET", "/ready")
            reason = ready.json()["journal"]["reason"]
            assert ready.status == 503 and segment.name in reason, ready
            answer = append(server, event("B"))
            is_problem(answer, 503, "read-only")
            assert int(answer.headers["Retry-After"]) > 0
            is_problem(request(server, "GET", "/v1/events"), 500, "damaged")
            found = request(server, "GET", "/v1/events?before=8").json()["events"]
            assert [one["data"]["n"] for one in found] == list(range(7)), found
            assert request(server, "GET", "/health").status == 200


@tap.test
def tokens_are_asked_for_when_there_is_a_file_of_them():
    import hashlib
    with folder() as place:
        (place / "tokens").write_text("# who\nsha256:%s alice\n%s  -\nblake2b:%s\n" % (
            hashlib.sha256(b"one").hexdigest(), hashlib.sha256(b"two").hexdigest(),
            hashlib.blake2b(b"three", digest_size=32).hexdigest()))
        with Server(options=["--token-file", str(place / "tokens")]) as server:
            answer = request(server, "GET", "/v1/events")
            is_problem(answer, 401, "unauthorized")
            assert answer.headers["WWW-Authenticate"] == "Bearer"
            for token, status in (("one", 200), ("two", 200), ("three", 200), ("four", 401), ("", 401)):
                got = request(server, "GET", "/v1/events", headers={"Authorization": "Bearer " + token}).status
                assert got == status, (token, got)
            assert request(server, "POST", "/v1/append", {"events": [event("A")]}).status == 401
            assert request(server, "GET", "/health").status == 200


@tap.test
def what_cannot_be_served_is_refused_at_the_start_with_a_reason():
    with folder() as place:
        for options, code, words in ((["--listen", "0.0.0.0:0"], 2, "token-file"), (["--limit", "nothing=1"], 2, "nothing"),
                                     (["--listen", "127.0.0.1:x"], 2, "port"), (["--listen", "nowhere:0"], 2, "is no address"),
                                     (["--token-file", str(place / "none")], 3, "none"),
                                     (["--limit", "heartbeat_ms=60000"], 2, "heartbeat"),
                                     (["--limit", "group_ack_delay_ms=4294967497"], 2, "up to 600000")):
            got, _, error = daybook("serve", "--data", place / "d", *options)
            assert got == code and words in error, (options, got, error)
        got, _, error = daybook("serve", "--data", place / "d", "--listen", "127.0.0.1:0", place / "noapp")
        assert got == 3 and "noapp" in error, (got, error)
        with Server(data=place / "d2") as server:
            got, _, error = daybook("serve", "--data", place / "d2", "--listen", "127.0.0.1:0")
            assert got == 3, (got, error)
            got, _, error = daybook("serve", "--data", place / "d3", "--listen", f"127.0.0.1:{server.port}")
            assert got == 3 and "in use" in error, (got, error)
            got, _, error = daybook("serve", "--data", place / "d3", "--listen", str(server.port))
            assert got == 3 and f"127.0.0.1:{server.port}" in error, (got, error)


@tap.test
def one_json_line_a_request_is_logged_when_asked():
    with Server(options=["--log", "json"]) as server:
        request(server, "GET", '/v1/events?type=a"b')
        lines = wait_for(lambda: [line for line in server.lines if line.startswith("{")], "a line is logged")
        line = json.loads(lines[0])
        assert line["method"] == "GET" and line["status"] == 200 and line["client"] == "127.0.0.1", line


@tap.test
def what_was_begun_is_ended_before_the_server_goes():
    with Server() as server:
        body = json.dumps({"events": [event("A")]}).encode()
        with socket.create_connection(("127.0.0.1", server.port), timeout=15) as begun:
            begun.sendall(b"POST /v1/append HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
                          b"Content-Length: %d\r\n\r\n" % len(body) + body[:5])
            wait_for(lambda: b"daybook_http_requests_open 2\n" in request(server, "GET", "/metrics").body, "it has begun")
            server.process.terminate()

            def refused():
                try:
                    socket.create_connection(("127.0.0.1", server.port), timeout=5).close()
                    return False
                except OSError:
                    return True

            wait_for(refused, "nobody new is let in")
            begun.sendall(body[5:])
            answer = b""
            while piece := begun.recv(65536):
                answer += piece
            assert answer.startswith(b"HTTP/1.1 201") and b"Connection: close" in answer, answer
        assert server.stop() == 0


@tap.test
def sigterm_ends_it_orderly_and_the_journal_is_there_again():
    with folder() as place:
        with Server(data=place) as server:
            for n in range(20):
                append(server, event("A", {"n": n}))
            assert server.stop() == 0
        with Server(data=place) as server:
            assert [one["data"]["n"] for one in request(server, "GET", "/v1/events").json()["events"]] == list(range(20))


tap.main()
