"""An import is a batch of its own: each line of a file is stored once, and what was left out is said."""
import fcntl
import http.server
import json
import shutil
import signal
import socket
import subprocess
import threading
import time

from daybook_test import DAYBOOK, HOTEL, Server, Tap, daybook, folder, request, wait_for

tap = Tap()
NO, FAILED = 1, 3
SLOT = 512


def event(number, **more):
    return json.dumps({"type": "Noted", "data": {"n": number}, **more}) + "\n"


def numbers(server):
    _, text, _ = daybook("read", url=server.url)
    return [json.loads(line)["data"]["n"] for line in text.splitlines()]


def write(path, *lines):
    path.write_text("".join(lines))
    return path


def imported(server, file, *options):
    code, text, error = daybook("import", file, "--json", *options, url=server.url)
    assert code == 0, (code, text, error)
    return json.loads(text)


@tap.test
def files_that_begin_alike_and_copies_of_one_are_each_stored_whole():
    with folder() as work, Server(app=HOTEL) as server:
        rooms = json.dumps({"command": "AddRooms", "data": {"hotel": "Seaside", "room_type": "Double", "rooms": 1}}) + "\n"
        for name, count in (("a", 1), ("b", 1), ("c", 2), ("d", 4)):
            told = imported(server, write(work / name, rooms * count))
            assert told["stored"] == told["lines"] == count and told["replayed"] == told["before"] == 0, told
        code, text, _ = daybook("read", "--type", "RoomsAdded", url=server.url)
        assert code == 0 and len(text.splitlines()) == 8, text
        for name, lines in (("e", [event(1), event(2)]), ("f", [event(1), event(2), event(3)]), ("g", [event(1)])):
            assert imported(server, write(work / name, *lines))["stored"] == len(lines)
        code, text, _ = daybook("read", "--type", "Noted", url=server.url)
        assert [json.loads(line)["data"]["n"] for line in text.splitlines()] == [1, 2, 1, 2, 3, 1]


@tap.test
def equal_lines_of_one_file_are_all_stored():
    with folder() as work, Server() as server:
        assert imported(server, write(work / "a", event(1) * 3, "\n", event(1)))["stored"] == 4
        assert numbers(server) == [1] * 4


@tap.test
def a_file_that_has_grown_goes_on_where_it_was():
    with folder() as work, Server() as server:
        file = write(work / "a", event(1), event(2).rstrip("\n"))
        assert imported(server, file)["stored"] == 2
        write(file, event(1), event(2), event(3), "\n\n")
        told = imported(server, file)
        assert told["lines"] == 3 and told["stored"] == 3 and not told["earlier"], told
        assert imported(server, file)["earlier"]
        write(file, event(1), event(2), event(3), "\n\n", event(4))
        assert not imported(server, file)["earlier"]
        assert numbers(server) == [1, 2, 3, 4]


@tap.test
def a_batch_of_cloudevents_that_has_grown_goes_on_where_it_was():
    with folder() as work, Server() as server:
        events = [{"specversion": "1.0", "type": "Noted", "source": "/s", "id": str(n), "data": {"n": n}} for n in range(5)]
        file = work / "batch.json"
        for count, earlier in ((2, False), (2, True), (5, False), (5, True)):
            file.write_text(json.dumps(events[:count], indent=1) + "\n")
            told = imported(server, file, "--format", "cloudevents")
            assert told["earlier"] == earlier and told["lines"] == count, told
        assert numbers(server) == [0, 1, 2, 3, 4]
        file.write_text(json.dumps(events[::-1], indent=1))
        code, _, error = daybook("import", file, "--format", "cloudevents", url=server.url)
        assert code == NO and "begins otherwise" in error, (code, error)


@tap.test
def another_file_under_the_same_name_is_said_and_nothing_is_sent():
    with folder() as work, Server() as server:
        file = write(work / "a", event(1), event(2))
        imported(server, file)
        for lines, words in (([event(3), event(4)], "begins otherwise"), ([event(3), event(2), event(5)], "begins otherwise"),
                             ([event(1)], "is shorter"), ([], "is shorter"), ([event(2), event(1)], "begins otherwise")):
            for options in ((), ("--json",)):
                code, text, error = daybook("import", write(file, *lines), *options, url=server.url)
                assert code == NO and words in error and "Nothing was sent" in error and not text, (lines, code, text, error)
        assert numbers(server) == [1, 2]
        assert imported(server, write(file, event(3)), "--restart")["stored"] == 1
        assert imported(server, file)["earlier"] and numbers(server) == [1, 2, 3]


