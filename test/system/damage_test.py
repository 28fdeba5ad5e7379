"""P6 and P8 under a server: damage is named, whoever reads; what is derived is made again by itself; nothing is silent."""
import collections
import concurrent.futures
import os
import random
import time

from damage_kit import UNIT, Whole, command, copy_folder, flip, folder_of_everything, reads, used
from daybook_test import HOTEL, Skip, Tap, folder, request, wait_for

tap = Tap()

BULK = UNIT + 232  # what needs a file of the index, and a table that is read from the log again
BLOCK = 4096
HEAL_SECONDS = 60
OF_VIEWS = {"view", "availability", "query"}  # reads that name no position to wait for
MAY_REFUSE = ("log.head", "keys", "fences")  # not derived from anything: a server without them would be wrong


def text_of(server):
    return "".join(server.lines)


def metric(server, name):
    text = request(server, "GET", "/metrics").body.decode()
    return int(next(line.split()[1] for line in text.splitlines() if line.startswith(name + " ")))


def needs_hotel():
    if not (HOTEL / "app.so").exists():
        raise Skip("the hotel is not built")


def names_damage(answer, name):
    """A problem that says what is damaged, or a stream that was cut before its end."""
    status, body = answer
    return status == "cut" or (status == 500 and b'"code":"damaged"' in body and name.encode() in body)


