"""Consumer groups: everything is delivered at least once, in order where that was asked for, whoever dies."""
import http.client
import itertools
import json
import random
import threading
import time

from daybook_test import Server, Tap, daybook, folder, request, wait_for

tap = Tap()


def append(server, *events):
    answer = request(server, "POST", "/v1/append", {"events": [{"data": {}, **event} for event in events]})
    assert answer.status == 201, answer
    return answer.json()


def create(server, name="g", status=201, **definition):
    answer = request(server, "POST", f"/v1/groups/{name}", definition)
    assert answer.status == status, answer
    return answer.json()


def fetch(server, name="g", consumer="c", **more):
    answer = request(server, "POST", f"/v1/groups/{name}/fetch", {"consumer": consumer, "count": 100, **more}, timeout=60)
    assert answer.status == 200, answer
    return answer.json()["events"]


def positions(batch):
    return [one["event"]["position"] for one in batch]


def tokens(batch):
    return [one["token"] for one in batch]


def say(server, what, batch, name="g", status=200, **more):
    said = batch if isinstance(batch, dict) else {"tokens": tokens(batch), **more}
    answer = request(server, "POST", f"/v1/groups/{name}/{what}", said)
    assert answer.status == status, answer
    return answer.json()


def status(server, name="g"):
    answer = request(server, "GET", f"/v1/groups/{name}")
    assert answer.status == 200, answer
    return answer.json()


@tap.test
def what_is_fetched_is_gone_until_it_is_given_back_and_done_when_acknowledged():
    with Server() as server:
        made = create(server, types=["A"])
        assert made["definition"] == {"types": ["A"], "tags": [], "prefix": "", "after": 0, "order": "none",
                                      "lease_seconds": 30, "tries_max": 5}, made
        append(server, *({"type": type} for type in "ABABA"))
        batch = fetch(server, count=2)
        assert positions(batch) == [2, 4] and [one["tries"] for one in batch] == [1, 1], batch
        assert batch[0]["event"]["type"] == "A"
        other = fetch(server, consumer="d")
        assert positions(other) == [6] and fetch(server) == []
        now = status(server)
        assert (now["lag"], now["in_flight"], now["parked"], now["cursor"]) == (3, 3, 0, 1), now
        assert {one["consumer"]: one["in_flight"] for one in now["consumers"]} == {"c": 2, "d": 1}, now
        assert say(server, "ack", batch) == {"done": 2}
        assert say(server, "nack", other, reason="later") == {"done": 1, "parked": 0}
        again = fetch(server)
        assert positions(again) == [6] and again[0]["tries"] == 2, again
        say(server, "ack", again)
        assert status(server)["lag"] == 0


@tap.test
def filters_and_the_beginning_are_the_groups():
    with Server() as server:
        append(server, {"type": "A", "stream": "room-1", "tags": ["x"]}, {"type": "A", "stream": "guest-1", "tags": ["x", "y"]},
               {"type": "B", "stream": "room-2"}, {"type": "A"})
        create(server, "prefix", prefix="room-")
        create(server, "tags", tags=["x", "y"])
        create(server, "types", types=["A", "C"])
        create(server, "later", after=2)
        create(server, "now", after="now")
        assert status(server, "now")["definition"]["after"] >= 4
        append(server, {"type": "A", "stream": "room-3"})
        for name, expected in (("prefix", [1, 3, 10]), ("tags", [2]), ("types", [1, 2, 4, 10]), ("later", [3, 4, 10]),
                               ("now", [10])):
            assert positions(fetch(server, name)) == expected, name


