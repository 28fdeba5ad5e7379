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
def a_history_written_anew_is_whole_and_fails_the_auditors_checkpoint():
    with tempfile.TemporaryDirectory() as place:
        place = pathlib.Path(place)
        key, data, forged = place / "hotel.key", place / "data", place / "forged"
        assert daybook("keygen", "--name", "example.com/hotel", key)[0] == 0
        assert key.stat().st_mode & 0o777 == 0o600
        assert daybook("keygen", "--name", "example.com/hotel", key)[0] == 1  # a key is not replaced
        with Server(data=data, options=("--checkpoint-key", str(key))) as server:
            for number in range(4):
                append(server, number)
            answer = request(server, "GET", "/v1/checkpoint")
            assert answer.status == 200 and answer.position == 8, answer
            assert answer.headers["Content-Type"].startswith("text/plain"), answer.headers
            public = request(server, "GET", "/v1/checkpoint/key").body.decode().strip()
            lines = [json.loads(line) for line in request(
                server, "GET", "/v1/events", headers={"Accept": "application/x-ndjson"}).body.splitlines()]
            append(server, 4)
        note = place / "march.note"
        note.write_bytes(answer.body)
        assert answer.body.decode().splitlines()[:2] == ["example.com/hotel", "8"], answer.body
        assert (key.parent / "hotel.key.pub").read_text().strip() == public
        audit = report("verify", data, "--checkpoint", note, "--public-key", public)["checkpoint"]
        assert audit == {"origin": "example.com/hotel", "position": 8, "verdict": "contained", "other_journal": False}, audit
        later = daybook("checkpoint", data, "--key", key)
        assert later[0] == 0 and later[1].splitlines()[1] == "10", later

        lines[2]["data"] = {"n": 777}  # somebody writes history anew
        with Server(data=forged) as server:
            for line in lines:
                event = {name: line[name] for name in ("type", "stream", "tags", "data", "id") if name in line}
                assert request(server, "POST", "/v1/append", {"events": [event]}).status == 201
        assert report("verify", forged)["damage_count"] == 0
        told = report("verify", forged, "--checkpoint", note, "--public-key", str(key) + ".pub", code=1)
        assert told["damage_count"] == 0 and told["checkpoint"]["verdict"] == "differs", told
        code, page, _ = daybook("verify", forged, "--checkpoint", note, "--public-key", public)
        assert code == 1 and "is not what was signed" in page and "NOT contained" in page, page
        note.write_bytes(answer.body.replace(b"\n8\n", b"\n6\n"))
        code, _, error = daybook("verify", data, "--checkpoint", note, "--public-key", public)
        assert code == 1 and "signature does not hold" in error, (code, error)


@tap.test
def without_a_key_nothing_is_signed_and_a_wrong_key_is_said():
    with tempfile.TemporaryDirectory() as place:
        key = pathlib.Path(place) / "key"
        with Server() as server:
            for path in ("/v1/checkpoint", "/v1/checkpoint/key"):
                answer = request(server, "GET", path)
                assert answer.status == 404 and answer.json()["code"] == "no-checkpoint-key", answer
        assert daybook("keygen", "--name", "two words", key)[0] == 2
        assert daybook("keygen", "--name", "a", key)[0] == 0
        code, _, error = daybook("serve", "--data", place + "/data", "--listen", "0", "--checkpoint-key", str(key) + ".pub")
        assert code == 3 and "public key" in error, (code, error)
        key.write_text("nonsense")
        code, _, error = daybook("serve", "--data", place + "/data", "--listen", "0", "--checkpoint-key", key)
        assert code == 3 and "keygen" in error, (code, error)
        assert daybook("verify", place + "/data", "--checkpoint", key)[0] == 2


@tap.test
def verify_names_damage_by_file_and_offset_and_says_how_it_stands():
    with tempfile.TemporaryDirectory() as place:
        data = pathlib.Path(place) / "data"
        with Server(data=data) as server:
            for number in range(3):
                append(server, number)
        code, page, _ = daybook("verify", data)
        assert code == 0 and "is whole" in page, page
        for name in ("segments", "frames", "events", "streams", "head", "floor", "chain", "read"):
            assert f"\n  {name} " in page, (name, page)
        told = report("verify", data)
        assert (told["head"], told["floor"], told["records"], told["appends"]) == (6, 6, 6, 3), told
        segment = data / "log" / "00000000000000000001.seg"
        content = bytearray(segment.read_bytes())
        content[300] ^= 1
        segment.write_bytes(content)
        told = report("verify", data, code=1)
        assert told["acknowledged_damage_count"] >= 1 and told["damages"][0]["file"] == segment.name, told
        code, page, _ = daybook("verify", data)
        assert code == 1 and segment.name + " at byte 80" in page and "is damaged in" in page, page


@tap.test
def what_talks_to_no_server_does_not_offer_to():
    for command in ("backup", "restore", "verify", "keygen", "checkpoint", "serve"):
        code, output, _ = daybook(command, "--help")
        listed = [line for line in output.splitlines() if line.startswith("  --token-file")]
        assert code == 0 and "--url" not in output and len(listed) == (command == "serve"), output
        code, _, error = daybook(command, "--url", "http://127.0.0.1:1")
        assert code == 2 and "no option --url" in error, (command, code, error)


tap.main()
