"""The journal inside a program, without a server: what build/bench/journal_bench measures."""
import json
import os
import shutil
import subprocess
import time

from disk import fio, free_bytes
from table import latencies, milliseconds, rate, row

EVENT_SIZE, EVENTS, PENDING = 256, 100, 16
GROWTH_COUNTS = (10_000, 100_000, 1_000_000, 10_000_000, 100_000_000)
EVENT_BYTES_ON_DISK = 420
OPENED_COUNT = 1_000_000
LONG_BYTES = 10 << 30


def journal_bench(setting, what, folder, *options):
    folder.mkdir(parents=True, exist_ok=True)
    done = subprocess.run([str(setting.build / "bench" / "journal_bench"), what, "--folder", str(folder), *map(str, options)],
                          capture_output=True, text=True, timeout=36000)
    if done.returncode != 0:
        raise RuntimeError(f"journal_bench {what}: {done.stderr}")
    return json.loads(done.stdout)


def append(setting, folder, events, pending, *more):
    return journal_bench(setting, "append", folder, "--events", events, "--size", EVENT_SIZE, "--pending", pending,
                         *(more or ("--seconds", setting.seconds)))


def beside_fio(setting, median, what, folder, pending):
    """Appends of a hundred events, beside fio writing as many bytes as one of them takes, each write synced."""
    size = append(setting, folder, EVENTS, pending, "--seconds", 1)["write_size"]
    ours, theirs = setting.turns(lambda: append(setting, folder, EVENTS, pending),
                                 lambda: fio(setting.folder, setting.seconds, size))
    own, peer = (median([result["bytes_per_second"] for result in results]) for results in (ours, theirs))
    events = median([result["events_per_second"] for result in ours])
    line = row(what, own / 1e6, "fio", peer / 1e6, target=0.8, unit=lambda number: f"{number:,.1f} MB/s",
               needs="≥ 0.8 × or 1 M/s", ours_ms=latencies(median, ours), peer_ms=latencies(median, theirs),
               note=f"{events:,.0f} events/s; {median([r['cpu_us'] for r in ours]) / EVENTS:.2f} µs of processor an event, "
                    f"{size} bytes a write")
    line["reached"] = line["reached"] or events >= 1e6
    return line


def embedded_appends(setting, median):
    folder = setting.folder / "embedded"
    size = append(setting, folder, 1, 1, "--seconds", 1)["write_size"]
    for room in ("none", "allocated", "zeroed"):
        ours, theirs = setting.turns(lambda: append(setting, folder, 1, 1),
                                     lambda: journal_bench(setting, "write", folder, "--seconds", setting.seconds, "--size",
                                                           size, "--room", room))
        own, peer = (median([result["per_second"] for result in results]) for results in (ours, theirs))
        yield row("embedded: one caller, one event, durable", own, f"write and fdatasync, room: {room}", peer,
                  target=0.9 if room == "none" else None, ours_ms=latencies(median, ours), peer_ms=latencies(median, theirs))
    yield beside_fio(setting, median, f"embedded: {EVENTS} events an append, one caller", folder, 1)
    yield beside_fio(setting, median, f"embedded: {EVENTS} events an append, {PENDING} on their way", folder, PENDING)
    scan = [journal_bench(setting, "scan", folder) for _ in range(setting.rounds)]
    yield row("embedded: full scan in process", median([result["events_per_second"] for result in scan]), limit=5e6,
              needs="≥ 5 M/s", note=f"of {scan[0]['head']:,} events, from the page cache")
    shutil.rmtree(folder, ignore_errors=True)


def embedded_opening(setting, median):
    """Opening with the index in its folder, after kill -9 in the middle of appends."""
    folder, index = setting.folder / "opening" / "log", setting.folder / "opening" / "index"
    folder.parent.mkdir(parents=True, exist_ok=True)
    count = min(OPENED_COUNT, int(os.environ.get("DAYBOOK_BENCH_EVENTS", OPENED_COUNT)))
    append(setting, folder, 1000, 4, "--count", count, "--seconds", 3600, "--index", index)
    opened = []
    for _ in range(setting.rounds):
        running = subprocess.Popen([str(setting.build / "bench" / "journal_bench"), "append", "--folder", str(folder), "--index",
                                    str(index), "--events", str(EVENTS), "--pending", str(PENDING), "--seconds", "60"])
        time.sleep(1)
        running.kill()
        running.wait()
        opened.append(journal_bench(setting, "scan", folder, "--index", index))
    yield row(f"embedded: opening after kill -9 at {count:,} events", median([result["open_ms"] for result in opened]),
              limit=1000, below=True, needs="< 1 s", unit=milliseconds,
              note=f"resident {median([result['resident_bytes'] for result in opened]) / (1 << 20):,.1f} MiB when opened")
    shutil.rmtree(folder.parent, ignore_errors=True)


def embedded_growth(setting, median):
    """Appends of a hundred events, and opening, against the number of events there are already; then 10 GB in one go."""
    folder, index = setting.folder / "growth" / "log", setting.folder / "growth" / "index"
    folder.parent.mkdir(parents=True, exist_ok=True)
    allowed = int(os.environ.get("DAYBOOK_BENCH_EVENTS", GROWTH_COUNTS[-1]))
    for count in GROWTH_COUNTS:
        if count > allowed or free_bytes(setting.folder) < 1.5 * count * EVENT_BYTES_ON_DISK:
            break
        append(setting, folder, 1000, 4, "--count", count, "--seconds", 3600, "--index", index)
        results = [append(setting, folder, EVENTS, PENDING, "--seconds", setting.seconds, "--index", index) for _ in range(setting.rounds)]
        opened = journal_bench(setting, "scan", folder, "--index", index)
        yield row(f"embedded: {EVENTS} events an append at {count:,} events",
                  median([result["events_per_second"] for result in results]), ours_ms=latencies(median, results),
                  note=f"opened in {opened['open_ms']:,.1f} ms, resident {opened['resident_bytes'] / (1 << 20):,.1f} MiB; "
                       f"scan {rate(opened['events_per_second'])}")
    shutil.rmtree(folder.parent, ignore_errors=True)
    gigabytes = float(os.environ.get("DAYBOOK_BENCH_GB", LONG_BYTES / (1 << 30)))
    if free_bytes(setting.folder) > 1.5 * gigabytes * (1 << 30):
        result = append(setting, folder, EVENTS, PENDING, "--count", int(gigabytes * (1 << 30) / EVENT_BYTES_ON_DISK),
                        "--seconds", 3600, "--index", index)
        peer = fio(setting.folder, setting.seconds, result["write_size"])
        yield row(f"embedded: {EVENTS} events an append over {gigabytes:g} GB", result["bytes_per_second"] / 1e6, "fio",
                  peer["bytes_per_second"] / 1e6, target=0.8, unit=lambda number: f"{number:,.1f} MB/s",
                  needs="≥ 0.8 × or 1 M/s", note=f"{rate(result['events_per_second'])} events")
        shutil.rmtree(folder.parent, ignore_errors=True)
