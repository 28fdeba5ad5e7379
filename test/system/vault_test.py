"""A damaged file of keys is damage like any other (P6): refused by name, or mended and said; it is in no backup that was good, and
brings back nothing that was erased."""
import pathlib
import shutil

from daybook_test import Server, Tap, daybook, folder, request

tap = Tap()

SLOT = 128


def append(server, subject, guest):
    event = {"type": "Named", "data": {"guest": guest}, "stream": "s", "subject": subject}
    assert request(server, "POST", "/v1/append", {"events": [event]}).status == 201


def shown(server):
    """What each event shows: its data, or why it does not."""
    events = request(server, "GET", "/v1/events?limit=100").json()["events"]
    return [event["data"]["guest"] if "data" in event else "erased" if event.get("erased") else "sealed" for event in events]


WANTED = ["Ana", "erased", "Cid"]


def make(work):
    """A folder with three keys, one of them erased; `old` is a backup from before that, `backup` one from after."""
    data, old, backup = work / "data", work / "old", work / "backup"
    with Server(data=data) as server:
        for number, guest in enumerate(("Ana", "Bo", "Cid")):
            append(server, f"guest-{number}", guest)
        assert daybook("backup", data, old)[0] == 0
        assert request(server, "DELETE", "/v1/subjects/guest-1", timeout=60).status == 200
    assert daybook("backup", data, backup)[0] == 0
    return data, old, backup


def flip(path, byte, bit=0):
    content = bytearray(path.read_bytes())
    content[byte] ^= 1 << bit
    path.write_bytes(content)


def serve_copy(work, backup, *more):
    """What a restore of it shows."""
    restored = work / "restored"
    shutil.rmtree(restored, ignore_errors=True)
    code, _, error = daybook("restore", backup, restored, *more)
    assert code == 0, error
    with Server(data=restored) as server:
        return shown(server)


def start(data):
    """What the server shows, or the sentence with which it does not start."""
    server = Server(data=data)
    try:
        server.start()
    except AssertionError:
        return None, "".join(server.lines)
    try:
        return shown(server)[:3], "".join(server.lines)
    finally:
        server.stop()


def one_flip(work, name, byte, bit):
    data, old, backup = work / "data", work / "old", work / "backup"
    path = data / "keys" / name
    good = {file: (data / "keys" / file).read_bytes() for file in ("keys", "fences")}
    place = f"keys/{name} at byte {byte // SLOT * SLOT}"
    flip(path, byte, bit)
    code, text, _ = daybook("verify", data)
    assert code == 1 and place in text, (code, text)
    code, _, error = daybook("backup", data, backup)
    assert code == 0 or (code == 3 and f"keys/{name}" in error), (code, error)
    assert serve_copy(work, backup)[:3] == WANTED
    assert serve_copy(work, old, "--fences", data)[:3] == WANTED
    events, error = start(data)
    assert f"keys/{name}" in error and f"at byte {byte // SLOT * SLOT}" in error, error
    assert events is None or events == WANTED, events
    for file, content in good.items():
        (data / "keys" / file).write_bytes(content)


@tap.test
def a_damaged_key_or_fence_is_said_by_every_command_and_loses_and_brings_back_nothing():
    with folder() as place:
        work = pathlib.Path(place)
        make(work)
        # The vault's own slot, a living key, a destroyed one; a fence, and the note that it was done.
        for name, byte in (("keys", 7), ("keys", SLOT + 60), ("keys", 2 * SLOT + 30), ("fences", 45), ("fences", SLOT + 125)):
            one_flip(work, name, byte, byte % 8)


@tap.test
def keys_that_are_damaged_can_be_put_back_from_a_backup_or_given_up():
    with folder() as place:
        work = pathlib.Path(place)
        data, _, backup = make(work)
        flip(data / "keys" / "keys", SLOT + 70)
        events, error = start(data)
        assert events is None and "--keys-lost" in error and "backup" in error, error
        with Server(data=data, options=["--keys-lost"]) as server:
            assert shown(server)[:3] == ["sealed", "erased", "Cid"]
        shutil.copy(backup / "keys" / "keys", data / "keys" / "keys")
        with Server(data=data) as server:
            assert shown(server)[:3] == WANTED
        assert daybook("verify", data)[0] == 0


@tap.test
def a_folder_whose_keys_are_gone_is_not_whole():
    with folder() as place:
        data, _, _ = make(pathlib.Path(place))
        (data / "keys" / "keys").write_bytes(b"")
        events, error = start(data)
        assert events is None and "--keys-lost" in error, error
        (data / "keys" / "keys").unlink()
        code, text, _ = daybook("verify", data)
        assert code == 1 and "keys/keys" in text and "position 1" in text, (code, text)


@tap.test
def keys_that_end_too_early_are_refused_and_a_copy_without_them_is_no_success():
    with folder() as place:
        work = pathlib.Path(place)
        data, old, backup = make(work)
        with Server(data=data) as server:
            append(server, "guest-3", "Dan")
        good = (data / "keys" / "keys").read_bytes()
        older = (old / "keys" / "keys").read_bytes()
        for content, first in ((good[:-SLOT], 5), (good[:SLOT], 1), (older, 5)):  # every slot of these holds
            (data / "keys" / "keys").write_bytes(content)
            events, error = start(data)
            assert events is None and f"event {first} " in error and "keys/keys" in error and "--keys-lost" in error, error
            for target in (backup, work / f"new-{len(content)}"):
                code, _, error = daybook("backup", data, target)
                assert code == 1 and "is the key of event" in error, (code, error)
        with Server(data=data, options=["--keys-lost"]) as server:  # what was given up is asked for once
            assert shown(server) == WANTED + ["sealed"]
        with Server(data=data) as server:
            append(server, "guest-4", "Eve")
            assert shown(server)[-1] == "Eve"
        assert daybook("backup", data, backup)[0] == 0
        (data / "keys" / "keys").write_bytes((data / "keys" / "keys").read_bytes()[:-SLOT])
        events, error = start(data)
        assert events is None and "--keys-lost" in error, error


@tap.test
def the_keys_of_erased_people_are_not_missed_whatever_file_of_the_vault_is_gone():
    with folder() as place:
        data, old, _ = make(pathlib.Path(place))
        (data / "keys" / "fences").unlink()
        assert start(data)[0][:3] == WANTED
        keys = (data / "keys" / "keys").read_bytes()
        (data / "keys" / "keys").write_bytes(keys[:2 * SLOT] + keys[3 * SLOT:])  # without the destroyed one's slot
        (data / "keys" / "fences").unlink()
        assert start(data)[0][:3] == WANTED


tap.main()
