"""Erasure: a subject's data is gone from every file, stays gone, and the report says what was done."""
import concurrent.futures
import json
import pathlib
import shutil

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
def an_erasure_is_for_the_leader_and_for_good_names():
    with Server() as leader, Server(follow=leader) as follower:
        answer = request(follower, "DELETE", "/v1/subjects/guest-17")
        assert answer.status == 421 and answer.json()["code"] == "not-leader", answer
        answer = request(leader, "POST", "/v1/append", {"events": [{"type": "A", "data": 1, "subject": ""}]})
        assert answer.status == 422 and answer.json()["violations"][0]["pointer"] == "/events/0/subject", answer


tap.main()
