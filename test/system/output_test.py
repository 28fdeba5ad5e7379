"""What a subcommand prints arrives, or its exit code is 3: into a full disk, a closed pipe, a closed descriptor."""
import hashlib
import json
import os
import signal
import subprocess

from daybook_test import DAYBOOK, HOTEL, Server, Tap, daybook, folder, request, wait_for

tap = Tap()
FAILED = 3


def full():
    return open("/dev/full", "wb")


def unread():
    """The end of a pipe that nobody reads."""
    reader, writer = os.pipe()
    os.close(reader)
    return os.fdopen(writer, "wb")


def run(arguments, output, url=None):
    """The exit code and standard error of a subcommand that prints to `output`."""
    environment = {**os.environ, **({"DAYBOOK_URL": url} if url else {})}
    with output() as stdout:
        done = subprocess.run([str(DAYBOOK), *map(str, arguments)], stdin=subprocess.DEVNULL, stdout=stdout,
                              stderr=subprocess.PIPE, env=environment, timeout=60)
    return done.returncode, done.stderr.decode()


def check(arguments, url=None):
    """Every way to lose the output is said, and is no success."""
    for output, reason in ((full, "No space left"), (unread, "Broken pipe")):
        code, error = run(arguments(), output, url)
        words = " ".join(map(str, arguments()))
        assert code == FAILED, f"daybook {words} into {output.__name__} ends with {code}: {error}"
        assert "the output is lost" in error and reason in error, f"daybook {words}: {error}"


def filled(server):
    for number in range(60):
        request(server, "POST", "/v1/append", {"events": [{"type": "Noted", "stream": "s", "data": {"n": number}}]})
    request(server, "POST", "/v1/commands/AddRooms", {"hotel": "Seaside", "room_type": "Double", "rooms": 3})
    request(server, "POST", "/v1/groups/mails", {"types": ["Noted"]})
    request(server, "PUT", "/v1/streams/s/retention", {"max_count": 1000})


@tap.test
def whatever_asks_a_server_fails_when_its_answer_cannot_be_printed():
    with Server(app=HOTEL) as server:
        filled(server)
        position = request(server, "GET", "/v1/events?limit=1&direction=backward").position
        asked = f"query availability --min-position {position}"
        for words in ("read", "read --stream s", "read --json --backward", "read --limit 1", asked, f"{asked} --csv",
                      f"{asked} --json", "group list", "group show mails", "group show mails --json", "group parked mails --json",
                      "group replay mails", "retention list", "retention show s", "retention list --json", "export",
                      "export --format cloudevents", "scavenge --dry-run", "scavenge --dry-run --json", "tail",
                      "consume mails --until-empty", "bench append --clients 1 --seconds 1 --warmup 0", "query no-such --json"):
            check(words.split, server.url)
        check(lambda: ["append", "--stream", "t", '{"type":"Opened","data":{}}'], server.url)
        check(lambda: ["command", "AddRooms", '{"hotel":"Seaside","room_type":"Double","rooms":1}'], server.url)
        check(lambda: ["erase", "nobody", "--yes", "--json"], server.url)


@tap.test
def whatever_works_on_a_folder_fails_when_its_answer_cannot_be_printed():
    with folder() as work:
        with Server(data=work / "data") as server:
            filled(server)
        count = iter(range(1000))
        for words in ("verify {data}", "verify {data} --json", "index verify {data}", "index rebuild {data}",
                      "backup {data} {new}", "backup {data} {new} --json", "restore {data} {new}", "keygen --name a.b/c {new}",
                      "keygen --json --name a.b/c {new}"):
            check(lambda words=words: words.format(data=work / "data", new=work / f"new-{next(count)}").split())
        assert subprocess.run([str(DAYBOOK), "keygen", "--name", "a.b/c", str(work / "key")], capture_output=True).returncode == 0
        check(lambda: ["checkpoint", work / "data", "--key", work / "key"])


@tap.test
def help_and_version_fail_when_they_cannot_be_printed():
    for words in ("--help", "--version", "help", "help read", "read --help", "read --version", "serve --limits",
                  "serve --limits --json"):
        check(words.split)


