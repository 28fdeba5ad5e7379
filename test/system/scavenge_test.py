"""Retention and scavenging over HTTP and on the command line: what goes, what stays for whom, and followers."""
import json
import pathlib
import shutil

from daybook_test import HOTEL, Server, Skip, Tap, daybook, folder, request, wait_for

tap = Tap()

VIEW = """-- view: counts
-- version: 1
create table counts (stream text primary key, n integer not null) without rowid;
-- on Counted
insert into counts values (:stream, 1) on conflict do update set n = n + 1;
"""


def append(server, stream, type, count, **more):
    events = [{"type": type, "stream": stream, "data": {"secret": "x" * 20, "n": n}, **more} for n in range(count)]
    answer = request(server, "POST", "/v1/append", {"events": events})
    assert answer.status == 201, answer
    return answer.json()["last"]


def is_problem(answer, status, code):
    assert answer.status == status and answer.json()["code"] == code, answer
    return answer.json()


def scavenge(server, query=""):
    answer = request(server, "POST", "/v1/scavenge" + query)
    assert answer.status == 202, answer
    state = wait_for(lambda: (s := request(server, "GET", "/v1/scavenge").json())["state"] != "running" and s,
                     "the scavenge ends", 30)
    assert state["state"] == "done", state
    return state


def events(server, **more):
    return request(server, "GET", "/v1/events?limit=1000" + "".join(f"&{k}={v}" for k, v in more.items())).json()["events"]


def stubs(server):
    return [event["position"] for event in events(server) if event.get("stub")]


@tap.test
def a_scavenge_whose_body_says_more_than_the_url_is_not_begun():
    with Server() as server:
        for body in ({"dry_run": True}, {"before": 9}, []):
            is_problem(request(server, "POST", "/v1/scavenge", body), 422, "invalid")
        assert request(server, "GET", "/v1/scavenge").json()["state"] == "never"
        assert request(server, "POST", "/v1/scavenge?dry_run=1", {}).status == 202


@tap.test
def a_rule_is_set_shown_listed_and_removed():
    with Server() as server:
        is_problem(request(server, "GET", "/v1/streams/s/retention"), 404, "no-such-rule")
        answer = request(server, "PUT", "/v1/streams/s/retention", {"max_count": 2, "max_age_s": 60})
        assert answer.status == 200 and answer.position == 1, answer
        assert answer.json()["rule"] == {"stream": "s", "max_age_s": 60, "max_count": 2}, answer
        assert request(server, "GET", "/v1/streams/s/retention").json() == answer.json()
        assert request(server, "PUT", "/v1/retention?prefix=log-", {"max_age_s": 5}).status == 200
        assert request(server, "PUT", "/v1/retention?prefix=", {"max_age_s": 6}).status == 200
        rules = [item["rule"] for item in request(server, "GET", "/v1/retention").json()["rules"]]
        assert rules == [{"stream": "s", "max_age_s": 60, "max_count": 2}, {"prefix": "", "max_age_s": 6},
                         {"prefix": "log-", "max_age_s": 5}], rules
        assert request(server, "DELETE", "/v1/retention?prefix=log-").status == 204
        is_problem(request(server, "DELETE", "/v1/retention?prefix=log-"), 404, "no-such-rule")
        assert request(server, "DELETE", "/v1/streams/s/retention").status == 204
        is_problem(request(server, "GET", "/v1/streams/s/retention"), 404, "no-such-rule")
        assert events(server) == [], "rules are daybook's own events"
        server.kill()
        server.start()
        assert len(request(server, "GET", "/v1/retention").json()["rules"]) == 1


@tap.test
def a_wrong_rule_is_refused_with_everything_that_is_wrong():
    with Server() as server:
        problem = is_problem(request(server, "PUT", "/v1/streams/s/retention", {"max_count": 0, "max_age_s": "1", "x": 1}),
                             422, "invalid")
        assert {v["pointer"] for v in problem["violations"]} == {"", "/max_age_s", "/max_count"}, problem
        is_problem(request(server, "PUT", "/v1/streams/s/retention", "{"), 400, "malformed")
        is_problem(request(server, "PUT", "/v1/streams/s/retention", "[1]"), 400, "malformed")
        is_problem(request(server, "PUT", "/v1/streams/$x/retention", {"max_count": 1}), 400, "stream-invalid")
        is_problem(request(server, "PUT", "/v1/retention", {"max_count": 1}), 400, "parameter-invalid")
        is_problem(request(server, "PUT", "/v1/retention?prefix=$", {"max_count": 1}), 400, "parameter-invalid")
        is_problem(request(server, "PUT", "/v1/retention?prefix=a", {"truncate_before": 1}), 422, "invalid")
        is_problem(request(server, "PUT", "/v1/retention?prefix=a", "x" * 5000), 413, "body-too-large")
        assert request(server, "GET", "/v1/retention").json() == {"rules": []}