@tap.test
def of_events_with_one_key_one_is_out_at_a_time_in_order():
    with Server() as server:
        create(server, order="tag:room:")
        create(server, "by-stream", order="stream")
        append(server, {"type": "A", "tags": ["room:1"], "stream": "s"}, {"type": "B", "tags": ["room:2"], "stream": "s"},
               {"type": "C", "tags": ["room:1", "room:2"]}, {"type": "D", "tags": ["room:2"]}, {"type": "E"})
        first = fetch(server)
        assert [one["event"]["type"] for one in first] == ["A", "B", "E"], first
        assert fetch(server, consumer="d") == []
        say(server, "ack", first[:1])
        assert fetch(server, consumer="d") == [], "C also waits for B"
        say(server, "nack", first[1:2])
        again = fetch(server, consumer="d")
        assert [one["event"]["type"] for one in again] == ["B"], again
        say(server, "ack", again)
        third = fetch(server)
        assert [one["event"]["type"] for one in third] == ["C"], third
        say(server, "ack", third)
        assert [one["event"]["type"] for one in fetch(server)] == ["D"]
        assert [one["event"]["type"] for one in fetch(server, "by-stream")] == ["A", "C", "D", "E"]


@tap.test
def a_fetch_waits_for_an_event_and_for_one_that_is_given_back():
    with Server() as server:
        create(server, types=["A"])
        for give in ("append", "nack"):
            held = fetch(server, consumer="holder") if give == "nack" else None
            found = []
            waiting = threading.Thread(target=lambda: found.append(fetch(server, wait_seconds=20)))
            waiting.start()
            wait_for(lambda: b"daybook_group_waiting 1\n" in request(server, "GET", "/metrics").body, "it waits")
            append(server, {"type": "B"})
            if give == "append":
                append(server, {"type": "A"})
            else:
                say(server, "nack", held)
            waiting.join(20)
            assert len(found) == 1 and len(found[0]) == 1, found
            say(server, "nack", found[0])
        began = time.monotonic()
        held = fetch(server)
        assert fetch(server, consumer="d", wait_seconds=1) == [] and time.monotonic() - began >= 1


@tap.test
def each_of_many_who_wait_gets_one_and_who_left_gets_none():
    with Server() as server:
        create(server)
        connections = []
        for number in range(20):
            connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
            connection.request("POST", "/v1/groups/g/fetch", json.dumps({"consumer": f"c-{number}", "count": 1, "wait_seconds": 30}),
                               {"Content-Type": "application/json"})
            connections.append(connection)
        wait_for(lambda: b"daybook_group_waiting 20\n" in request(server, "GET", "/metrics").body, "all wait")
        for connection in connections[:10]:
            connection.close()
        wait_for(lambda: b"daybook_group_waiting 10\n" in request(server, "GET", "/metrics").body, "ten have left")
        append(server, *({"type": "A"} for _ in range(10)))
        got = [json.loads(connection.getresponse().read())["events"] for connection in connections[10:]]
        assert sorted(position for batch in got for position in positions(batch)) == list(range(2, 12)), got
        for connection in connections[10:]:
            connection.close()


@tap.test
def what_a_dead_consumer_had_goes_to_another_after_the_lease():
    with Server() as server:
        create(server, lease_seconds=1, order="stream")
        append(server, {"type": "A", "stream": "s"}, {"type": "B", "stream": "s"})
        dead = fetch(server, consumer="dead")
        assert positions(dead) == [2]
        taken = fetch(server, consumer="alive", wait_seconds=20)
        assert positions(taken) == [2] and taken[0]["tries"] == 2, taken
        for what in ("ack", "nack", "extend"):
            problem = say(server, what, dead, status=409)
            assert problem["code"] == "lease-lost" and problem["lost"] == tokens(dead), problem
        mixed = say(server, "ack", {"tokens": tokens(taken) + tokens(dead)}, status=409)
        assert mixed["lost"] == tokens(dead), "and the good one is as it was:"
        say(server, "extend", taken, lease_seconds=30)
        say(server, "ack", taken)
        assert positions(fetch(server)) == [3]


@tap.test
def a_lease_can_be_made_longer_and_a_refusal_can_ask_for_delay():
    with Server() as server:
        create(server, lease_seconds=1)
        append(server, {"type": "A"})
        mine = fetch(server)
        say(server, "extend", mine, lease_seconds=3)
        began = time.monotonic()
        again = fetch(server, consumer="d", wait_seconds=20)
        assert positions(again) == [2] and time.monotonic() - began > 2.5, time.monotonic() - began
        say(server, "nack", again, delay_seconds=1)
        began = time.monotonic()
        again = fetch(server, wait_seconds=20)
        assert positions(again) == [2] and time.monotonic() - began > 0.9


