"""Erasure: a subject's data is gone from every file, stays gone, and the report says what was done."""
import concurrent.futures
import contextlib
import hashlib
import json
import pathlib
import re
import shutil
import socket

from daybook_test import Server, Subscription, Tap, daybook, folder, request, wait_for

tap = Tap()

SECRET = "Ana-Lucia-Quirós"
VIEW = """-- view: guests
-- version: 1
create table guests (position integer primary key, guest text not null);
-- on Named
insert into guests values (:position, :data ->> 'guest');
"""
LOOSE = """-- view: loose
-- version: 1
create table loose (position integer primary key, guest text);
-- on Named
insert into loose values (:position, :data ->> 'guest');
"""
OTHER = """-- view: others
-- version: 1
create table others (position integer primary key);
-- on Noted
insert into others values (:position);
"""


class App:
    def __enter__(self):
        self.folder = folder()
        path = pathlib.Path(self.folder.__enter__())
        (path / "views").mkdir()
        for name, text in (("guests", VIEW), ("loose", LOOSE), ("others", OTHER)):
            (path / "views" / f"{name}.sql").write_text(text)
        return str(path)

    def __exit__(self, *what):
        return self.folder.__exit__(*what)


def append(server, subject, guest=SECRET, type="Named", **more):
    event = {"type": type, "data": {"guest": guest}, "meta": {"note": guest}, "stream": "s", **more}
    if subject:
        event["subject"] = subject
    answer = request(server, "POST", "/v1/append", {"events": [event]})
    assert answer.status == 201, answer
    return answer.json()["last"]


def erase(server, subject, status=200):
    answer = request(server, "DELETE", f"/v1/subjects/{subject}", timeout=60)
    assert answer.status == status, answer
    return answer.json()


def rows(server, view, position=0, **more):
    query = "".join(f"&{key}={value}" for key, value in more.items())
    answer = request(server, "GET", f"/v1/views/{view}?min_position={position}{query}" if not more else
                     f"/v1/views/{view}?order=position{query}")
    assert answer.status == 200, answer
    return answer.json()


def events(server):
    return request(server, "GET", "/v1/events?limit=1000").json()["events"]


def files_with(data, *texts):
    """Files under a folder in which one of the texts stands."""
    found = []
    for path in pathlib.Path(data).rglob("*"):
        if path.is_file():
            content = path.read_bytes()
            found += [str(path.relative_to(data)) for text in texts if text.encode() in content]
    return found


@tap.test
def sealed_data_is_read_as_before_and_stands_in_no_file_of_the_log():
    with folder() as data, Server(data=data) as server:
        append(server, "guest-17")
        event = events(server)[0]
        assert event["subject"] == "guest-17" and event["data"] == {"guest": SECRET}, event
        assert event["meta"] == {"note": SECRET} and event["tags"] == [], event
        answer = request(server, "GET", "/v1/streams/s?limit=1")
        assert answer.headers["Cache-Control"] == "no-store", dict(answer.headers)
        assert files_with(data, SECRET, "guest-17") == []
        append(server, None, "public", stream="p")
        append(server, None, "public", stream="p")
        answer = request(server, "GET", "/v1/streams/p?limit=1")
        assert "immutable" in answer.headers["Cache-Control"], dict(answer.headers)


@tap.test
def after_an_erasure_no_file_holds_the_data_and_the_report_says_what_was_done():
    with App() as app, folder() as data, Server(app=app, data=data) as server:
        append(server, "guest-17")
        append(server, "guest-18", "Bo")
        last = append(server, "guest-17", type="Noted")
        assert [row["guest"] for row in rows(server, "guests", last)] == [SECRET, "Bo"]
        assert [row["guest"] for row in rows(server, "guests", as_of=1)] == [SECRET]
        report = erase(server, "guest-17")
        assert report["position"] == last + 1 and report["events"] == 2 and report["complete"], report
        assert len(report["keys"]) == 1 and not report["again"] and report["not_reached"], report
        views = {view["name"]: view for view in report["views"]}
        assert set(views) == {"guests", "loose", "others"}, report
        assert all(view["state"] == "rebuilt" and view["generation"] == 2 for view in views.values()), report
        shown = events(server)
        assert shown[0]["erased"] and "data" not in shown[0] and "meta" not in shown[0], shown
        assert shown[1]["data"] == {"guest": "Bo"} and len(shown) == 3, shown
        assert [row["guest"] for row in rows(server, "guests")] == ["Bo"]
        assert [row["guest"] for row in rows(server, "loose")] == [None, "Bo"]
        assert rows(server, "guests", as_of=1) == [] and rows(server, "loose", as_of=1)[0]["guest"] is None
        wait_for(lambda: files_with(data, SECRET, "guest-17") == [], "the data is in no file")
        again = erase(server, "guest-17")
        assert again["again"] and again["position"] == report["position"] and again["keys"] == report["keys"], again
        assert erase(server, "nobody", 404)["code"] == "no-such-subject"
        metrics = request(server, "GET", "/metrics").body
        assert b"daybook_erasures 1\n" in metrics and b"daybook_erasures_open 0\n" in metrics
        code, text, _ = daybook("verify", str(data))
        assert code == 0, text


