"""Where a server listens: names, addresses, sockets in the file system, sockets that were passed; and what a service manager is
told."""
import contextlib
import json
import os
import re
import signal
import socket
import subprocess

from daybook_test import DAYBOOK, Process, Server, Tap, daybook, folder, request, wait_for

tap = Tap()
READY = r"on ((?:http|unix):\S+) \(journal"


def served(data, *options, prefix=(), environment=None):
    return Process([*prefix, DAYBOOK, "serve", "--data", data, *options], READY, environment)


@contextlib.contextmanager
def running(*arguments, **more):
    with served(*arguments, **more) as process:
        yield process, process.match.group(1)
    assert process.process.returncode == 0, process.lines


def refused(code, words, *options):
    with folder() as work:
        got, _, error = daybook("serve", "--data", work / "data", *options, timeout=30)
        assert got == code and words in error, (options, got, error)


@tap.test
def a_name_or_an_address_of_this_machine_is_listened_on_without_tokens():
    for place, wanted in (("localhost:0", r"http://127\.0\.0\.1:\d+"), ("127.0.0.1:0", r"http://127\.0\.0\.1:\d+"),
                          ("127.1.2.3:0", r"http://127\.1\.2\.3:\d+"), ("[::1]:0", r"http://\[::1\]:\d+"), ("0", r"http://127\.0\.0\.1:\d+")):
        with folder() as work:
            try:
                with socket.socket(socket.AF_INET6 if "[" in place else socket.AF_INET) as probe:
                    probe.bind(("::1" if "[" in place else "127.0.0.1", 0))
            except OSError:
                continue  # no IPv6 here
            with running(work / "data", "--listen", place) as (_, url):
                assert re.fullmatch(wanted, url), (place, url)  # and no comma behind it
                code, _, error = daybook("append", "--stream", "s", '{"type":"A","data":1}', url=url)
                assert code == 0, (place, error)
                if "127.0.0.1" in url:
                    assert daybook("read", url=url.replace("127.0.0.1", "localhost"))[0] == 0


@tap.test
def a_place_that_is_none_is_refused_with_the_true_reason():
    refused(2, "not known", "--listen", "no-such-name.invalid:7070")
    refused(2, "can be reached from other machines", "--listen", "0.0.0.0:0")
    refused(2, "can be reached from other machines", "--listen", "[::]:0")
    refused(2, "0 to 65535", "--listen", "localhost:70700")
    refused(2, "0 to 65535", "--listen", "localhost:http")
    refused(2, "[ADDRESS]:PORT", "--listen", "[::1")
    refused(2, "takes ADDRESS:PORT", "--listen", ":7070")
    refused(2, "1 to 107 bytes", "--listen", "unix:")
    refused(2, "1 to 107 bytes", "--listen", "unix:/tmp/" + "x" * 120)
    refused(3, "No such file", "--listen", "unix:/no/such/folder/socket")
    with Server() as other:
        refused(3, "Address already in use", "--listen", f"127.0.0.1:{other.port}")


@tap.test
def a_socket_in_the_file_system_serves_every_subcommand_and_a_follower():
    with folder() as work:
        place = work / "socket"
        with running(work / "data", "--listen", f"unix:{place}") as (server, url):
            assert url == f"unix:{place}"
            assert daybook("append", "--stream", "s", '{"type":"A","data":{"n":1}}', "--url", url)[0] == 0
            assert daybook("group", "create", "g", url=url)[0] == 0
            (work / "lines").write_text('{"type":"A","data":{"n":2}}\n')
            for words in ("read", "group list", "retention list", "scavenge --dry-run", "consume g --until-empty", "export",
                          f"import {work / 'lines'}", "bench append --clients 2 --seconds 1 --warmup 0"):
                code, text, error = daybook(*words.split(), url=url)
                assert code == 0, (words, code, text, error)
            with running(work / "copy", "--listen", f"unix:{work / 'second'}", "--follow", url) as (_, copy):
                wait_for(lambda: daybook("read", "--limit", "1", url=copy)[1], "the follower has it")
            ready = subprocess.run(["curl", "-s", "--unix-socket", str(place), "http://localhost/ready"], capture_output=True)
            assert ready.returncode == 0 and json.loads(ready.stdout), ready
        assert not place.exists() and not (work / "second").exists()


@tap.test
def the_umask_says_who_may_connect():
    with folder() as work:
        for mask, mode in (("077", 0o700), ("007", 0o770)):
            with running(work / "data", "--listen", f"unix:{work / 'socket'}", prefix=("sh", "-c", f'umask {mask}; exec "$@"', "sh")):
                assert (work / "socket").stat().st_mode & 0o777 == mode


@tap.test
def what_a_killed_server_left_behind_is_taken_over_and_nothing_else_is():
    with folder() as work:
        place = work / "socket"
        first = served(work / "data", "--listen", f"unix:{place}").start()
        code, _, error = daybook("serve", "--data", work / "other", "--listen", f"unix:{place}", timeout=30)
        assert code == 3 and "another server listens there" in error, (code, error)
        first.kill()
        assert place.exists()
        with running(work / "data", "--listen", f"unix:{place}"):
            assert daybook("read", url=f"unix:{place}")[0] == 0
            place.rename(work / "moved")
            place.write_text("mine")
        assert place.read_text() == "mine", "a file that is not ours is left alone"
        code, _, error = daybook("serve", "--data", work / "data", "--listen", f"unix:{place}", timeout=30)
        assert code == 3 and "is no socket" in error and place.read_text() == "mine", (code, error)