@tap.test
def an_import_whose_summary_or_list_of_refusals_is_lost_is_no_success():
    with folder() as work, Server(app=HOTEL) as server:
        lines = work / "lines.ndjson"
        lines.write_text(json.dumps({"command": "BookRoom", "data": {}}) + "\n")
        code, error = run(["import", lines], full, server.url)
        assert code != 0, error
        lines.write_text(json.dumps({"type": "Noted", "data": {}}) + "\n")
        check(lambda: ["import", lines, "--restart"], server.url)
        nights = {"reservation": "R-1", "hotel": "Nowhere", "room_type": "Double", "arrival": "2027-07-01", "nights": 2,
                  "guest": "Ada", "on": "2027-03-01"}
        lines.write_text(json.dumps({"command": "BookRoom", "data": nights}) + "\n")
        code, error = run(["import", lines, "--restart", "--refused", "/dev/full"], lambda: open(os.devnull, "wb"), server.url)
        assert code == FAILED and "/dev/full" in error, (code, error)


@tap.test
def an_export_that_cannot_be_written_leaves_no_file():
    with folder() as work, Server() as server:
        filled(server)
        limited = f"ulimit -f 1; exec {DAYBOOK} export --url {server.url} {work / 'out.ndjson'}"
        done = subprocess.run(["sh", "-c", limited], capture_output=True, timeout=60)
        assert done.returncode == FAILED and b"cannot write" in done.stderr, (done.returncode, done.stderr)
        assert not (work / "out.ndjson").exists()


@tap.test
def a_standard_output_that_was_closed_is_an_error_and_never_a_file_of_the_journal():
    with folder() as work:
        with Server(data=work / "data") as server:
            filled(server)
            for words in ("read", "append --stream s {\"type\":\"A\",\"data\":1}", "--version"):
                done = subprocess.run(["sh", "-c", 'exec "$@" >&-', "sh", str(DAYBOOK), *words.split(), *(
                    [] if words[0] == "-" else ["--url", server.url])], capture_output=True, timeout=60)
                assert done.returncode == FAILED and b"the output is lost" in done.stderr, (words, done)
        before = {path: path.read_bytes() for path in (work / "data" / "log").iterdir() if path.suffix == ".seg"}
        done = subprocess.run(["sh", "-c", 'exec "$@" >&- 2>&-', "sh", str(DAYBOOK), "index", "rebuild", str(work / "data")],
                              timeout=60)
        assert done.returncode == FAILED, done
        for path, text in before.items():
            assert path.read_bytes() == text, f"{path.name} was written to"


@tap.test
def tail_ends_when_nobody_reads_it_any_more_although_nothing_comes():
    with Server() as server:
        filled(server)
        tail = subprocess.Popen([str(DAYBOOK), "tail", "--url", server.url], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        assert tail.stdout.readline()
        tail.stdout.close()
        assert tail.wait(60) == FAILED, tail.returncode
        assert b"the output is lost" in tail.stderr.read()
        tail.stderr.close()


@tap.test
def a_server_whose_first_line_is_lost_serves_and_says_so_at_once_and_at_the_end():
    with folder() as work, full() as stdout:
        server = subprocess.Popen([str(DAYBOOK), "serve", "--data", str(work / "data"), "--listen", "127.0.0.1:0"],
                                  stdout=stdout, stderr=subprocess.PIPE)
        try:
            assert b"cannot say where it listens" in server.stderr.readline()
            server.send_signal(signal.SIGTERM)
            assert server.wait(60) == FAILED
        finally:
            server.kill()
            server.wait()
            server.stderr.close()


@tap.test
def what_is_asked_is_never_cut():
    """A token or a question that is too long is refused here: cut, it would be another one."""
    with folder() as work, Server() as server:
        tokens, token = work / "tokens", "t" * 6000
        tokens.write_text(hashlib.sha256(token.encode()).hexdigest() + "\n")
        (work / "token").write_text(token + "\n")
        with Server(options=["--token-file", str(tokens)]) as guarded:
            assert daybook("group", "list", "--token-file", work / "token", url=guarded.url)[0] == 0
        (work / "token").write_text("t" * 8193)
        for arguments, words in ((["group", "list", "--token-file", work / "token"], "too long"),
                                 (["read", "--tag", "x" * 20000], "longer than"), (["query", "x", "a=" + "x" * 20000], "longer than")):
            code, _, error = daybook(*arguments, url=server.url)
            assert code == FAILED and words in error, (code, error[:200])
        (work / "token").write_text("")
        code, _, error = daybook("group", "list", "--token-file", work / "token", url=server.url)
        assert code == FAILED and "it is empty" in error, error


@tap.test
def what_is_read_whole_ends_with_success():
    with Server() as server:
        filled(server)
        done = subprocess.run([str(DAYBOOK), "read", "--url", server.url], capture_output=True, timeout=60)
        assert done.returncode == 0 and len(done.stdout.splitlines()) >= 20, done
        wait_for(lambda: server.is_running(), "the server runs on")


tap.main()