@tap.test
def a_last_line_that_goes_on_is_another_line():
    with folder() as work, Server() as server:
        file = write(work / "a", event(1), event(2).rstrip("\n"))
        imported(server, file)
        write(file, event(1), event(2).rstrip("\n"), "  ", event(3))
        code, _, error = daybook("import", file, url=server.url)
        assert code == NO and "goes on within the last line" in error, (code, error)
        assert numbers(server) == [1, 2]


@tap.test
def the_same_file_again_does_nothing_and_on_purpose_does_it_once_more():
    with folder() as work, Server() as server:
        file = write(work / "a", event(1), event(2, id="01890a5d-ac96-774b-bcce-b302099a8057"))
        imported(server, file)
        code, text, _ = daybook("import", file, url=server.url)
        assert code == 0 and "Already imported" in text and "nothing was sent" in text, (code, text)
        code, text, _ = daybook("import", file, "--restart", url=server.url)
        assert code == 0 and text.startswith("2 lines: 1 accepted, 0 refused, 1 NOT stored"), (code, text)
        assert numbers(server) == [1, 2, 1]


@tap.test
def a_file_whose_note_was_lost_is_not_stored_twice_and_not_called_a_success():
    with folder() as work, Server() as server:
        file = write(work / "a", event(1), event(2))
        imported(server, file)
        (work / "a.progress").unlink()
        for _ in range(2):  # the note keeps it
            code, text, error = daybook("import", file, url=server.url)
            assert code == NO and "2 NOT stored" in text and "--restart" in error, (code, text, error)
        assert numbers(server) == [1, 2]
        file.rename(work / "b")
        assert imported(server, work / "b")["stored"] == 2  # another name is another import
        (work / "b").rename(work / "c")
        (work / "b.progress").rename(work / "c.progress")
        assert imported(server, work / "c")["earlier"] and numbers(server) == [1, 2, 1, 2]


@tap.test
def a_damaged_note_is_named_and_believed_in_nothing():
    with folder() as work, Server() as server:
        file, note = write(work / "a", event(1), event(2)), work / "a.progress"
        imported(server, file)
        good = note.read_bytes()
        assert len(good) == SLOT
        used = good.rstrip()
        places = [*range(0, len(used), 31), len(used) - 1, len(used) - 3]
        damaged = [bytes([*used[:at], used[at] ^ 1, *used[at + 1:]]).ljust(SLOT - 1) + b"\n" for at in places]
        for text in (*damaged, b"\0" * SLOT, b"{}", b"rubbish\n", good[:100], good + b"x", b'{"journal":"x"}'.ljust(SLOT)):
            note.write_bytes(text)
            code, out, error = daybook("import", file, url=server.url)
            if text == good + b"x":
                continue  # the line about this journal is whole, and comes first
            assert code == NO and "a.progress is damaged" in error and not out, (text, code, out, error)
        assert numbers(server) == [1, 2]
        note.write_bytes(b"rubbish")
        assert imported(server, file, "--restart")["stored"] == 2
        assert imported(server, file)["earlier"] and numbers(server) == [1, 2, 1, 2]


@tap.test
def a_file_goes_into_each_journal_once():
    with folder() as work, Server() as one, Server() as two:
        file = write(work / "a", event(1), event(2))
        for server in (one, two):
            assert imported(server, file)["stored"] == 2
        write(file, event(1), event(2), event(3))
        for server in (two, one):
            assert not imported(server, file)["earlier"] and imported(server, file)["earlier"]
            assert numbers(server) == [1, 2, 3]
        assert (work / "a.progress").stat().st_size == 2 * SLOT