@tap.test
def an_erased_subject_stays_erased_after_a_kill_and_a_new_event_has_a_new_key():
    with App() as app, folder() as data:
        server = Server(app=app, data=data).start()
        try:
            append(server, "guest-17")
            first = erase(server, "guest-17")
            server.kill()
            server.start()
            assert events(server)[0]["erased"]
            last = append(server, "guest-17", "Ana again")
            assert events(server)[-1]["data"] == {"guest": "Ana again"}
            assert [row["guest"] for row in rows(server, "guests", last)] == ["Ana again"]
            second = erase(server, "guest-17")
            assert second["position"] > first["position"] and second["keys"] != first["keys"], second
            assert rows(server, "guests") == []
        finally:
            server.kill()


@tap.test
def an_erasure_that_is_killed_anywhere_is_finished_at_the_next_start():
    with App() as app, folder() as data:
        server = Server(app=app, data=data).start()
        try:
            for round in range(12):
                subject, secret = f"guest-{round}", f"Secret-{round}-Name"
                last = append(server, subject, secret)
                rows(server, "guests", last)
                with concurrent.futures.ThreadPoolExecutor() as pool:
                    answer = pool.submit(lambda: request(server, "DELETE", f"/v1/subjects/{subject}", timeout=30))
                    if round % 3 == 0:
                        wait_for(lambda: answer.done() or pathlib.Path(data, "keys", "fences").stat().st_size > 0, "it began")
                    elif round % 3 == 1:
                        wait_for(lambda: answer.done() or any(pathlib.Path(data, "views").glob("*@*.db-wal")), "views are built")
                    server.kill()
                    fenced = answer.exception() is None and answer.result().status in (200, 202)
                server.start()
                if not fenced and "data" in events(server)[-1]:
                    continue  # it had not begun
                report = erase(server, subject)
                assert report["complete"], report
                assert events(server)[-1].get("erased"), events(server)[-1]
                wait_for(lambda: files_with(data, secret) == [], f"{secret} is in no file")
        finally:
            server.kill()


@tap.test
def appends_about_a_subject_during_its_erasure_are_erased_or_stand_behind_the_fence():
    with App() as app, folder() as data, Server(app=app, data=data) as server:
        append(server, "guest-17")
        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            writes = [pool.submit(append, server, "guest-17", f"v{n}") for n in range(60)]
            report = erase(server, "guest-17")
            positions = [write.result() for write in writes]
        shown = {event["position"]: event for event in events(server)}
        for position in positions:
            assert ("data" in shown[position]) == (position > report["position"]), (position, report["position"])
        assert request(server, "GET", "/ready").status == 200


@tap.test
def subscribers_that_come_later_see_it_erased():
    with folder() as data, Server(data=data) as server:
        with Subscription(server) as feed:
            append(server, "guest-17")
            assert feed.events(1)[0]["data"]["data"] == {"guest": SECRET}
            erase(server, "guest-17")
            with Subscription(server) as later:
                assert later.events(1)[0]["data"]["erased"] is True
            append(server, None, "Bo")
            assert feed.events(1)[0]["data"]["data"] == {"guest": "Bo"}


@tap.test
def a_restore_joins_the_fences_and_the_command_line_asks_first():
    with folder() as one, folder() as work:
        backup, restored = str(pathlib.Path(work) / "backup"), str(pathlib.Path(work) / "restored")
        with Server(data=one) as server:
            append(server, "guest-17")
            append(server, "guest-18", "Bo")
            assert daybook("backup", one, backup)[0] == 0
            code, _, error = daybook("erase", "guest-17", url=server.url, input="")
            assert code == 2 and "--yes" in error, (code, error)
            code, text, error = daybook("erase", "guest-17", "--yes", url=server.url)
            assert code == 0 and "Erased at position 3: 1 events, 1 keys." in text and "exports" in text, (text, error)
            code, text, _ = daybook("erase", "guest-17", "--yes", "--json", url=server.url)
            assert code == 0 and json.loads(text)["again"] is True, text
            code, _, error = daybook("erase", "nobody", "--yes", url=server.url)
            assert code == 1 and "Nothing was ever sealed" in error, (code, error)
        code, _, error = daybook("restore", backup, restored, "--fences", one)
        assert code == 0, error
        with Server(data=restored) as server:
            shown = events(server)
            assert shown[0]["erased"] and shown[1]["data"] == {"guest": "Bo"}, shown
        shutil.rmtree(restored)


