"""Time from the start after kill -9 to a produce and a fetch on every partition.

    restart.py [--partitions 1000] [--megabytes 10240] [--rounds 5] [--warm] [--port 22400]

Fills the log, lets the bytes that no checkpoint has reach their bound, kills the broker, empties the page cache, starts
it and asks every partition for an acknowledgement, for the last records before the kill, and for its oldest ones. Prints each round with the phases that the
broker names in its log, then the medians. `--results FILE` appends one JSON line per round. A benchmark, not a test.
"""
import argparse, json, os, re, shutil, statistics, struct, subprocess, sys, tempfile, time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from broker import ROOT, Broker                   # noqa: E402
from wire import batch, connect, create_topic     # noqa: E402

TOPIC = "restart"
BATCH_BYTES = 16 << 10


class Client:
    """Requests over all partitions at once, encoded by hand: the client must not be what is measured."""

    def __init__(self, address, partitions):
        self.partitions = partitions
        self.conn = connect(address, 120)
        self.socket = self.conn.s
        self.number = 0

    def call(self, key, version, body):
        self.number += 1
        head = struct.pack(">hhih", key, version, self.number, -1)
        self.socket.sendall(struct.pack(">i", len(head) + len(body)) + head + body)
        size = struct.unpack(">i", self._read(4))[0]
        answer = self._read(size)
        assert struct.unpack_from(">i", answer)[0] == self.number
        return answer

    def _read(self, count):
        out = bytearray(count)
        view, at = memoryview(out), 0
        while at < count:
            got = self.socket.recv_into(view[at:])
            if not got:
                raise ConnectionError("closed by the broker")
            at += got
        return out

    def produce(self, records):
        """Sends one batch to every partition; the error codes. Keeps the offsets."""
        name = TOPIC.encode()
        body = bytearray(struct.pack(">hhii", -1, -1, 60000, 1) + struct.pack(">h", len(name)) + name)
        body += struct.pack(">i", self.partitions)
        for index in range(self.partitions):
            body += struct.pack(">ii", index, len(records)) + records
        answer = self.call(0, 7, body)
        at = 4 + 4 + 2 + len(name) + 4
        results = [struct.unpack_from(">ihq", answer, at + i * 30) for i in range(self.partitions)]
        self.offsets = {index: offset for index, _, offset in results}
        return [code for _, code, _ in results]

    def fetch(self, indexes, most, oldest):
        """(error code, bytes) of each partition from its first offset on, or from the last one before the kill."""
        name = TOPIC.encode()
        body = bytearray(struct.pack(">iiiibii", -1, 500, 1, 1 << 30, 0, 0, -1))
        body += struct.pack(">ih", 1, len(name)) + name + struct.pack(">i", len(indexes))
        for index in indexes:
            body += struct.pack(">iiqqi", index, -1, 0 if oldest else self.offsets[index] - 1, -1, most)
        answer = self.call(1, 11, body + struct.pack(">ih", 0, 0))
        at, found = 4 + 4 + 2 + 4 + 4 + 2 + len(name), {}
        count = struct.unpack_from(">i", answer, at)[0]
        at += 4
        for _ in range(count):
            index, code = struct.unpack_from(">ih", answer, at)
            at += 6 + 24
            aborted = struct.unpack_from(">i", answer, at)[0]
            at += 4 + 16 * max(aborted, 0) + 4
            length = struct.unpack_from(">i", answer, at)[0]
            at += 4 + max(length, 0)
            found[index] = (code, length)
        return found


def until_all(client, attempt, seconds=120):
    """Repeats `attempt(indexes)`, which gives the ones that still fail, until none does."""
    left, end = list(range(client.partitions)), time.monotonic() + seconds
    while left:
        left = attempt(left)
        if time.monotonic() > end:
            raise RuntimeError(f"{len(left)} partitions still refuse after {seconds} s")


def fetch_all(client, oldest):
    # Many partitions at once: what one answer holds is bounded, so the rest is asked for again.
    until_all(client, lambda left: [i for i, (code, got) in client.fetch(left[:250], 64 << 10, oldest).items()
                                    if code != 0 or got <= 0] + left[250:])


