"""A consumer that is told to end: what is under way is finished and settled, the rest goes back, nothing outlives it."""
import os
import pathlib
import signal
import subprocess

from daybook_test import DAYBOOK, Server, Tap, daybook, folder, request, wait_for

tap = Tap()
FAILED = 3


def fill(server, count, **definition):
    body = {"appends": [{"events": [{"type": "Asked", "data": {"n": n}}]} for n in range(1, count + 1)]}
    assert request(server, "POST", "/v1/append", body).status == 200
    assert request(server, "POST", "/v1/groups/g", {"types": ["Asked"], "lease_seconds": 300, **definition}).status == 201


def consume(server, *options, **pipes):
    return subprocess.Popen([str(DAYBOOK), "consume", "g", "--url", server.url, *map(str, options)], stderr=subprocess.PIPE,
                            stdout=pipes.pop("stdout", subprocess.DEVNULL), text=True, **pipes)


def end(process):
    _, error = process.communicate(timeout=60)
    return process.returncode, error


def group(server):
    return request(server, "GET", "/v1/groups/g").json()


def delivered(server):
    """What a fetch gives out now: (n, tries) each."""
    answer = request(server, "POST", "/v1/groups/g/fetch", {"consumer": "after", "count": 1000}).json()
    return [(one["event"]["data"]["n"], one["tries"]) for one in answer["events"]]


def is_alive(pid):
    try:
        return "\nState:\tZ" not in pathlib.Path(f"/proc/{pid}/status").read_text()
    except FileNotFoundError:
        return False


def pid_in(path):
    return wait_for(lambda: path.exists() and path.read_text().strip().isdigit() and int(path.read_text()), f"{path.name} has an id")


@tap.test
def at_sigterm_the_child_finishes_its_event_is_settled_and_the_others_go_back_without_a_try():
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        with folder() as work, Server() as server:
            fill(server, 10)
            wait = f"echo $$ > {work}/pid; cat > {work}/seen; while [ ! -e {work}/go ]; do sleep 0.02; done; touch {work}/finished"
            process = consume(server, "--count", 10, "--exec", wait)
            child = pid_in(work / "pid")
            process.send_signal(number)
            assert process.poll() is None and is_alive(child)
            (work / "go").touch()
            code, error = end(process)
            assert code == 0, (number, code, error)
            assert (work / "finished").exists() and not is_alive(child)
            assert group(server)["in_flight"] == 0, group(server)
            assert delivered(server) == [(n, 1) for n in range(2, 11)]


@tap.test
def a_long_poll_ends_at_once_and_holds_nothing():
    for number in (signal.SIGTERM, signal.SIGINT):
        with Server() as server:
            fill(server, 1)
            process = consume(server, "--limit", 100, "--exec", "cat >/dev/null")
            wait_for(lambda: group(server)["lag"] == 0 and "daybook_group_waiting 1" in request(server, "GET", "/metrics").body.decode(),
                     "the event is done, and it waits")
            server.signal(signal.SIGSTOP)  # it cannot end the poll by its answer
            try:
                process.send_signal(number)
                assert end(process)[0] == 0
            finally:
                server.signal(signal.SIGCONT)
            wait_for(lambda: "daybook_group_waiting 0" in request(server, "GET", "/metrics").body.decode(), "the server has seen it")
            request(server, "POST", "/v1/append", {"events": [{"type": "Asked", "data": {"n": 2}}]})
            assert delivered(server) == [(2, 1)]


@tap.test
def a_second_signal_kills_the_command_with_all_it_runs_and_gives_its_event_back():
    with folder() as work, Server() as server:
        fill(server, 3)
        stubborn = (f"trap '' TERM INT; sh -c 'trap \"\" TERM INT; echo $$ > {work}/inner; while :; do sleep 1; done' & "
                    f"echo $$ > {work}/outer; wait; while :; do sleep 1; done")
        process = consume(server, "--count", 3, "--exec", stubborn)
        pids = [pid_in(work / "outer"), pid_in(work / "inner")]
        process.terminate()
        wait_for(lambda: "SigPnd:\t0000000000000000" in pathlib.Path(f"/proc/{process.pid}/status").read_text(), "it took the first")
        process.send_signal(signal.SIGINT)
        code, error = end(process)
        assert code == FAILED and "given back" in error, (code, error)
        wait_for(lambda: not any(map(is_alive, pids)), "nothing of it runs on")
        assert delivered(server) == [(1, 2), (2, 1), (3, 1)]