@tap.test
def what_is_past_its_rule_goes_and_what_a_view_handles_stays():
    with folder() as app:
        (pathlib.Path(app) / "views").mkdir()
        (pathlib.Path(app) / "views" / "counts.sql").write_text(VIEW)
        with Server(app=app) as server:
            append(server, "s", "Noted", 5)
            append(server, "s", "Counted", 5)
            append(server, "other", "Noted", 5)
            last = append(server, "s", "Noted", 1)
            assert request(server, "PUT", "/v1/streams/s/retention", {"max_count": 1}).status == 200
            dry = scavenge(server, "?dry_run=1")
            assert stubs(server) == [] and dry["dry_run"]
            real = scavenge(server)
            assert stubs(server) == [1, 2, 3, 4, 5]
            for name in ("considered", "gone", "young", "kept", "reasons", "body_bytes", "head", "examined"):
                assert dry[name] == real[name], (name, dry, real)
            assert real["gone"] == 5 and real["kept"] == 5 and real["reasons"] == {"view counts": 5}, real
            gone = events(server)[0]
            assert gone["type"] == "Noted" and gone["version"] == 1 and "data" not in gone, gone
            assert request(server, "GET", "/v1/events").json()["head"] == last + 2
            rows = request(server, "GET", f"/v1/views/counts?min_position={last}").body
            assert request(server, "POST", "/v1/views/counts/rebuild").status == 202
            wait_for(lambda: request(server, "GET", "/v1/views").json()["views"][0]["generation"] == 2, "it is rebuilt")
            assert request(server, "GET", f"/v1/views/counts?min_position={last}").body == rows
            metrics = request(server, "GET", "/metrics").body
            assert b"daybook_scavenge_events_total 5\n" in metrics and b"daybook_scavenge_runs_total 1\n" in metrics
        code, text, _ = daybook("verify", str(server.data)) if server.data.exists() else (0, "", "")
        assert code == 0, text


@tap.test
def a_page_read_before_does_not_show_what_is_gone():
    with Server() as server:
        append(server, "s", "Noted", 5)
        paths = ("/v1/streams/s", "/v1/events?type=Noted", "/v1/streams/s?limit=2")
        for path in paths * 2:
            assert b"secret" in request(server, "GET", path).body
        assert request(server, "PUT", "/v1/streams/s/retention", {"max_count": 1}).status == 200
        scavenge(server)
        for path in paths * 2:
            page = request(server, "GET", path).json()["events"]
            assert [e["version"] for e in page if "data" in e] == ([5] if len(page) == 5 else []), page


@tap.test
def ids_and_conditions_know_what_is_gone():
    with Server() as server:
        id = "01890a5d-ac96-774b-bcce-b302099a8057"
        first = {"events": [{"type": "A", "stream": "s", "id": id, "tags": ["t"], "data": 1}]}
        assert request(server, "POST", "/v1/append", first).status == 201
        append(server, "s", "B", 1)
        assert request(server, "PUT", "/v1/streams/s/retention", {"max_count": 1}).status == 200
        scavenge(server)
        assert stubs(server) == [1]
        again = request(server, "POST", "/v1/append", first)
        assert again.status == 201 and again.json()["replayed"] and again.json()["first"] == 1, again
        first["events"][0]["tags"] = ["u"]
        is_problem(request(server, "POST", "/v1/append", first), 422, "event-id-reused")
        guarded = {"events": [{"type": "D", "data": 1}], "condition": {"failIfEventsMatch": {"items": [{"tags": ["t"]}]}}}
        is_problem(request(server, "POST", "/v1/append", guarded), 409, "append-condition-failed")


@tap.test
def followers_forget_too_and_their_log_is_the_leaders():
    def log(server):
        return [{k: v for k, v in event.items()} for event in events(server, system=1)]
    with Server() as leader, Server(follow=leader) as follower:
        def caught_up(server):
            head = request(leader, "GET", "/v1/events").json()["head"]
            wait_for(lambda: request(server, "GET", "/v1/events").json()["head"] >= head, "it has followed", 30)
        append(leader, "s", "A", 20)
        caught_up(follower)
        assert request(leader, "PUT", "/v1/retention?prefix=s", {"max_count": 3}).status == 200
        scavenge(leader)
        caught_up(follower)
        assert stubs(follower) == list(range(1, 18)) == stubs(leader)
        assert log(follower) == log(leader)
        assert request(follower, "POST", "/v1/scavenge").status == 421
        assert request(follower, "PUT", "/v1/streams/s/retention", {"max_count": 1}).status == 421
        with Server(follow=leader) as late:
            caught_up(late)
            assert log(late) == log(leader)


