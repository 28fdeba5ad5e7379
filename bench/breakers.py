"""The breaker beside one behind a mutex, and beside opossum and cockatiel in Node.js: ns a call."""
import json
import pathlib
import shutil
import subprocess
import sys

PEERS = pathlib.Path(__file__).resolve().parent / "npm"


def ns(number):
    return f"{number:,.1f} ns"


def breaker_calls(setting, median):
    """Every row of breaker_bench: CPU time of a call; with many callers also what the clock on the wall says."""
    rounds = [run_bench(setting) for _ in range(setting.rounds)]
    for number, first in enumerate(rounds[0]):
        ours, mutex, ours_wall, mutex_wall = (median([run[number][field] for run in rounds])
                                              for field in ("ours_ns", "mutex_ns", "ours_wall_ns", "mutex_wall_ns"))
        plural = "es" if first["kind"] == "process" else "s"
        many = f", {first['callers']} {first['kind']}{plural}" if first["callers"] > 1 else ""
        if first["callers"] == 1 and first["kind"] == "process":
            many = ", one process"
        row = {"what": f"breaker: {first['what']}{many}", "ours": ns(ours), "ratio": mutex / ours,
               "peer_name": "the same rules behind a mutex", "peer": ns(mutex)}
        if first["callers"] > 1:
            row["note"] = f"on the wall {ns(ours_wall)}, mutex {ns(mutex_wall)}: {mutex_wall / ours_wall:.2f} ×"
        yield row
    yield from node_peers(setting, median, rounds)


def run_bench(setting):
    milliseconds = max(20, setting.seconds * 20)
    done = subprocess.run([str(setting.build / "bench" / "breaker_bench"), "--ms", str(milliseconds)], capture_output=True,
                          text=True, timeout=600, check=True)
    return [json.loads(line) for line in done.stdout.splitlines()]


def fetch_peers(folder):
    """opossum and cockatiel as package-lock.json has them, into the build folder. None, or why that failed."""
    if not shutil.which("npm") or not shutil.which("node"):
        return "npm is not installed"
    folder.mkdir(exist_ok=True)
    for name in ("package.json", "package-lock.json", ".npmrc", "breaker_peers.mjs"):
        shutil.copy(PEERS / name, folder / name)
    done = subprocess.run(["npm", "ci", "--ignore-scripts", "--prefer-offline"], cwd=folder, capture_output=True, text=True,
                          timeout=120)
    return done.stderr.strip() if done.returncode else None


def node_peers(setting, median, rounds):
    folder = setting.build / "bench" / "npm"
    problem = fetch_peers(folder)
    if problem:
        print(f"opossum and cockatiel were not measured: {problem}", file=sys.stderr)
        return
    results = [json.loads(subprocess.run(["node", "breaker_peers.mjs", "1"], cwd=folder, capture_output=True, text=True,
                                         timeout=120, check=True).stdout) for _ in range(setting.rounds)]
    ours = {row["what"]: median([run[number]["ours_ns"] for run in rounds]) for number, row in enumerate(rounds[0])
            if row["callers"] == 1 and row["kind"] == "thread"}
    promise = median([result["promise_ns"] for result in results])
    for what, field in (("acquire + report, closed", "call_ns"), ("refusal, open", "refusal_ns")):
        for peer in ("opossum", "cockatiel"):
            theirs = median([result[peer][field] for result in results])
            yield {"what": f"breaker: {what}", "ours": ns(ours[what]), "ratio": theirs / ours[what],
                   "peer_name": f"{peer}, Node.js", "peer": ns(theirs),
                   "note": f"of which {ns(promise)} is the promise that is awaited"}