@tap.test
def what_fails_too_often_is_parked_with_the_reason_and_can_be_replayed():
    with Server() as server:
        create(server, tries_max=2, order="stream")
        append(server, *({"type": "A", "stream": "s", "data": number} for number in range(3)))
        for turn in range(2):
            batch = fetch(server)
            assert positions(batch) == [2]
            said = say(server, "nack", batch, reason=f"no room: {turn}")
        assert said == {"done": 1, "parked": 1}, said
        page = request(server, "GET", "/v1/groups/g/parked").json()
        assert page["more"] is False and len(page["parked"]) == 1, page
        assert {key: page["parked"][0][key] for key in ("position", "tries", "reason")} == \
            {"position": 2, "tries": 2, "reason": "no room: 1"}, page
        batch = fetch(server)
        assert positions(batch) == [3], "the others go on"
        assert say(server, "replay", {"positions": [9]}, status=409)["code"] == "not-parked"
        assert say(server, "replay", {"positions": [2]}) == {"done": 1}
        assert fetch(server) == [], "3 of the same stream is out"
        say(server, "ack", batch)
        batch = fetch(server)
        assert positions(batch) == [2] and batch[0]["tries"] == 1, batch
        say(server, "ack", batch)
        assert request(server, "POST", "/v1/groups/g/replay").json() == {"done": 0}
        assert positions(fetch(server)) == [4]


def metric(server, name):
    text = request(server, "GET", "/metrics").body.decode()
    return [line.rsplit(" ", 1)[1] for line in text.splitlines() if line.startswith(f'{name}{{group="g"}}')]


@tap.test
def a_good_event_behind_more_failing_ones_than_can_be_parked_is_delivered_and_the_group_is_named():
    with Server() as server:
        create(server, tries_max=1)
        append(server, *({"type": "Bad"} for _ in range(1000)))
        append(server, {"type": "Bad"}, {"type": "Bad"}, {"type": "Good"})
        assert request(server, "GET", "/ready").json()["groups"] == []
        assert metric(server, "daybook_group_stalled") == ["0"]
        deliveries = 0
        while True:
            batch = fetch(server, count=1000)
            deliveries += len(batch)
            good = [one for one in batch if one["event"]["type"] == "Good"]
            bad = [one for one in batch if one["event"]["type"] == "Bad"]
            if bad:
                say(server, "nack", bad, reason="no")
            if good:
                break
        assert deliveries == 1003, deliveries
        say(server, "ack", good)
        said = request(server, "GET", "/ready")
        assert said.status == 200, said
        stalled, = said.json()["groups"]
        first = stalled.pop("position")
        assert stalled == {"group": "g", "stalled": "parked-full", "waiting": 2, "tries": 1} and first > 1000, stalled
        assert status(server)["stalled"] == "parked-full" and status(server)["waiting"] == 2
        assert metric(server, "daybook_group_stalled") == ["1"] and metric(server, "daybook_group_failing") == ["2"]
        again = fetch(server, wait_seconds=20)
        assert [one["tries"] for one in again] == [2, 2], again


@tap.test
def a_group_that_is_made_again_is_the_same_and_one_with_other_rules_is_refused():
    with Server(options=["--limit", "group_count_max=2"]) as server:
        create(server, types=["A"])
        create(server, types=["A"], status=200)
        assert create(server, types=["B"], status=409)["code"] == "group-exists"
        create(server, "h")
        assert create(server, "i", status=409)["code"] == "too-many-groups"
        assert [group["group"] for group in request(server, "GET", "/v1/groups").json()["groups"]] == ["g", "h"]
        assert request(server, "DELETE", "/v1/groups/g").status == 204
        assert request(server, "DELETE", "/v1/groups/g").json()["code"] == "no-such-group"
        append(server, {"type": "B"})
        create(server, types=["B"])
        assert len(fetch(server)) == 1, "a new group of the old name begins anew"
        hidden = request(server, "GET", "/v1/events").json()["events"]
        assert [event["type"] for event in hidden] == ["B"], hidden
        shown = request(server, "GET", "/v1/events?system=1&prefix=$group-").json()["events"]
        assert [event["type"] for event in shown] == ["$GroupCreated", "$GroupCreated", "$GroupDeleted", "$GroupCreated"], shown