@tap.test
def a_journal_that_was_put_back_gets_what_it_has_lost():
    with folder() as work:
        server = Server(data=work / "data")
        with server:
            request(server, "POST", "/v1/append", {"events": [{"type": "Noted", "data": {"n": 0}}]})
        shutil.copytree(work / "data", work / "copy")
        with server:
            imported(server, write(work / "a", event(1), event(2)))
        shutil.rmtree(work / "data")
        shutil.copytree(work / "copy", work / "data")
        with server:
            told = imported(server, work / "a")
            assert told["stored"] == 2 and not told["earlier"], told
            assert numbers(server) == [0, 1, 2]


@tap.test
def a_line_that_is_wrong_is_named_and_what_stands_before_it_is_done():
    with folder() as work, Server() as server:
        file = write(work / "a", event(1), event(2), '{"type":"Noted"', "\n", event(4))
        code, text, error = daybook("import", file, url=server.url)
        assert code == NO and "a:3" in error and "NOT ALL OF IT: 2 lines are done" in error and not text, (code, text, error)
        assert numbers(server) == [1, 2]
        write(file, event(1), event(2), event(3), event(4))
        assert imported(server, file)["stored"] == 4 and numbers(server) == [1, 2, 3, 4]
        file = write(work / "b", event(5), json.dumps({"type": "$forbidden", "data": 1}) + "\n", event(6))
        code, _, error = daybook("import", file, url=server.url)
        assert code == NO and "b:2 was not taken" in error and "NOT ALL OF IT: 0 lines" in error, (code, error)


@tap.test
def events_before_a_command_are_noted_without_it():
    """A server that dies between the two must not make the command a done one."""
    with folder() as work, Server(app=HOTEL) as server:
        room = json.dumps({"command": "AddRooms", "data": {"hotel": "Seaside", "room_type": "Double", "rooms": 1}}) + "\n"
        wrong = json.dumps({"command": "NoSuchCommand", "data": {}}) + "\n"
        file = write(work / "a", event(1), wrong)
        code, _, error = daybook("import", file, url=server.url)
        assert code == NO and "1 lines are done" in error, error
        write(file, event(1), room)
        assert imported(server, file)["stored"] == 2
        assert len(daybook("read", url=server.url)[1].splitlines()) == 2


@tap.test
def a_file_that_is_not_there_is_said_at_once_whatever_the_server_does():
    with folder() as work, socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))  # and does not listen
        url = f"http://127.0.0.1:{nobody.getsockname()[1]}"
        file = write(work / "a", event(1))
        for arguments, words in (([work / "no-such"], "No such file"), ([work], "Is a directory"),
                                 ([file, "--refused", work / "no" / "such"], "cannot write"), ([file, "--format", "xml"], "--format")):
            began = time.monotonic()
            code, _, error = daybook("import", *arguments, url=url, timeout=50)
            assert code in (2, FAILED) and words in error, (arguments, code, error)
            assert time.monotonic() - began < 50  # the patience with a server is 60


@tap.test
def lines_of_a_pipe_are_a_batch_of_their_own_and_a_name_makes_them_one():
    with Server() as server:
        def pipe(text, *options):
            code, told, error = daybook("import", "-", "--json", *options, input=text, url=server.url)
            return code, json.loads(told) if told else error
        for _ in range(2):
            code, told = pipe(event(1) + event(1))
            assert code == 0 and told["stored"] == 2, told
        assert numbers(server) == [1] * 4
        assert pipe(event(2), "--batch", "monday")[1]["stored"] == 1
        code, told = pipe(event(2) + event(3), "--batch", "monday")
        assert code == 0 and told["stored"] == 1 and told["replayed"] == 1, told
        assert pipe(event(2), "--batch", "tuesday")[1]["stored"] == 1
        assert numbers(server) == [1] * 4 + [2, 3, 2]
        code, error = pipe(event(4) + "rubbish\n")
        assert code == NO and "1 lines are done; send what comes behind" in error, error
        assert daybook("import", "-", "--batch", "x", "--restart", input="", url=server.url)[0] == 2