@tap.test
def a_decider_decides_as_before_on_a_compacted_state():
    if not (HOTEL / "app.so").exists():
        raise Skip("the hotel is not built")
    def command(server, name, body):
        answer = request(server, "POST", f"/v1/commands/{name}", body)
        problem = answer.json()
        return answer.status, problem.get("rule"), [event["type"] for event in problem.get("events", [])]
    def book(server, number):
        return command(server, "BookRoom", {"reservation": f"R-{number}", "hotel": "Resort", "room_type": "A",
                                            "arrival": "2026-05-01", "nights": 2, "guest": "G", "on": "2026-04-01"})
    with folder() as app:
        shutil.copy(HOTEL / "app.so", app / "app.so")
        with Server(app=app) as server:
            schemas = [command(server, "AddRooms", {"hotel": "Resort", "room_type": "A", "rooms": 2})]
            before = schemas + [book(server, n) for n in (1, 2, 3, 1)]
            assert before[1][0] == 201 and before[3][0] == 422, before
            assert request(server, "PUT", "/v1/retention?prefix=", {"max_age_s": 1}).status == 200
            wait_for(lambda: scavenge(server, "?dry_run=1")["young"] == 0, "the events are a second old", 20, 0.2)
            plain = scavenge(server)
            assert plain["gone"] == 0 and set(plain["reasons"]) == {"decider reservation", "decider rooms"}, plain
            dry = scavenge(server, "?dry_run=1&compact=1")
            real = scavenge(server, "?compact=1")
            assert real["gone"] == plain["kept"] == dry["gone"] and real["kept"] == 0, (dry, real)
            assert real["compacted"] == dry["compacted"] == 3, real
            for restart in (False, True):
                if restart:
                    server.kill()
                    server.start()
                assert [book(server, n) for n in (3, 1)] == before[3:], "refused as before"
            assert command(server, "CancelReservation", {"reservation": "R-1", "on": "2026-04-01"})[0] == 201
            assert book(server, 4)[0] == 201
            answer = request(server, "POST", "/v1/compact", {"tag": "reservation:R-4", "data": {"status": "booked"}})
            assert answer.status == 201 and answer.position == answer.json()["position"], answer
            is_problem(request(server, "POST", "/v1/compact", {"tag": "nothing:1"}), 422, "invalid")
            problem = is_problem(request(server, "POST", "/v1/compact", {"tag": 1, "data": [], "x": 1}), 422, "invalid")
            assert len(problem["violations"]) == 3, problem
            is_problem(request(server, "POST", "/v1/compact", "["), 400, "malformed")
            assert daybook("compact", "reservation:R-4", "--url", server.url)[0] == 0
            assert daybook("scavenge", "--compact", "--dry-run", "--url", server.url)[0] == 0


@tap.test
def a_past_that_went_is_not_made_up():
    view = VIEW.replace("counts", "totals") + "-- on $compacted\nupdate totals set n = n;\n"
    with folder() as app:
        (app / "views").mkdir()
        with Server(app=app) as server:  # nobody handles it yet
            append(server, "s", "Counted", 3)
            assert request(server, "PUT", "/v1/streams/s/retention", {"max_count": 1}).status == 200
            scavenge(server)
            server.kill()
            (app / "views" / "totals.sql").write_text(view)
            server.start()
            answer = request(server, "GET", "/v1/views/totals?as_of=3")
            assert is_problem(answer, 409, "scavenged")["first"] == 5, answer
            assert request(server, "GET", "/v1/views/totals?as_of=5").json() == [{"stream": "s", "n": 1}]


@tap.test
def a_server_scavenges_by_itself_when_it_is_told_to():
    with Server(options=["--scavenge-every", "1"]) as server:
        append(server, "s", "A", 4)
        assert request(server, "PUT", "/v1/streams/s/retention", {"max_count": 1}).status == 200
        wait_for(lambda: stubs(server) == [1, 2, 3], "it has scavenged", 20, 0.1)
    code, _, error = daybook("serve", "--scavenge-every", "2592001")
    assert code == 2 and "2592000" in error, error


