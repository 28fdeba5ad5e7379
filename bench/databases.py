"""Databases as peers: PostgreSQL with an append function like message-db's, SQLite with a bare insert for each transaction."""
import os
import pathlib
import re
import shutil
import sqlite3
import subprocess
import time

from peers import free_port

# What message-db's write_message does, in our own words: one writer a category at a time (an advisory lock held to the end
# of the transaction), the stream's version looked up and compared, then the row, whose identity is the global position.
SCHEMA = """
create table messages (
    global_position bigint generated always as identity primary key,
    id uuid not null unique, stream_name text not null, position bigint not null, type text not null,
    data jsonb, metadata jsonb, time timestamp without time zone not null default (now() at time zone 'utc'));
create unique index messages_stream on messages (stream_name, position);
create index messages_category on messages (split_part(stream_name, '-', 1), global_position);

create function append_message(message uuid, stream text, message_type text, message_data jsonb, message_metadata jsonb,
                               expected bigint default null) returns bigint language plpgsql as $$
declare
    version bigint;
begin
    perform pg_advisory_xact_lock(hashtextextended(split_part(stream, '-', 1), 0));
    select max(position) into version from messages where stream_name = stream;
    version := coalesce(version, -1);
    if expected is not null and expected <> version then
        raise exception 'wrong expected version: % (stream: %, version: %)', expected, stream, version;
    end if;
    insert into messages (id, stream_name, position, type, data, metadata)
        values (message, stream, version + 1, message_type, message_data, message_metadata);
    return version + 1;
end $$;
"""

SETTINGS = {"fsync": "on", "synchronous_commit": "on", "full_page_writes": "on", "listen_addresses": "'127.0.0.1'",
            "shared_buffers": "512MB", "max_wal_size": "4GB", "max_connections": "300", "logging_collector": "off"}


def spread_of(took_us):
    """The three percentiles of a list of latencies."""
    ordered = sorted(took_us)
    return {name: ordered[int(len(ordered) * part)]
            for name, part in (("p50_us", 0.5), ("p99_us", 0.99), ("p999_us", 0.999))}


def binaries():
    """The folder of the newest PostgreSQL here; its server is in nobody's PATH."""
    found = sorted(pathlib.Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))
    if not found:
        raise RuntimeError("PostgreSQL is not installed: tools/install_packages.sh bench")
    return found[-1].parent


class Postgres:
    """A cluster in a folder of its own, on a port of its own, on 127.0.0.1 only, ended by its process id."""

    def __init__(self, setting):
        self.folder, self.port, self.bin = setting.folder / "postgres", free_port(), binaries()
        self.as_owner = []
        self.folder.mkdir(exist_ok=True)
        if os.geteuid() == 0:  # the server refuses to be root
            shutil.chown(self.folder, "postgres")
            for parent in self.folder.parents[:1]:
                parent.chmod(0o755)
            self.as_owner = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"]

    def run(self, program, *arguments, text=None):
        done = subprocess.run([*self.as_owner, str(self.bin / program), *map(str, arguments)], input=text,
                              capture_output=True, text=True, cwd="/")
        if done.returncode != 0:
            raise RuntimeError(f"{program}: {done.stderr}")
        return done.stdout

    def __enter__(self):
        from daybook_test import Process
        data = self.folder / "data"
        self.run("initdb", "-D", data, "-U", "bench", "--auth=trust", "--no-sync", "--locale=C", "--encoding=UTF8")
        options = [word for name, value in SETTINGS.items() for word in ("-c", f"{name}={value.strip(chr(39))}")]
        self.process = Process([*self.as_owner, self.bin / "postgres", "-D", data, "-p", self.port, "-k", self.folder, *options],
                               r"ready to accept connections", cwd="/")
        self.process.start()
        self.run("psql", *self.address(), "-v", "ON_ERROR_STOP=1", "-q", text=SCHEMA)
        return self

    def __exit__(self, *error):
        self.process.signal(2)  # fast shutdown
        try:
            self.process.process.wait(30)
        finally:
            self.process.kill()

    def address(self):
        return ["-h", "127.0.0.1", "-p", self.port, "-U", "bench", "-d", "postgres"]

    def append(self, clients, size, seconds):
        """Appends of one message each to streams of one category, prepared statements, `clients` connections."""
        script = self.folder / "append.sql"
        script.write_text("\\set stream random(1, 1000000000)\n"
                          "select append_message(gen_random_uuid(), 'bench-' || :stream, 'Measured', "
                          f"'\"{'x' * (size - 2)}\"', null);\n")
        said = self.run("pgbench", *self.address(), "-n", "-M", "prepared", "-c", clients, "-j", 2, "-T", seconds,
                        "-f", script, "-l", f"--log-prefix={self.folder / 'times'}")
        took = []
        for log in self.folder.glob("times.*"):
            took += [float(line.split()[2]) for line in log.read_text().splitlines()]
            log.unlink()
        return {"per_second": float(re.search(r"tps = ([\d.]+) \(without", said).group(1)), **spread_of(took)}


def sqlite_inserts(folder, size, seconds):
    """One insert a transaction, one thread, WAL with synchronous=FULL: rows a second."""
    path = pathlib.Path(folder) / "inserts.db"
    for old in path.parent.glob("inserts.db*"):
        old.unlink()
    database = sqlite3.connect(path, isolation_level=None)
    database.execute("pragma journal_mode=wal")
    database.execute("pragma synchronous=full")
    database.execute("create table messages (position integer primary key, type text not null, data text not null)")
    data, count, took, began = "x" * size, 0, [], time.perf_counter()
    while time.perf_counter() - began < seconds:
        at = time.perf_counter()
        database.execute("insert into messages (type, data) values ('Measured', ?)", (data,))
        took.append(time.perf_counter() - at)
        count += 1
    rate = count / (time.perf_counter() - began)
    database.close()
    return {"per_second": rate, **spread_of([seconds * 1e6 for seconds in took])}
