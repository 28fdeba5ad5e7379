"""Keeping a journal: backup while a server writes, kill -9, restore, verify; with real processes."""
import json
import pathlib
import tempfile
import threading

from daybook_test import Server, Tap, daybook, request, wait_for

tap = Tap()


def append(server, number):
    events = [{"type": "Counted", "stream": "counter", "tags": ["n:%d" % number], "data": {"n": number}},
              {"type": "Said", "data": {"so": number}}]
    answer = request(server, "POST", "/v1/append", {"events": events})
    assert answer.status == 201, answer
    return answer.position


class Writer(threading.Thread):
    """Appends until it is stopped or the server is gone; `acknowledged` is the last position it was told."""

    def __init__(self, server):
        super().__init__(daemon=True)
        self.server, self.acknowledged, self.over = server, 0, False

    def run(self):
        number = 0
        while not self.over:
            try:
                self.acknowledged = append(self.server, number)
            except OSError:
                return
            number += 1


def report(*arguments, code=0):
    told, output, error = daybook(*arguments, "--json")
    assert told == code, (arguments, told, output, error)
    return json.loads(output)


def events_of(folder):
    with Server(data=folder) as server:
        return [json.loads(line) for line in
                request(server, "GET", "/v1/events?limit=10000", headers={"Accept": "application/x-ndjson"}).body.splitlines()]


@tap.test
def a_served_journal_is_backed_up_again_and_again_and_restored_after_kill_9():
    with tempfile.TemporaryDirectory() as place:
        data, copy, new = (str(pathlib.Path(place) / name) for name in ("data", "copy", "new"))
        with Server(data=data) as server:
            writer = Writer(server)
            writer.start()
            reached = 0
            for _ in range(4):
                wait_for(lambda: writer.acknowledged > reached + 20, "more appends")
                before = writer.acknowledged
                made = report("backup", data, copy)
                assert made["position_before"] == reached and made["position"] >= before, (made, before)
                reached = made["position"]
                assert report("verify", copy)["head"] == reached
            server.kill()
            writer.join(30)
        restored = report("restore", copy, new)
        assert restored["position"] == restored["source_position"] == reached, restored
        assert report("verify", new)["damage_count"] == 0
        kept, whole = events_of(new), events_of(data)
        assert kept == whole[:reached] and len(whole) >= writer.acknowledged


@tap.test
def a_restored_journal_is_another_one_and_its_old_cursors_are_told_so():
    with tempfile.TemporaryDirectory() as place:
        data, new = (str(pathlib.Path(place) / name) for name in ("data", "new"))
        with Server(data=data) as server:
            for number in range(5):
                append(server, number)
            answer = request(server, "GET", "/v1/events?limit=1")
            cursor = answer.headers["Daybook-Journal"] + "-4"
            at_five = request(server, "GET", "/v1/events?after=4&limit=1").json()["events"][0]["time"]
            assert request(server, "GET", f"/v1/events?after={cursor}").status == 200
            made = report("restore", data, new, "--until", at_five)  # of one that is served, as far as it is durable
            assert made["position"] >= 6 and made["position"] % 2 == 0, made
        with Server(data=new) as server:
            answer = request(server, "GET", f"/v1/events?after={cursor}")
            assert answer.status == 409 and answer.json()["code"] == "other-journal", answer
            assert append(server, 9) == made["position"] + 2
        code, _, error = daybook("restore", data, new)
        assert code == 1 and "holds something" in error, (code, error)


@tap.test
def a_restore_until_a_position_inside_an_append_ends_before_that_append():
    with tempfile.TemporaryDirectory() as place:
        data, new = (str(pathlib.Path(place) / name) for name in ("data", "new"))
        with Server(data=data) as server:
            for number in range(5):
                append(server, number)
        assert report("restore", data, new, "--until", "7")["position"] == 6
        assert [event["position"] for event in events_of(new)] == [1, 2, 3, 4, 5, 6]
        code, _, error = daybook("restore", data, new + "2", "--until", "tomorrow")
        assert code == 2 and "RFC 3339" in error, (code, error)


@tap.test
def a_backup_into_something_else_is_refused_and_changes_nothing():
    with tempfile.TemporaryDirectory() as place:
        first, second, copy = (str(pathlib.Path(place) / name) for name in ("first", "second", "copy"))
        for data in (first, second):
            with Server(data=data) as server:
                append(server, 1)
        report("backup", first, copy)
        code, _, error = daybook("backup", second, copy)
        assert code == 1 and "another journal" in error, (code, error)
        code, _, error = daybook("backup", first, second)
        assert code == 1 and "not a backup" in error, (code, error)
        assert report("backup", first, copy)["bytes"] == 0
        assert report("verify", second)["damage_count"] == 0
        code, _, error = daybook("backup", place + "/nothing", place + "/new")
        assert code == 3 and "nothing" in error, (code, error)


@tap.test
def what_talks_to_no_server_does_not_offer_to():
    for command in ("backup", "restore", "verify", "serve"):
        code, output, _ = daybook(command, "--help")
        listed = [line for line in output.splitlines() if line.startswith("  --token-file")]
        assert code == 0 and "--url" not in output and len(listed) == (command == "serve"), output
        code, _, error = daybook(command, "--url", "http://127.0.0.1:1")
        assert code == 2 and "no option --url" in error, (command, code, error)


tap.main()
