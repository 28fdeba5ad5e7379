"""Keeping a journal: backup while a server writes, kill -9, restore, verify; with real processes."""
import json
import pathlib
import subprocess
import tempfile
import threading

from daybook_test import DAYBOOK, Server, Tap, daybook, folder, request, wait_for

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


def events_of(data):
    """All of them: more than one page may have been written meanwhile."""
    with Server(data=data) as server:
        code, output, error = daybook("export", url=server.url)
        assert code == 0, error
        return [json.loads(line) for line in output.splitlines()]


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


def lines_of(server):
    answer = request(server, "GET", "/v1/events?limit=10000", headers={"Accept": "application/x-ndjson"})
    return [json.loads(line) for line in answer.body.splitlines()]


def without_time(events):
    return [{name: value for name, value in event.items() if name != "time"} for event in events]


def append_of_every_kind(server, count):
    for number in range(count):
        body = {"events": [
            {"type": "Counted", "stream": f"counter-{number % 3}", "tags": ["n:%d" % number, "odd tag, \u2603"],
             "data": {"n": number, "text": "}]\"{\\"}, "meta": {"by": "test"}},
            {"type": "Raw", "data_base64": "AQL/", "content_type": "application/octet-stream"}]}
        assert request(server, "POST", "/v1/append", body).status == 201


@tap.test
def what_is_exported_in_either_format_and_imported_is_the_same():
    with folder() as place, Server() as server:
        append_of_every_kind(server, 40)
        whole = lines_of(server)
        for name, form in (("events.ndjson", "ndjson"), ("events.json", "cloudevents")):
            code, told, error = daybook("export", place / name, "--format", form, "--json", url=server.url)
            assert code == 0 and json.loads(told) == {"events": 80, "position": 80}, (told, error)
            with Server() as other:
                code, told, error = daybook("import", place / name, "--format", form, "--json", url=other.url)
                assert code == 0 and json.loads(told)["accepted"] == 80, (told, error)
                assert without_time(lines_of(other)) == without_time(whole)
                code, told, _ = daybook("import", place / name, "--format", form, "--json", "--restart", url=other.url)
                assert code == 0 and json.loads(told)["replayed"] == 80, told  # again changes nothing
        batch = json.loads((place / "events.json").read_text())
        assert len(batch) == 80 and batch[0]["specversion"] == "1.0" and batch[0]["source"].startswith("urn:daybook:"), batch[0]


@tap.test
def an_export_is_filtered_by_type_tag_stream_and_positions():
    with Server() as server:
        append_of_every_kind(server, 10)
        whole = lines_of(server)
        for options, wanted in (
                (("--type", "Raw"), lambda event: event["type"] == "Raw"),
                (("--type", "Raw,Counted", "--after", "5", "--until", "9"), lambda event: 5 < event["position"] <= 9),
                (("--tag", "n:3"), lambda event: "n:3" in event.get("tags", [])),
                (("--stream", "counter-1"), lambda event: event.get("stream") == "counter-1"),
                (("--stream", "counter-1", "--type", "Raw"), lambda event: False),
                (("--stream", "counter"), lambda event: False)):
            code, output, error = daybook("export", *options, url=server.url)
            assert code == 0, error
            assert [json.loads(line) for line in output.splitlines()] == [event for event in whole if wanted(event)], options
        code, output, _ = daybook("export", "--format", "cloudevents", "--tag", "nothing", "--source", "/here", url=server.url)
        assert code == 0 and json.loads(output) == [], output
        assert daybook("export", "--format", "xml", url=server.url)[0] == 2


@tap.test
def a_batch_of_cloudevents_is_gone_on_with_after_its_server_was_killed():
    with folder() as place, Server() as server:
        batch = place / "batch.json"
        events = [{"specversion": "1.0", "type": "com.example.some", "source": "/ctx", "id": f"B{number}", "subject": "s",
                   "datacontenttype": "text/xml", "data": "<a>" + "x" * 2000 + "</a>", "other": number} for number in range(3000)]
        batch.write_text("[\n" + ",\n".join(json.dumps(event) for event in events) + "]")
        importer = subprocess.Popen([str(DAYBOOK), "import", str(batch), "--format", "cloudevents", "--json", "--url", server.url,
                                     "--patience", "0"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        wait_for(lambda: request(server, "GET", "/health").position > 200 or importer.poll() is not None, "it has begun")
        server.kill()
        importer.communicate(timeout=60)
        server.start()
        code, told, error = daybook("import", batch, "--format", "cloudevents", "--json", url=server.url)
        assert code == 0 and json.loads(told)["accepted"] == 3000, (told, error)
        lines = lines_of(server)
        assert len(lines) == 3000 and [line["meta"]["cloudevents"]["other"] for line in lines] == list(range(3000))
        assert {line["content_type"] for line in lines} == {"text/xml"} and lines[0]["stream"] == "s"


@tap.test
def a_batch_that_is_none_is_refused_with_the_place():
    good = '{"specversion":"1.0","type":"A","source":"/c","id":"%d","data":1}'
    with folder() as place, Server() as server:
        for number, (text, words) in enumerate((
                ("", "begins with ["), ("{}", "begins with ["), ("[1]", "begins with {"), ("[" + good % 1, "] is expected"),
                ("[" + good % 1 + " " + good % 2 + "]", "a comma or ]"), ("[" + good % 1 + ",]", "begins with {"),
                ("[" + good % 1 + "] x", "behind the array"), ('[{"specversion":"1.0"', "within an event"),
                ('[{"specversion":"0.3"}]', "specversion"), ("[" + good % 1 + ',{"a":}]', "event 2"),
                ('[{"specversion":"1.0","x":"' + "y" * (4 << 20) + '"}]', "4 MiB"))):
            file = place / f"batch-{number}.json"
            file.write_text(text)
            code, _, error = daybook("import", file, "--format", "cloudevents", url=server.url)
            assert code == 1 and words in error, (text[:100], code, error)


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
        for name in ("segments", "frames", "events", "streams", "head", "floor", "chain", "index", "read"):
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


@tap.test
def a_server_that_was_killed_at_an_acknowledgement_is_copied_and_read_with_it():
    """The page that tells readers so may be gone, as after a start of the machine or on another one."""
    with folder() as work:
        for number, with_page in enumerate((True, False)):
            data = pathlib.Path(work, f"data-{number}")
            server = Server(data=data).start()
            for n in range(4):
                answer = request(server, "POST", "/v1/append", {"events": [{"type": "A", "data": n}]})
                assert answer.status == 201, answer
            server.kill()
            if not with_page:
                (data / "log" / "durable.page").unlink()
            code, text, error = daybook("verify", data, "--json")
            assert code == 0 and json.loads(text)["events"] == 4, (code, text, error)
            for command in ("backup", "restore"):
                copy = pathlib.Path(work, f"{command}-{number}")
                code, text, error = daybook(command, data, copy, "--json")
                assert code == 0 and json.loads(text)["position"] == 4, (command, with_page, text, error)


tap.main()
