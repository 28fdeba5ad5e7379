"""A full disk is 507: nothing is lost, reads go on, and writes resume by themselves when there is room again.

Two ways to fill it: a small tmpfs of our own where that may be mounted, and a limit on the size of files, which needs no
rights at all."""
import contextlib
import os
import pathlib
import resource
import shutil
import subprocess

from daybook_test import Server, Skip, Tap, folder, request, wait_for

tap = Tap()


def append(server, number, size=400000):
    return request(server, "POST", "/v1/append", {"events": [{"type": "A", "data": {"n": number, "text": "x" * size}}]})


def numbers(server):
    found, after = [], 0
    while True:
        page = request(server, "GET", f"/v1/events?after={after}&limit=20").json()
        found += [event["data"]["n"] for event in page["events"]]
        after = page["after"]
        if not page["more"]:
            return found


@contextlib.contextmanager
def small_disk(megabytes):
    with folder() as place:
        if os.geteuid() != 0 or subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", str(place)],
                                               capture_output=True).returncode != 0:
            raise Skip("a tmpfs cannot be mounted here")
        try:
            yield place
        finally:
            subprocess.run(["umount", "-l", str(place)], check=False)


def fill(server):
    """Appends until one is refused; the numbers that were acknowledged."""
    done = []
    for number in range(100000):
        answer = append(server, number)
        if answer.status != 201:
            problem = answer.json()
            assert answer.status == 507 and problem["code"] == "disk-full", answer
            assert int(answer.headers["Retry-After"]) > 0
            return done
        done.append(number)
    raise AssertionError("the disk never got full")


def goes_on_reading(server, done):
    assert numbers(server) == done
    ready = request(server, "GET", "/ready").json()
    assert ready["journal"]["full"], ready
    assert b"daybook_journal_full 1\n" in request(server, "GET", "/metrics").body


@tap.test
def a_full_disk_stops_writes_alone_and_room_brings_them_back():
    with small_disk(150) as place:
        ballast = pathlib.Path(place, "ballast")
        ballast.write_bytes(bytes(75 << 20))
        with Server(data=place / "data") as server:
            done = fill(server)
            goes_on_reading(server, done)
            assert append(server, 0).status == 507
            ballast.unlink()
            wait_for(lambda: append(server, 1000).status == 201, "writes resume")
            assert numbers(server) == done + [1000]
        with Server(data=place / "data") as server:
            assert numbers(server) == done + [1000]


@tap.test
def a_file_that_may_not_grow_is_a_full_disk_too():
    with folder() as place:
        with Server(data=place / "data") as server:
            resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE, (1 << 20, 1 << 30))
            done = fill(server)
            goes_on_reading(server, done)
            resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE, (1 << 30, 1 << 30))
            wait_for(lambda: append(server, 1000).status == 201, "writes resume")
            assert numbers(server) == done + [1000]
        with Server(data=place / "data") as server:
            assert numbers(server) == done + [1000]


def named(server, number):
    event = {"type": "Named", "subject": f"guest-{number}", "data": {"guest": f"Secret-{number}"}}
    return request(server, "POST", "/v1/append", {"events": [event]}).status


def fill_up(place):
    with open(place / "ballast", "ab", buffering=0) as file:
        for step in (1 << 20, 4096, 1):
            with contextlib.suppress(OSError):
                while file.write(bytes(step)) == step:
                    pass


@tap.test
def an_erasure_without_room_is_507_shows_nothing_more_and_is_finished_when_there_is_room():
    with small_disk(90) as place, Server(data=place / "data") as server:
        assert [named(server, number) for number in range(3)] == [201] * 3
        fill_up(place)
        for _ in range(2):  # asked again, it is still not done
            answer = request(server, "DELETE", "/v1/subjects/guest-1", timeout=60)
            assert answer.status == 507 and answer.json()["code"] == "disk-full", answer
            assert "keys/fences" in answer.json()["detail"] and int(answer.headers["Retry-After"]) > 0, answer
        server.kill()
        server.start()  # and reads go on
        shown = request(server, "GET", "/v1/events?limit=10")
        assert shown.status == 200 and b"Secret-0" in shown.body and b"Secret-1" not in shown.body, shown
        assert request(server, "DELETE", "/v1/subjects/guest-1", timeout=60).status == 507
        (place / "ballast").unlink()
        wait_for(lambda: b"daybook_erasures_open 0" in request(server, "GET", "/metrics").body, "it is finished by itself")
        answer = request(server, "DELETE", "/v1/subjects/guest-1", timeout=60)
        assert answer.status == 200 and answer.json()["complete"], answer