@tap.test
def what_cannot_be_complete_because_the_log_is_damaged_says_so_to_every_reader():
    needs_hotel()
    with folder() as data:
        folder_of_everything(data)
        with Whole(data) as server:
            before = {name: ask() for name, ask in reads(server).items()}
            head = request(server, "GET", "/v1/events?limit=1&direction=backward").json()["head"]
        segment = next(data.glob("log/*.seg"))
        flip(segment, used(segment) // 2)
        with Whole(data) as server:
            assert f"{segment.name} is damaged at byte " in text_of(server), text_of(server)
            ready = request(server, "GET", "/ready")
            assert ready.status == 503 and segment.name in ready.json()["journal"]["reason"], ready
            assert metric(server, "daybook_journal_damaged") == 1
            for name, ask in reads(server).items():
                answer = ask()
                assert names_damage(answer, segment.name), f"{name}: {answer} was {before[name]}"
            left = ready.json()["journal"]["position"]
            assert 0 < left < head
            page = request(server, "GET", f"/v1/events?before={left + 1}&limit=1000&system=true").json()  # what lies before is there
            assert len(page["events"]) == left and not page["more"], page
            page = request(server, "GET", f"/v1/events?limit={left}&system=true").json()
            assert page["more"], "an end that is damage is not the end"
            assert request(server, "GET", f"/v1/views/reservations?as_of={left}").status == 200
            for path in (f"/v1/views/reservations?as_of={left + 1}", "/v1/streams/never-was", "/v1/groups/never-was",
                         f"/v1/events?before={left + 5}", f"/v1/log?after={left}", f"/v1/views/reservations?min_position={left}"):
                answer = request(server, "GET", path)
                assert names_damage((answer.status, answer.body), segment.name), f"{path}: {answer}"
            assert command(server, "AddRooms", hotel="X", room_type="A", rooms=1).status in (500, 503)


@tap.test
def a_damaged_page_that_a_question_meets_makes_its_view_be_built_again():
    needs_hotel()
    with folder() as data:
        folder_of_everything(data)
        with Whole(data) as server:
            ask = reads(server)["view"]
            before = ask()
            server.stop()
            store = next(data.glob("views/reservations@*.db"))
            for page in range(2, used(store) // BLOCK):  # what opening reads stands in the first two
                flip(store, page * BLOCK + 3000)
            server.start()
            answer = request(server, "GET", "/v1/views/reservations?order=reservation&limit=1000")
            assert answer.status == 503 and answer.headers["Retry-After"] == "1", answer
            problem = answer.json()
            assert problem["code"] == "view-rebuilding" and "is being rebuilt" in problem["detail"], problem
            assert f"views/{store.name} is damaged at byte " in text_of(server), text_of(server)
            assert wait_for(lambda: ask() == before, "the view answers as it did", HEAL_SECONDS)
            assert not store.exists()


@tap.test
def a_server_starts_whatever_is_damaged_in_what_is_derived():
    needs_hotel()
    with folder() as data:
        folder_of_everything(data, BULK)
        with Whole(data, BULK) as server:
            before = {name: ask() for name, ask in reads(server).items()}
        run = next(data.glob("index/*.run"))
        for block in range(1, run.stat().st_size // BLOCK):
            flip(run, block * BLOCK + 2000, 4)
        for view in (*data.glob("views/*.db"), *data.glob("views/*.current")):
            flip(view, 0, 6)
        with Whole(data, BULK) as server:
            for name, ask in reads(server).items():
                wait_for(lambda: ask() == before[name], f"{name} answers as before", HEAL_SECONDS)
            assert f"index/{run.name} is damaged" in text_of(server), text_of(server)
            for view in ("reservations", "availability"):
                assert f"views/{view}.current does not say" in text_of(server), text_of(server)


# ---- a bit anywhere ----

def is_catching_up(server, name):
    """A view that was thrown away and is built from the beginning answers what it has, and from which position."""
    return name in OF_VIEWS and any(view["lag"] > 0 for view in request(server, "GET", "/v1/views").json()["views"])


def settle(server, name, ask, before):
    """The answer, when it is no 'come again': what is made again must be there in a while."""
    until = time.monotonic() + HEAL_SECONDS
    while True:
        behind, answer = is_catching_up(server, name), ask()
        if answer == before[name] or (answer[0] != 503 and not behind) or time.monotonic() > until:
            return answer
        time.sleep(0.05)


def meet(base, path, offset, bit, before):
    """Start on a copy with one bit flipped. What came of it: refused, healed, named or harmless; anything else fails."""
    name = path.name
    with folder() as data:
        copy_folder(base, data)
        flip(data / path.relative_to(base), offset, bit)
        server = Whole(data, BULK)
        try:
            server.start()
        except AssertionError:
            code = server.process.returncode
            assert name in MAY_REFUSE and code in (1, 3) and name in text_of(server), f"refused, exit {code}: {text_of(server)}"
            return "refused"
        try:
            answers = {what: settle(server, what, ask, before) for what, ask in reads(server).items()}
            other = {what: answer for what, answer in answers.items() if answer != before[what]}
            said = name in text_of(server)
            for what, answer in other.items():
                assert names_damage(answer, name), f"{what} is {answer}, was {before[what]}\n{text_of(server)}"
            if other:
                assert said and request(server, "GET", "/ready").status == 503, text_of(server)
        finally:
            code = server.stop()
        assert code == 0, text_of(server)
        return "named" if other else "healed" if said else "harmless"


def flips(count, seed):
    """So many, over all files alike, whatever their sizes, and over all places of a file in which something stands."""
    needs_hotel()
    dice = random.Random(seed)
    print(f"# {count} flips, seed {seed} (DAYBOOK_SEED)", flush=True)
    with folder() as base:
        folder_of_everything(base, BULK)
        with Whole(base, BULK) as server:
            before = {name: ask() for name, ask in reads(server).items()}
        files = sorted(path for path in base.rglob("*") if path.is_file() and path.stat().st_size > 0)
        cases = []
        for number in range(count):
            path = files[number % len(files)] if count < 2 * len(files) else dice.choice(files)
            cases.append((path, dice.randrange(min(used(path) + 100, path.stat().st_size)), dice.randrange(8)))

        def try_case(case):
            path, offset, bit = case
            try:
                return path.relative_to(base).parts[0], meet(base, path, offset, bit, before)
            except AssertionError as error:
                raise AssertionError(f"bit {bit} of byte {offset} of {path.relative_to(base)}: {error}") from None

        with concurrent.futures.ThreadPoolExecutor(2) as pool:
            came = collections.Counter(pool.map(try_case, cases))
        print("# " + ", ".join(f"{file} {what} {times}" for (file, what), times in sorted(came.items())))
        return came


@tap.test
def no_flipped_bit_is_silent():
    many = int(os.environ.get("DAYBOOK_FLIPS", "33"))
    seed = int(os.environ.get("DAYBOOK_SEED", random.SystemRandom().randrange(1 << 32) if many > 100 else 20261201))
    came = flips(many, seed)
    assert any(what != "harmless" for _, what in came), came


tap.main()