def passed(work, sockets, *options, count=None):
    """A server that gets these sockets as a service manager passes them: from descriptor 3 on."""
    redirections = " ".join(f"{number}<&{one.fileno()}" for number, one in enumerate(sockets, 3))
    script = f'export LISTEN_PID=$$ LISTEN_FDS={count or len(sockets)}; exec "$@" {redirections}'
    command = ["bash", "-c", script, "bash", str(DAYBOOK), "serve", "--data", str(work / "data"), *options]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                            pass_fds=[one.fileno() for one in sockets])


@tap.test
def a_socket_that_was_passed_is_served_and_outlives_the_server():
    for family, place in ((socket.AF_INET, ("127.0.0.1", 0)), (socket.AF_UNIX, None)):
        with folder() as work, socket.socket(family) as listener:
            listener.bind(place or str(work / "socket"))
            listener.listen(8)
            for _ in range(2):
                server = passed(work, [listener])
                url = re.search(READY, server.stdout.readline()).group(1)
                port = listener.getsockname()[1] if place else None
                assert url == (f"http://127.0.0.1:{port}" if place else f"unix:{work / 'socket'}")
                assert daybook("append", "--stream", "s", '{"type":"A","data":1}', url=url)[0] == 0
                server.terminate()
                assert server.communicate(timeout=30)[1] == "" and server.returncode == 0
            assert place or (work / "socket").exists(), "whoever made it takes it away"


@tap.test
def what_was_passed_and_cannot_be_served_is_said():
    with folder() as work, socket.socket() as one, socket.socket() as two, socket.socket() as open_to_all:
        for listener, address in ((one, "127.0.0.1"), (two, "127.0.0.1"), (open_to_all, "0.0.0.0")):
            listener.bind((address, 0))
        open_to_all.listen()
        for sockets, options, code, words in (([one], (), 3, "no listening stream socket"), ([one, two], (), 3, "more than one"),
                                              ([open_to_all], (), 2, "can be reached from other machines"),
                                              ([open_to_all], ("--listen", "0"), 2, "one or the other")):
            server = passed(work, sockets, *options)
            _, error = server.communicate(timeout=30)
            assert server.returncode == code and words in error, (options, server.returncode, error)
        with running(work / "data", "--listen", "0", environment={"LISTEN_PID": "1", "LISTEN_FDS": "1"}):
            pass  # meant for another process


@tap.test
def a_service_manager_is_told_ready_stopping_and_signs_of_life():
    for abstract in (False, True):
        with folder() as work, socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
            name = f"@daybook-{os.getpid()}" if abstract else str(work / "notify")
            manager.bind(name.replace("@", "\0") if abstract else name)
            manager.settimeout(30)
            with running(work / "data", "--listen", "0", environment={"NOTIFY_SOCKET": name, "WATCHDOG_USEC": "100000"}) as (server, _):
                told = [manager.recv(256) for _ in range(4)]
                assert told == [b"READY=1"] + [b"WATCHDOG=1"] * 3, told
                server.signal(signal.SIGTERM)
                while told[-1] == b"WATCHDOG=1":
                    told.append(manager.recv(256))
                assert told[-1] == b"STOPPING=1", told
            manager.settimeout(0)
            with running(work / "data", "--listen", "0", environment={"NOTIFY_SOCKET": name, "WATCHDOG_USEC": "100000",
                                                                       "WATCHDOG_PID": "1"}):
                wait_for(lambda: manager.recv(256) == b"READY=1", "ready")
            assert manager.recv(256) == b"STOPPING=1"
    with folder() as work, running(work / "data", "--listen", "0", environment={"NOTIFY_SOCKET": "/no/such/socket"}) as (server, _):
        wait_for(lambda: any("cannot tell the service manager" in line for line in server.lines), "that is said")


@tap.test
def a_copy_and_what_it_is_made_from_are_apart():
    with folder() as work:
        with Server(data=work / "data") as server:
            request(server, "POST", "/v1/append", {"events": [{"type": "A", "data": 1}]})
            for place in ("data/out", "data/log/out", "link/out", "data/new/../out"):
                (work / "link").exists() or (work / "link").symlink_to(work / "data")
                code, _, error = daybook("export", f"{work}/{place}", url=server.url)
                assert code == 2 and "data folder" in error, (place, code, error)
        before = sorted(str(path) for path in (work / "data").rglob("*"))
        assert daybook("backup", work / "data", work / "good")[0] == 0
        for words in ("backup data data/log", "backup data data/log/new", "backup data data", "backup data data/", "backup data data/new",
                      "backup data link/new", "backup link data/a/b/c", "backup data .", "backup data data/../data/new", "restore good good/new",
                      "restore good good", "restore good/log good", "restore good data/new --fences data"):
            code, _, error = daybook(*(word if word[0] == "-" or word in ("backup", "restore") else f"{work}/{word}" for word in words.split()))
            assert code == 2 and ("lies within" in error or "same folder" in error), (words, code, error)
        code, _, error = daybook("keygen", "--name", "a.b/c", work / "data" / "keys" / "mine")
        assert code == 2 and "data folder" in error, (code, error)
        assert sorted(str(path) for path in (work / "data").rglob("*")) == before
        code, _, error = daybook("restore", work / "good", work / "fresh", "--fences", work / "no-such")
        assert code == 3 and "no-such" in error and not (work / "fresh").exists(), (code, error)
        assert daybook("backup", work / "data", work / "data-2")[0] == 0, "a name that begins alike is another folder"
        assert daybook("restore", work / "good", work / "fresh")[0] == 0 and (work / "fresh" / "log").is_dir()


tap.main()