@tap.test
def an_import_asks_a_gateway_for_nothing_but_reads_and_what_it_sends():
    """Gateways let through what applications need, and no more."""
    asked = []

    class Gateway(http.server.BaseHTTPRequestHandler):
        def pass_on(self):
            asked.append(f"{self.command} {self.path.partition('?')[0]}")
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            answer = request(server, self.command, self.path, body or None, dict(self.headers))
            self.send_response(answer.status)
            for name, value in answer.headers.items():
                if name.lower() not in ("connection", "transfer-encoding", "date"):
                    self.send_header(name, value)
            self.end_headers()
            self.wfile.write(answer.body)

        do_GET = do_POST = pass_on

        def log_message(self, *_):
            pass

    with folder() as work, Server() as server, http.server.ThreadingHTTPServer(("127.0.0.1", 0), Gateway) as gateway:
        threading.Thread(target=gateway.serve_forever, daemon=True).start()
        file = write(work / "a", event(1), event(2))
        code, text, error = daybook("import", file, "--json", url=f"http://127.0.0.1:{gateway.server_address[1]}")
        gateway.shutdown()
        assert code == 0 and json.loads(text)["stored"] == 2, (text, error)
        assert asked == ["GET /v1/events", "POST /v1/append"], asked


@tap.test
def two_imports_of_one_file_do_not_run_beside_each_other():
    with folder() as work, Server() as server:
        file = write(work / "a", event(1))
        with open(work / "a.progress", "wb") as note:
            fcntl.flock(note, fcntl.LOCK_EX)
            code, _, error = daybook("import", file, url=server.url)
            assert code == NO and "under way" in error, (code, error)
        assert imported(server, file)["stored"] == 1


def importing(server, *arguments, **pipes):
    return subprocess.Popen([str(DAYBOOK), "import", *map(str, arguments), "--url", server.url], stderr=subprocess.PIPE,
                            stdout=subprocess.PIPE, text=True, **pipes)


@tap.test
def sigterm_ends_an_import_behind_the_request_under_way_and_it_goes_on_later():
    with folder() as work, Server() as server:
        for number, kill in enumerate((signal.SIGTERM, signal.SIGINT)):
            file = write(work / f"a{number}", *(event(n, stream=f"s{number}") for n in range(8000)))
            process = importing(server, file)
            wait_for(lambda: request(server, "GET", f"/v1/streams/s{number}?limit=1").status == 200, "it has begun")
            process.send_signal(kill)
            _, error = process.communicate(timeout=60)
            if process.returncode != 0:
                assert process.returncode == FAILED and "stopped" in error and "goes on behind" in error, error
            told = imported(server, file)
            assert told["lines"] == 8000 and told["before"] == 0, told
            found = [json.loads(line)["data"]["n"] for line in daybook("read", "--stream", f"s{number}", url=server.url)[1].splitlines()]
            assert found == list(range(8000)), len(found)


@tap.test
def sigterm_ends_an_import_that_waits_for_its_input_or_its_server():
    with folder() as work, Server() as server:
        process = importing(server, "-", stdin=subprocess.PIPE)
        process.stdin.write(event(1) + event(2)[:5])
        process.stdin.flush()
        wait_for(lambda: "SigCgt:\t0000000000004" in open(f"/proc/{process.pid}/status").read(), "it catches SIGTERM")
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == FAILED
        assert "stopped" in process.stderr.read()
        process.communicate()
        server.kill()
        process = importing(server, write(work / "a", event(3)))
        wait_for(lambda: "SigCgt:\t0000000000004" in open(f"/proc/{process.pid}/status").read(), "it catches SIGTERM")
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=20)
        assert process.returncode == FAILED
        server.start()


@tap.test
def a_batch_without_a_name_is_refused():
    with folder() as work:
        (work / "events").write_text('{"type":"A","data":{}}\n')
        code, out, err = daybook("import", work / "events", "--batch", "", url="http://127.0.0.1:9")
        assert code == 2 and "--batch" in err, (code, out, err)


@tap.test
def a_killed_import_goes_on_and_stores_every_line_once():
    with folder() as work, Server() as server:
        file = write(work / "a", *(event(n) for n in range(10000)))
        done = False
        for count in range(1, 9):
            process = importing(server, file, "--json")
            wait_for(lambda: process.poll() is not None or request(server, "GET", "/health").position >= count * 1000, "more")
            process.kill()
            text, _ = process.communicate()
            done = done or process.returncode == 0
        told = imported(server, file)
        assert told["lines"] == 10000 and told["stored"] == 10000 and told["before"] == 0, told
        assert numbers(server) == list(range(10000))


tap.main()