@tap.test
def what_a_consumer_group_has_not_acknowledged_stays():
    def tokens(server, count):
        answer = request(server, "POST", "/v1/groups/mails/fetch", {"consumer": "c", "count": count})
        return [event["token"] for event in answer.json()["events"]]

    with Server() as server:
        append(server, "s", "Noted", 6)
        append(server, "s", "Other", 1)
        definition = {"types": ["Noted"], "after": 1, "tries_max": 1}
        assert request(server, "POST", "/v1/groups/mails", definition).status == 201
        first, second, third = tokens(server, 3)
        assert request(server, "POST", "/v1/groups/mails/ack", {"tokens": [first]}).status == 200
        assert request(server, "POST", "/v1/groups/mails/nack", {"tokens": [second], "reason": "no"}).json()["parked"] == 1
        assert request(server, "PUT", "/v1/streams/s/retention", {"truncate_before": 100}).status == 200
        wait_for(lambda: any(event["type"] == "$GroupAcked" for event in events(server, system=1)), "it is written down")
        state = scavenge(server)
        assert stubs(server) == [1, 2, 7], state
        assert state["reasons"] == {"group mails has not acknowledged it": 4}, state
        server.kill()
        server.start()
        state = scavenge(server)
        assert stubs(server) == [1, 2, 7] and state["kept"] == 4, "and so it is after a crash"
        assert request(server, "POST", "/v1/groups/mails/ack", {"tokens": tokens(server, 100)}).status == 200
        assert request(server, "POST", "/v1/groups/mails/replay", {}).status == 200
        assert request(server, "POST", "/v1/groups/mails/ack", {"tokens": tokens(server, 100)}).status == 200
        wait_for(lambda: scavenge(server)["kept"] == 0, "nobody waits any more")
        assert stubs(server) == [1, 2, 3, 4, 5, 6, 7]


@tap.test
def an_import_passes_over_what_is_gone_and_says_how_many():
    with folder() as place, Server() as source:
        append(source, "s", "Noted", 5)
        assert request(source, "PUT", "/v1/streams/s/retention", {"max_count": 2}).status == 200
        scavenge(source)
        code, text, error = daybook("export", url=source.url)
        assert code == 0 and text.count('"stub":true') == 3, (code, text, error)
        lines, refused = pathlib.Path(place) / "all.ndjson", pathlib.Path(place) / "refused"
        lines.write_text(text)
        with Server() as target:
            code, text, error = daybook("import", str(lines), "--refused", str(refused), url=target.url)
            assert code == 0 and text == "5 lines: 2 accepted, 0 refused; 3 passed over, whose data is gone\n", (text, error)
            assert [event["data"]["n"] for event in events(target)] == [3, 4]
            assert [json.loads(line)["event"]["position"] for line in refused.read_text().splitlines()] == [1, 2, 3]
            code, text, _ = daybook("import", str(lines), "--json", url=target.url)
            assert code == 0 and json.loads(text)["gone"] == 3 and json.loads(text)["accepted"] == 2, text


@tap.test
def what_daybook_keeps_for_itself_is_past_no_rule():
    with Server() as server:
        append(server, "s", "Noted", 2)
        assert request(server, "POST", "/v1/groups/mails", {}).status == 201
        assert request(server, "PUT", "/v1/retention?prefix=", {"max_age_s": 1}).status == 200
        for path in ("/v1/streams/$group-mails/retention", "/v1/streams/$retention/retention", "/v1/retention?prefix=$",
                     "/v1/retention?prefix=$group-"):
            answer = request(server, "PUT", path, {"max_count": 1})
            assert answer.status == 400 and b"must not begin with" in answer.body, answer
        batch = request(server, "POST", "/v1/groups/mails/fetch", {"consumer": "c", "count": 9}).json()["events"]
        tokens = [event["token"] for event in batch]
        assert request(server, "POST", "/v1/groups/mails/ack", {"tokens": tokens}).status == 200
        wait_for(lambda: scavenge(server)["gone_already"] == 2, "both are old enough", 30)
        for event in events(server, system=1):
            assert event.get("stub", False) == (event["type"] == "Noted"), event
        server.kill()
        server.start()
        assert request(server, "GET", "/v1/groups/mails").status == 200
        assert len(request(server, "GET", "/v1/retention").json()["rules"]) == 1


@tap.test
def the_command_line_sets_rules_and_scavenges():
    with Server() as server:
        def run(*arguments):
            return daybook(*arguments, "--url", server.url)
        append(server, "s", "A", 4)
        assert run("retention", "set", "s", "--max-count", "1")[0] == 0
        assert run("retention", "set", "log-", "--prefix", "--max-age", "60")[0] == 0
        code, text, _ = run("retention", "list")
        assert code == 0 and "s  max count 1" in text and "log-…  max age (s) 60" in text, text
        assert run("retention", "show", "s")[0] == 0 and run("retention", "show", "none")[0] == 1
        assert run("retention", "set", "s")[0] == 2 and run("retention", "set")[0] == 2 and run("retention", "x")[0] == 2
        code, text, _ = run("scavenge", "--dry-run")
        assert code == 0 and "3 would go" in text and stubs(server) == [], text
        code, text, _ = run("scavenge", "--json")
        assert code == 0 and json.loads(text)["gone"] == 3 and stubs(server) == [1, 2, 3], text
        assert run("retention", "remove", "s")[0] == 0 and run("retention", "remove", "s")[0] == 1


tap.main()