@tap.test
def what_is_exported_unsealed_is_sealed_again_at_import():
    with folder() as one, folder() as work:
        with Server(data=one) as server:
            append(server, "guest-17", tags=["room:7"])
            append(server, None, "Bo")
            for form in ("ndjson", "cloudevents"):
                code, text, error = daybook("export", "--format", form, url=server.url)
                assert code == 0 and SECRET in text, error
                (pathlib.Path(work) / form).write_text(text)
        for form in ("ndjson", "cloudevents"):
            with folder() as two, Server(data=two) as server:
                code, _, error = daybook("import", "--format", form, pathlib.Path(work) / form, url=server.url)
                assert code == 0, error
                shown = events(server)
                assert shown[0]["subject"] == "guest-17" and shown[0]["data"] == {"guest": SECRET}, shown
                assert shown[0]["meta"] == {"note": SECRET} and shown[0]["tags"] == ["room:7"], shown
                assert "subject" not in shown[1], shown
                assert files_with(two, SECRET, "guest-17") == [], form
                erase(server, "guest-17")
                code, text, error = daybook("export", "--format", form, url=server.url)
                assert code == 0 and SECRET not in text and "erased" in text, (text, error)


@tap.test
def an_erasure_is_for_the_leader_and_for_good_names():
    with Server() as leader, Server(follow=leader) as follower:
        answer = request(follower, "DELETE", "/v1/subjects/guest-17")
        assert answer.status == 421 and answer.json()["code"] == "not-leader", answer
        answer = request(leader, "POST", "/v1/append", {"events": [{"type": "A", "data": 1, "subject": ""}]})
        assert answer.status == 422 and answer.json()["violations"][0]["pointer"] == "/events/0/subject", answer


@tap.test
def a_leader_whose_keys_are_missing_does_not_start_until_they_are_back_or_given_up():
    with folder() as data, folder() as work:
        with Server(data=data) as server:
            append(server, None, "Bo")
            append(server, "guest-17")
        keys, aside = pathlib.Path(data) / "keys", pathlib.Path(work) / "keys"
        shutil.move(keys, aside)
        for _ in range(2):  # also the second time: nothing was made in their place
            code, _, error = daybook("serve", "--data", data, "--listen", "127.0.0.1:0")
            assert code == 3 and "event 2 is about a subject" in error and "put it back" in error, (code, error)
            assert not keys.exists()
        shutil.copytree(aside, keys)
        with Server(data=data) as server:
            assert events(server)[1]["data"] == {"guest": SECRET}
        shutil.rmtree(keys)
        with Server(data=data, options=["--keys-lost"]) as server:
            assert events(server)[1]["sealed"] is True
        with Server(data=data) as server:  # it has keys of its own from now on
            append(server, "guest-17", "Ana again")
            assert events(server)[2]["data"] == {"guest": "Ana again"}


def ready(server):
    return request(server, "GET", "/ready")


def reaches(server, position):
    wait_for(lambda: ready(server).json()["journal"]["position"] >= position, f"it reaches {position}", 40)


def shows(server, position):
    """The event at a position, once its key is there."""
    def look():
        event = request(server, "GET", f"/v1/events?after={position - 1}&limit=1").json()["events"][0]
        return None if event.get("sealed") else event
    return wait_for(look, f"the key of event {position} comes", 40)


@tap.test
def a_follower_reads_what_is_sealed_and_erases_it_with_its_leader():
    with App() as app, Server(app=app) as leader, Server(app=app, follow=leader) as follower:
        last = append(leader, "guest-17")
        append(leader, "guest-18", "Bo")
        reaches(follower, last + 1)
        assert shows(follower, last) == events(leader)[0]
        answer = request(follower, "GET", f"/v1/views/guests?min_position={last + 1}", headers={"Prefer": "wait=20"})
        assert [row["guest"] for row in answer.json()] == [SECRET, "Bo"], answer
        report = erase(leader, "guest-17")
        assert report["followers"]["connected"] == 1 and len(report["followers"]["list"]) == 1, report
        reaches(follower, report["position"])
        wait_for(lambda: [row["guest"] for row in rows(follower, "guests")] == ["Bo"], "its view is rebuilt", 40)
        assert events(follower)[0]["erased"] and events(follower)[1]["data"] == {"guest": "Bo"}
        wait_for(lambda: files_with(follower.data, SECRET, "guest-17") == [], "the data is in no file", 40)
        wait_for(lambda: b"daybook_erasures_open 0\n" in request(follower, "GET", "/metrics").body, "it is done", 40)
        again = append(leader, "guest-17", "Ana again")
        reaches(follower, again)
        assert shows(follower, again)["data"] == {"guest": "Ana again"}