@tap.test
def every_problem_is_told_at_once_and_hostile_input_changes_nothing():
    with Server() as server:
        create(server)
        append(server, {"type": "A"})
        for path, body, code, pointers in [
                ("x", {"types": ["a", ""], "tags": [1], "prefix": "$a", "order": "x", "lease_seconds": 0, "tries_max": 1001,
                       "after": -1, "other": 1}, 422,
                 ["/types/1", "/tags/0", "/prefix", "/after", "/order", "/lease_seconds", "/tries_max", "/other"]),
                ("x", [], 422, [""]), ("x", {"types": "a"}, 422, ["/types"]), ("x", {"order": "tag:"}, 422, ["/order"]),
                ("g/fetch", {}, 422, ["/consumer"]),
                ("g/fetch", {"consumer": "", "count": 0, "wait_seconds": 31, "x": 1}, 422,
                 ["/consumer", "/count", "/wait_seconds", "/x"]),
                ("g/fetch", {"consumer": "c" * 129, "count": 1001}, 422, ["/consumer", "/count"]),
                ("g/fetch", {"consumer": "a\nb"}, 422, ["/consumer"]), ("g/ack", {}, 422, ["/tokens"]),
                ("g/ack", {"tokens": []}, 422, ["/tokens"]),
                ("g/ack", {"tokens": ["", "1", "1-zz", 7, "-0000000000000000", "1-000000000000000G"]}, 422,
                 [f"/tokens/{i}" for i in range(6)]),
                ("g/nack", {"tokens": ["2-0000000000000000"], "delay_seconds": 43201, "reason": "x" * 201}, 422,
                 ["/delay_seconds", "/reason"]),
                ("g/extend", {"tokens": ["2-0000000000000000"], "lease_seconds": 0}, 422, ["/lease_seconds"]),
                ("g/replay", {"positions": [0, "x"]}, 422, ["/positions/0", "/positions/1"])]:
            answer = request(server, "POST", f"/v1/groups/{path}", body)
            assert answer.status == code, (path, body, answer)
            found = [violation["pointer"] for violation in answer.json()["violations"]]
            assert sorted(found) == sorted(pointers), (path, body, found)
        for method, path, body, status, code in [
                ("POST", "g/ack", {"tokens": ["2-0000000000000000"]}, 409, "lease-lost"),
                ("POST", "g/ack", {"tokens": ["99-0000000000000000"]}, 409, "lease-lost"),
                ("POST", "none/fetch", {"consumer": "c"}, 404, "no-such-group"), ("GET", "none", None, 404, "no-such-group"),
                ("GET", "none/parked", None, 404, "no-such-group"), ("POST", "none/replay", {}, 404, "no-such-group"),
                ("POST", "$own", {}, 400, "group-invalid"), ("POST", "x" * 129, {}, 400, "group-invalid"),
                ("POST", "g/fetch", "{", 400, "malformed"), ("POST", "y", '{"types":[],"types":[]}', 400, "malformed"),
                ("GET", "g?other=1", None, 400, "parameter-invalid"), ("GET", "g/parked?limit=0", None, 400, "parameter-invalid"),
                ("POST", "g/ack", {"tokens": ["2-0000000000000000"] * 1001}, 422, "invalid"),
                ("POST", "g/ack", "x" * 70000, 413, "body-too-large")]:
            answer = request(server, method, f"/v1/groups/{path}", body)
            assert answer.status == status and answer.json()["code"] == code, (method, path, body, answer)
        assert request(server, "GET", "/v1/groups").json()["groups"][0]["in_flight"] == 0
        assert len(fetch(server)) == 1