@tap.test
def a_command_does_not_outlive_a_consumer_that_is_killed():
    with folder() as work, Server() as server:
        fill(server, 1)
        process = consume(server, "--exec", f"echo $$ > {work}/pid; exec sleep 1000")
        child = pid_in(work / "pid")
        process.kill()
        end(process)
        wait_for(lambda: not is_alive(child), "the child has ended")


@tap.test
def a_ctrl_c_at_the_terminal_does_not_reach_the_command():
    with folder() as work, Server() as server:
        fill(server, 1)
        process = consume(server, "--exec", f"echo $$ > {work}/pid; while [ ! -e {work}/go ]; do sleep 0.02; done", start_new_session=True)
        child = pid_in(work / "pid")
        os.killpg(process.pid, signal.SIGINT)
        assert os.getpgid(child) != process.pid and is_alive(child)
        (work / "go").touch()
        assert end(process)[0] == 0 and group(server)["lag"] == 0


@tap.test
def a_signal_that_was_ignored_stays_ignored():
    with folder() as work, Server() as server:
        fill(server, 2)
        process = consume(server, "--until-empty", "--exec", f"echo $$ > {work}/pid; while [ ! -e {work}/go ]; do sleep 0.02; done",
                          preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_IGN))
        pid_in(work / "pid")
        process.send_signal(signal.SIGINT)
        (work / "go").touch()
        assert end(process)[0] == 0 and group(server)["lag"] == 0


@tap.test
def what_is_printed_is_given_back_at_sigterm_or_when_it_cannot_be_printed():
    with Server() as server:
        fill(server, 200)
        with open("/dev/full", "wb") as full:
            code, error = end(consume(server, "--count", 200, stdout=full))
        assert code == FAILED and "No space left" in error, (code, error)
        assert group(server)["in_flight"] == 0
        process = consume(server, "--count", 200, stdout=subprocess.PIPE)
        first = process.stdout.readline()
        process.terminate()
        rest, error = process.communicate(timeout=60)
        assert process.returncode == 0, error
        printed = 1 + len(rest.splitlines())
        assert first and delivered(server) == [(n, 1) for n in range(printed + 1, 201)]
    with Server() as server:
        assert request(server, "POST", "/v1/groups/g", {"types": ["Asked"]}).status == 201
        process = consume(server, stdout=subprocess.PIPE)
        process.stdout.close()
        assert process.wait(60) == FAILED and "the output is lost" in process.stderr.read()
        process.stderr.close()


@tap.test
def a_server_that_is_away_at_sigterm_is_waited_for_until_the_event_is_settled():
    with folder() as work, Server() as server:
        fill(server, 2)
        process = consume(server, "--exec", f"echo $$ > {work}/pid; while [ ! -e {work}/go ]; do sleep 0.02; done")
        pid_in(work / "pid")
        server.kill()
        process.terminate()
        (work / "go").touch()
        server.start()
        code, error = end(process)
        assert code == 0, (code, error)  # its lease is over: said, and no failure
        assert group(server)["in_flight"] == 0


@tap.test
def what_is_given_back_untried_counts_no_try_and_is_never_parked():
    with Server() as server:
        fill(server, 1, tries_max=2)
        for _ in range(10):
            token = request(server, "POST", "/v1/groups/g/fetch", {"consumer": "c", "count": 1}).json()["events"][0]["token"]
            answer = request(server, "POST", "/v1/groups/g/nack", {"tokens": [token], "untried": True})
            assert answer.status == 200 and answer.json() == {"done": 1, "parked": 0}, answer
            again = request(server, "POST", "/v1/groups/g/nack", {"tokens": [token], "untried": True})
            assert again.status == 200, again  # it is not out any more, and that is what was wanted
        assert delivered(server) == [(1, 1)]
        assert request(server, "POST", "/v1/groups/g/nack", {"tokens": [token], "untried": 1}).status == 422


@tap.test
def tail_and_export_end_at_sigterm_too():
    with folder() as work, Server() as server:
        fill(server, 10)
        tail = subprocess.Popen([str(DAYBOOK), "tail", "--url", server.url], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        for _ in range(10):
            assert tail.stdout.readline()
        tail.terminate()
        assert tail.communicate(timeout=60) == (b"", b"") and tail.returncode == 0
        server.signal(signal.SIGSTOP)  # it answers nobody
        export = subprocess.Popen([str(DAYBOOK), "export", str(work / "all"), "--url", server.url], stderr=subprocess.PIPE)
        wait_for(lambda: (work / "all").exists(), "it has begun")
        export.terminate()
        try:
            assert export.wait(60) == FAILED and not (work / "all").exists()
        finally:
            server.signal(signal.SIGCONT)
        export.communicate()
        assert daybook("export", work / "all", url=server.url)[0] == 0 and (work / "all").exists()


tap.main()