def followers(server, subject):
    report = erase(server, subject)
    listed = report["followers"]["list"]
    assert all(one["fence_sent"] == (one["sent"] >= report["position"]) for one in listed), report
    return listed


@tap.test
def the_report_lists_followers_that_are_connected_and_says_whether_they_have_been_told():
    with Server() as leader, folder() as data:
        append(leader, "guest-17")
        fence = erase(leader, "guest-17")["position"]
        assert followers(leader, "guest-17") == []
        follower = Server(data=data, follow=leader).start()
        try:
            told = wait_for(lambda: [one for one in followers(leader, "guest-17") if one["fence_sent"]], "it is told", 40)
            assert len(told) == 1 and told[0]["sent"] == fence and told[0]["address"].startswith("127.0.0.1:"), told
            code, text, error = daybook("erase", "guest-17", "--yes", url=leader.url)
            assert code == 0 and f"  {told[0]['address']}: sent up to {fence}, so told to erase\n" in text, (text, error)
            follower.kill()
            wait_for(lambda: followers(leader, "guest-17") == [], "it is listed no more", 40)
            report = erase(leader, "guest-17")
            assert "followers that are down: they erase when they come back, before they are ready" in report["not_reached"], report
        finally:
            follower.kill()


@tap.test
def a_follower_is_listed_by_the_address_it_comes_from_and_with_what_it_has_been_sent():
    with Server() as leader:
        append(leader, "guest-17")
        fence = erase(leader, "guest-17")["position"]
        for after, sent in ((0, fence), (fence, fence)):
            with socket.create_connection(("127.0.0.1", leader.port), timeout=20) as connection:
                connection.sendall(f"GET /v1/log?after={after} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
                assert connection.recv(12) == b"HTTP/1.1 200"
                own = "127.0.0.1:%d" % connection.getsockname()[1]
                expected = [{"address": own, "sent": sent, "fence_sent": sent >= fence}]
                wait_for(lambda: followers(leader, "guest-17") == expected, f"after {after}: it has been sent {sent}", 40)
            wait_for(lambda: followers(leader, "guest-17") == [], "it is listed no more", 40)
        # One that has more than its leader is sent nothing, and is none.
        assert request(leader, "GET", f"/v1/log?after={fence + 7}").json()["code"] == "beyond-head"
        assert followers(leader, "guest-17") == []


@tap.test
def the_report_lists_no_more_than_64_followers_and_counts_the_others():
    with Server(options=["--limit", "follower_count_max=66"]) as leader, contextlib.ExitStack() as open_ones:
        append(leader, "guest-17")
        erase(leader, "guest-17")
        for _ in range(66):
            connection = open_ones.enter_context(socket.create_connection(("127.0.0.1", leader.port), timeout=20))
            connection.sendall(b"GET /v1/log HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert connection.recv(12) == b"HTTP/1.1 200"
        report = wait_for(lambda: next((report for report in [erase(leader, "guest-17")]
                                        if all(one["fence_sent"] for one in report["followers"]["list"])), None), "all are told", 40)
        assert report["followers"]["connected"] == 66 and len(report["followers"]["list"]) == 64, report
        assert len({one["address"] for one in report["followers"]["list"]}) == 64, report


@tap.test
def a_follower_that_was_away_erases_before_it_is_ready():
    with App() as app, folder() as data, Server(app=app) as leader:
        follower = Server(app=app, data=data, follow=leader).start()
        try:
            last = append(leader, "guest-17")
            reaches(follower, last)
            wait_for(lambda: rows(follower, "guests") != [], "its view has the row", 40)
            follower.kill()
            erase(leader, "guest-17")
            follower.start()
            before = []
            def is_ready():
                answer = ready(follower)
                if answer.status == 503:
                    before.append(answer.json()["journal"]["reason"])
                return answer.status == 200
            wait_for(is_ready, "it is ready", 40)
            assert rows(follower, "guests") == [] and events(follower)[0]["erased"], before
            wait_for(lambda: files_with(data, SECRET, "guest-17") == [], "the data is in no file", 40)
        finally:
            follower.kill()


@tap.test
def a_follower_whose_leader_is_away_is_not_ready_before_it_has_heard_it():
    with folder() as one, folder() as two:
        leader = Server(data=one).start()
        follower = Server(data=two, follow=leader).start()
        try:
            reaches(follower, append(leader, "guest-17"))
            shows(follower, 1)
            follower.kill()
            leader.kill()
            follower.start()
            answer = ready(follower)
            assert answer.status == 503 and "has not been heard" in answer.json()["journal"]["reason"], answer
            assert shows(follower, 1)["data"] == {"guest": SECRET}
            leader.start()
            wait_for(lambda: ready(follower).status == 200, "it is ready", 40)
        finally:
            follower.kill()
            leader.kill()


@tap.test
def a_fenced_key_never_comes_again_by_the_way_of_keys():
    """An older copy of the leader's vault gives the key once more: the follower's fence stands against it."""
    with App() as app, folder() as one, folder() as two, folder() as work:
        old = str(pathlib.Path(work) / "old")
        leader = Server(app=app, data=one).start()
        follower = Server(app=app, data=two, follow=leader).start()
        try:
            reaches(follower, append(leader, "guest-17"))
            shows(follower, 1)
            assert daybook("backup", one, old)[0] == 0
            report = erase(leader, "guest-17")
            reaches(follower, report["position"])
            wait_for(lambda: events(follower)[0].get("erased"), "it is erased")
            follower.kill()
            with Server(data=old) as revived:  # the backup knows nothing of the erasure
                assert events(revived)[0]["data"] == {"guest": SECRET}
                keys = request(revived, "GET", "/v1/keys")
                assert keys.status == 200 and len(keys.body) == 8 + 2 * 128, len(keys.body)
                assert keys.headers["Cache-Control"] == "no-store", dict(keys.headers)
                secret = keys.body[8 + 128 + 56:8 + 128 + 88]
                assert secret in pathlib.Path(old, "keys", "keys").read_bytes()
                with Server(app=app, data=two, follow=revived) as again:
                    wait_for(lambda: b"daybook_follower_key_fetches_total 0\n" not in request(again, "GET", "/metrics").body,
                             "it has taken the keys", 40)
                    assert events(again)[0]["erased"]
                    assert secret not in pathlib.Path(two, "keys", "keys").read_bytes()
            left = request(leader, "GET", "/v1/keys")
            assert left.status == 200 and len(left.body) == 8 + 128, len(left.body)
        finally:
            follower.kill()
            leader.kill()


@tap.test
def a_follower_that_may_not_have_keys_shows_events_as_sealed_and_says_why():
    with App() as app, folder() as work:
        tokens = pathlib.Path(work) / "tokens"
        tokens.write_text("".join(f"sha256:{hashlib.sha256(role.encode()).hexdigest()} {role} somebody\n" for role in ("operator", "reader")))
        with Server(app=app, options=["--token-file", tokens]) as leader:
            headers = {"Authorization": "Bearer operator"}
            body = {"events": [{"type": "Named", "data": {"guest": SECRET}, "subject": "guest-17"}]}
            assert request(leader, "POST", "/v1/append", body, headers).status == 201
            assert request(leader, "GET", "/v1/keys", headers={"Authorization": "Bearer reader"}).status == 403
            assert request(leader, "GET", "/v1/keys", headers=headers).status == 200
            follower = Server(app=app, follow=leader)
            follower.environment["DAYBOOK_TOKEN"] = "reader"
            with follower:
                reaches(follower, 1)
                why = wait_for(lambda: ready(follower).json()["follower"].get("keys"), "it says why", 40)
                assert "operators only" in why, why
                event = events(follower)[0]
                assert event["sealed"] is True and "data" not in event, event
                view = wait_for(lambda: next((v for v in ready(follower).json()["views"] if v["name"] == "guests" and v["state"] == "stalled"),
                                             None), "its view waits", 40)
                assert "key" in view["error"]["detail"], view
                assert rows(follower, "guests") == []


def uncopied(server):
    return int(re.search(rb"^daybook_subject_keys_uncopied (\d+)$", request(server, "GET", "/metrics").body, re.M).group(1))


@tap.test
def a_leader_says_how_many_keys_no_follower_holds():
    with folder() as one, folder() as two, Server(data=one) as leader:
        append(leader, "guest-1")
        append(leader, "guest-2")
        assert uncopied(leader) == 2
        with Server(data=two, follow=leader):
            wait_for(lambda: uncopied(leader) == 0, "the follower holds them", 30)
            append(leader, "guest-3")
            wait_for(lambda: uncopied(leader) == 0, "and the next one", 30)
        append(leader, "guest-4")
        assert uncopied(leader) == 1


tap.main()