@tap.test
def a_batch_ends_where_it_gets_too_large_and_the_rest_follows():
    with Server(options=["--limit", "page_size_max=100000"]) as server:
        create(server)
        append(server, *({"type": "A", "data": "x" * 30000} for _ in range(10)))
        found = []
        for _ in range(3):
            batch = fetch(server)
            assert 0 < len(batch) <= 4, len(batch)
            assert all(one["tries"] == 1 for one in batch), batch
            found += positions(batch)
        assert found == list(range(2, 12)), found


@tap.test
def as_many_may_wait_as_the_limit_says_and_the_end_answers_them():
    with Server(options=["--limit", "group_waiting_count_max=1"]) as server:
        create(server)
        found = []
        waiting = threading.Thread(target=lambda: found.append(fetch(server, wait_seconds=30)))
        waiting.start()
        wait_for(lambda: b"daybook_group_waiting 1\n" in request(server, "GET", "/metrics").body, "it waits")
        answer = request(server, "POST", "/v1/groups/g/fetch", {"consumer": "d"})
        assert answer.status == 429 and answer.json()["code"] == "too-many-consumers", answer
        assert int(answer.headers["Retry-After"]) > 0
        assert server.stop() == 0
        waiting.join(20)
        assert found == [[]], "a whole answer, with nothing in it"


@tap.test
def a_follower_sends_consumers_to_its_leader():
    with Server() as leader, Server(follow=leader) as follower:
        create(leader)
        for method, path in (("GET", ""), ("GET", "/g"), ("POST", "/g"), ("DELETE", "/g"), ("POST", "/g/fetch"), ("POST", "/g/ack"),
                             ("GET", "/g/parked"), ("POST", "/g/replay")):
            answer = request(follower, method, f"/v1/groups{path}", {} if method == "POST" else None)
            assert answer.status == 421 and answer.json()["code"] == "not-leader", (method, path, answer)


@tap.test
def acknowledgements_are_few_events_and_survive_a_restart_with_all_else_there_is_to_know():
    with folder() as place:
        server = Server(data=place).start()
        create(server, tries_max=1, order="none")
        append(server, *({"type": "A", "data": number} for number in range(200)))
        batch = fetch(server, count=150)
        for one in batch[10:]:
            say(server, "ack", [one])
        say(server, "nack", batch[:1], reason="bad")
        server.stop()
        server.start()
        now = status(server)
        assert (now["parked"], now["in_flight"]) == (1, 0), now
        rest = fetch(server, count=1000)
        assert positions(rest) == list(range(3, 12)) + list(range(152, 202)), positions(rest)
        own = request(server, "GET", "/v1/events?system=1&type=$GroupAcked&limit=1000").json()["events"]
        assert len(own) < 100, f"140 requests became {len(own)} events"
        say(server, "ack", rest)
        say(server, "replay", {})
        server.stop()
        server.start()
        assert positions(fetch(server)) == [2], "replayed, and not acknowledged since"
        server.stop()


@tap.test
def the_command_line_makes_groups_and_consumes_from_them():
    with Server() as server, folder() as place:
        url = server.url
        code, said, _ = daybook("group", "create", "mails", "--type", "A,B", "--order", "stream", "--tries", 1, "--lease", 5, url=url)
        assert code == 0 and said.startswith("mails"), said
        definition = status(server, "mails")["definition"]
        assert (definition["types"], definition["order"], definition["tries_max"]) == (["A", "B"], "stream", 1), definition
        append(server, *({"type": type, "stream": f"s-{number}", "data": number} for number, type in enumerate("ABCAB")))
        code, said, errors = daybook("consume", "mails", "--limit", 1, url=url)
        assert code == 0 and json.loads(said)["data"] == 0, (said, errors)
        script = place / "handle"
        script.write_text(f"#!/bin/sh\nread line\necho \"$line\" >> {place}/seen\ncase \"$line\" in *'\"data\":3'*) exit 7;; esac\n")
        script.chmod(0o755)
        code, said, errors = daybook("consume", "mails", "--exec", str(script), "--until-empty", url=url)
        assert code == 0, errors
        seen = [json.loads(line)["data"] for line in (place / "seen").read_text().splitlines()]
        assert seen == [1, 3, 4], seen
        code, said, _ = daybook("group", "parked", "mails", url=url)
        assert code == 0 and "the command ended with 7" in said, said
        assert daybook("group", "replay", "mails", url=url)[1] == "1 will be delivered again\n"
        code, said, _ = daybook("consume", "mails", "--exec", "true", "--until-empty", url=url)
        assert code == 0 and status(server, "mails")["lag"] == 0
        code, said, _ = daybook("group", "list", "--json", url=url)
        assert [group["group"] for group in json.loads(said)["groups"]] == ["mails"], said
        assert daybook("group", "show", "none", url=url)[0] == 1
        assert daybook("group", "make", "none", url=url)[0] == 2 and daybook("group", "show", url=url)[0] == 2
        assert daybook("group", "create", "x", "--order", "sideways", url=url)[0] == 1
        assert daybook("group", "delete", "mails", url=url)[0] == 0
        assert daybook("consume", "mails", "--until-empty", url=url)[0] == 1