def measure(broker, partitions, one):
    """Seconds from the start of the process to: an answer, all produced, all fetched where they had come to, and from
    their first offset."""
    at = os.path.getsize(broker.log)
    begun = time.monotonic()
    broker.start(wait=0)
    while True:
        try:
            client = Client(broker.address, partitions)
            client.call(18, 0, b"")
            break
        except OSError:
            if not broker.alive() or time.monotonic() - begun > 120:
                raise RuntimeError(broker.log_tail()) from None
            time.sleep(0.005)
    answered = time.monotonic() - begun
    while any(client.produce(one)):
        assert time.monotonic() - begun < 120
    produced = time.monotonic() - begun
    fetch_all(client, False)
    fetched = time.monotonic() - begun
    fetch_all(client, True)
    oldest = time.monotonic() - begun
    with open(broker.log, "rb") as f:
        f.seek(at)
        log = re.sub(r"\x1b\[[0-9;]*m", "", f.read().decode(errors="replace"))
    phases = {k: int(v) for line in log.splitlines() if "recovery" in line for k, v in re.findall(r"(\w+)_ms=(\d+)", line)}
    replayed = re.search(r"(\d+) batches brought back from \d+ journals \((\d+) bytes\)", log)
    return client, {"answer_s": round(answered, 3), "produce_s": round(produced, 3), "fetch_s": round(fetched, 3), "oldest_s": round(oldest, 3),
                    "replayed_mib": int(replayed.group(2)) >> 20 if replayed else None, "phases_ms": phases}


def fill_to_bound(broker, client, records, bound):
    """Goes on until about `bound` bytes were journaled behind the last checkpoint."""
    def counters():
        found = broker.counters()
        return found["tidelog_checkpoints_total"], found["tidelog_journal_bytes_total"]
    seen, begun = counters()
    for _ in range(400):
        assert not any(client.produce(records))
        checkpoints, journaled = counters()
        if checkpoints > seen:
            seen, begun = checkpoints, journaled
        elif checkpoints and journaled - begun >= bound:
            return
    raise RuntimeError("no checkpoint was taken, or one after the other")


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--partitions", type=int, default=1000)
    p.add_argument("--megabytes", type=int, default=10240)
    p.add_argument("--bound", type=int, default=256, help="MiB that no checkpoint has")
    p.add_argument("--rounds", type=int, default=5)
    p.add_argument("--warm", action="store_true", help="leave the page cache as it is")
    p.add_argument("--port", type=int, default=22400)
    p.add_argument("--set", action="append", default=[], help="a setting of the broker")
    p.add_argument("--work", help="folder on the disk to measure; kept, and used again if it holds a log")
    p.add_argument("--results", help="file to append JSON lines to")
    o = p.parse_args()
    work = o.work or tempfile.mkdtemp(prefix="tidelog-restart-")
    data = os.path.join(work, "data")
    filled = os.path.exists(data)
    os.makedirs(data, exist_ok=True)
    # Space is allocated ahead of the log, at most as much again.
    if not filled and shutil.disk_usage(work).free < (3 * o.megabytes + 4096) << 20:
        sys.exit(f"{work}: too little space for {o.megabytes} MiB of log")
    settings = {"checkpoint.interval.ms": "3600000", "journal.file.bytes": str(64 << 20), "shards": "1"}
    settings.update(s.split("=", 1) for s in o.set)
    broker = Broker("tidelog", o.port, data, os.path.join(work, "log"), settings)
    records, one = batch([(b"k", os.urandom(BATCH_BYTES - 100))]), batch([(b"k", b"v")])
    rows = []
    commit = subprocess.run(["git", "-C", ROOT, "describe", "--always", "--dirty"], capture_output=True, text=True).stdout.strip()
    try:
        broker.start()
        if not filled:
            create_topic(broker.address, TOPIC, o.partitions, **{"segment.bytes": str(1 << 30)})
        client = Client(broker.address, o.partitions)
        for _ in range(0 if filled else (o.megabytes << 20) // (o.partitions * len(records))):
            assert not any(client.produce(records))
        for number in range(o.rounds):
            fill_to_bound(broker, client, records, o.bound << 20)
            broker.kill()
            if not o.warm:
                subprocess.run(["sync", "-f", data], check=True)
                with open("/proc/sys/vm/drop_caches", "w") as f:
                    f.write("3\n")
            client, row = measure(broker, o.partitions, one)
            rows.append(row)
            print(f"round {number}: {row}", flush=True)
            if o.results:
                with open(o.results, "a") as f:
                    f.write(json.dumps({"commit": commit, "partitions": o.partitions, "megabytes": o.megabytes, **row}) + "\n")
    finally:
        broker.kill()
        if not o.work:
            shutil.rmtree(work, ignore_errors=True)
    for name in ("answer_s", "produce_s", "fetch_s", "oldest_s"):
        values = [row[name] for row in rows]
        print(f"{name}: median {statistics.median(values)} ({min(values)}..{max(values)})")


if __name__ == "__main__":
    main()