VIEW = """-- view: %s
-- version: 1
-- Names that were given.

create table %s (n integer primary key);

-- on Named
insert into %s values (:position);
"""


def application(place, *names):
    (place / "views").mkdir(parents=True, exist_ok=True)
    for name in names:
        (place / "views" / f"{name}.sql").write_text(VIEW % (name, name, name))
    return place


def standing(server, name, path="/v1/views"):
    return next(view for view in request(server, "GET", path).json()["views"] if view["name"] == name)


def shows(server, name, count):
    answer = request(server, "GET", f"/v1/views/{name}")
    return answer.status == 200 and len(answer.json()) == count


def serves_without(server, name):
    """P7: it has started, events are read, and the view that is not there says so everywhere."""
    assert request(server, "GET", "/v1/events?limit=10").json()["events"][2]["subject"] == "guest-2"
    for path in ("/v1/views", "/ready"):
        view = standing(server, name, path)
        assert view["state"] == "stalled" and view["generation"] == 0, view
        assert f"views/{name}@" in view["error"]["detail"] and "make room" in view["error"]["detail"], view
    assert any(f"views/{name}@" in line and "make room" in line for line in server.lines), server.lines
    for question in (f"/v1/views/{name}", f"/v1/views/{name}?min_position=3&wait=20000", f"/v1/views/{name}?as_of=2"):
        answer = request(server, "GET", question)
        assert answer.status == 507 and answer.json()["code"] == "disk-full", answer
        assert int(answer.headers["Retry-After"]) > 0, answer


@tap.test
def a_server_starts_on_a_full_disk_and_a_view_that_was_never_built_is_built_when_there_is_room():
    with small_disk(90) as place, folder() as app, Server(application(app, "old"), data=place / "data") as server:
        assert [named(server, number) for number in range(3)] == [201] * 3
        wait_for(lambda: shows(server, "old", 3), "the view is built")
        server.stop()
        fill_up(place)
        application(app, "new")
        server.start()
        serves_without(server, "new")
        (place / "ballast").unlink()
        for name in ("old", "new"):
            wait_for(lambda name=name: shows(server, name, 3), f"{name} is built by itself")
            wait_for(lambda name=name: standing(server, name)["state"] == "live", f"{name} is live")
        assert shows(server, "new", 3) and request(server, "GET", "/v1/views/new?as_of=2").status == 200
        server.kill()
        server.start()
        assert shows(server, "new", 3)
        assert standing(server, "old")["generation"] == 1, "a view that could not be opened is the same as before"


@tap.test
def a_server_starts_on_a_full_disk_without_anything_that_can_be_made_again():
    with small_disk(90) as place, folder() as app, Server(application(app, "lost"), data=place / "data") as server:
        assert [named(server, number) for number in range(3)] == [201] * 3
        wait_for(lambda: shows(server, "lost", 3), "the view is built")
        server.kill()
        for name in ("views", "index", "groups", "durable.page", "writer.lock"):
            gone = place / "data" / name
            shutil.rmtree(gone) if gone.is_dir() else gone.unlink(missing_ok=True)
        fill_up(place)
        server.start()
        serves_without(server, "lost")
        server.kill()
        server.start()
        serves_without(server, "lost")
        (place / "ballast").unlink()
        wait_for(lambda: shows(server, "lost", 3), "it is built by itself")
        wait_for(lambda: named(server, 3) == 201, "writes resume")
        wait_for(lambda: shows(server, "lost", 4), "and followed")


tap.main()