class Worker(threading.Thread):
    """A consumer that goes on whatever happens to the server; now and then it forgets what it fetched."""

    def __init__(self, server, name, seed, record, stop):
        super().__init__(daemon=True)
        self.server, self.name, self.dice, self.record, self.stop = server, name, random.Random(seed), record, stop

    def run(self):
        while not self.stop.is_set():
            try:
                for one in fetch(self.server, consumer=self.name, count=self.dice.randrange(1, 8), wait_seconds=1):
                    key = one["event"]["stream"]
                    if self.dice.random() < 0.05:
                        continue  # forgotten: the lease must run out
                    began = time.monotonic()
                    answer = request(self.server, "POST", "/v1/groups/g/ack", {"tokens": [one["token"]]}, timeout=5)
                    if answer.status == 200:
                        self.record.append((key, one["event"]["position"], began, time.monotonic()))
            except (OSError, ValueError, AssertionError, http.client.HTTPException):
                self.stop.wait(0.02)


@tap.test
def nothing_is_lost_and_keys_keep_their_order_over_kills_of_the_server():
    chance = random.Random(5)
    count, keys = 300, 12
    with folder() as place:
        server = Server(data=place, options=["--limit", "group_ack_delay_ms=20"]).start()
        create(server, types=["N"], order="stream", lease_seconds=1, tries_max=1000)
        stop, record = threading.Event(), []
        workers = [Worker(server, f"w-{number}", number, record, stop) for number in range(4)]
        for worker in workers:
            worker.start()

        def write():
            for number in range(count):
                event = {"type": "N", "stream": f"k-{number % keys}", "data": number,
                         "id": f"00000000-0000-4000-8000-{number:012x}"}
                while True:
                    try:
                        if request(server, "POST", "/v1/append", {"events": [event]}, timeout=5).status == 201:
                            break
                    except (OSError, http.client.HTTPException):
                        stop.wait(0.02)

        writer = threading.Thread(target=write)
        writer.start()
        for kill in range(4):
            target = (kill + 1) * count // 6 + chance.randrange(20)
            wait_for(lambda: len({position for _, position, _, _ in record}) >= target, "events are acknowledged", 60)
            server.kill()
            server.start()
        writer.join()
        events = []
        for _ in range(2):
            page = request(server, "GET", "/v1/events?type=N&limit=1000").json()
            events = page["events"]
        assert len(events) == count
        wait_for(lambda: len({position for _, position, _, _ in record}) >= count, "all are acknowledged", 60)
        wait_for(lambda: status(server)["lag"] == 0, "the group is done", 30)
        stop.set()
        for worker in workers:
            worker.join(30)
        # The last acknowledgement of each event is the one that held: of one key they came in the journal's order.
        for key, group in itertools.groupby(sorted(record), key=lambda entry: entry[0]):
            last = {}
            for _, position, began, ended in group:
                last[position] = (began, ended)
            times = [last[position] for position in sorted(last)]
            assert all(one[0] < two[1] for one, two in zip(times, times[1:])), (key, times)
        seen = [position for _, position, _, _ in record]
        print(f"# {len(seen)} acknowledgements of {count} events over 4 kills")
        server.stop()


tap.main()
