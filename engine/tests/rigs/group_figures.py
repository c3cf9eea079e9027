"""Groups beside Apache Kafka: offset commits, rebalances and memory, broker on core 0, this driver on core 1, in turns.

    group_figures.py [--cases commits,rebalance,memory] [--brokers tidelog,kafka,kafka-flush] [--rounds 3] [--results FILE]

kafka is Apache Kafka as it comes: a commit is acknowledged from the page cache. kafka-flush is the same with
log.flush.interval.messages=1, so that it flushes before it acknowledges, as Tidelog always does.

commits    CONNECTIONS clients, each with a group of its own, commit one offset after the other (closed loop); then they
           share RATE commits a second, each timed from the moment it was due. driver_cores near 1 means that
           the figure is the driver's, not the broker's.
rebalance  From the request of one more member, and from the leave of one, until all members are in one new generation with
           every partition owned once. Members ask every 20 ms whether something changed, real ones every few
           seconds; group.initial.rebalance.delay.ms=0. Of KIP-848 groups group.consumer.assignment.interval.ms=1000 is a part.
memory     Resident size before and after so many groups, divided by their number. Of Kafka's the used heap after a full
           collection, because a JVM takes and keeps memory as it likes.
"""
import argparse, json, os, platform, re, shutil, statistics, subprocess, sys, tempfile, time

from broker import ROOT, Broker
from clients import Classic, Commit, Group, Loop, Modern, find
from figures import G1, cpu_seconds
from report import Report
import wire

BROKERS = {"tidelog": {"shards": "1", "journal.file.bytes": str(64 << 20)}, "kafka": {},
           "kafka-flush": {"log.flush.interval.messages": "1"}}
COMMON = {"offsets.topic.num.partitions": "4", "group.initial.rebalance.delay.ms": "0"}
SHARED, ONE = "shared", "one"


def quantile(values, q):
    return sorted(values)[min(len(values) - 1, int(len(values) * q))]


class Commits:
    """Clients that commit, each waiting for its answer; what was answered, and how long it took."""

    def __init__(self, loop, o):
        self.loop, self.o = loop, o
        self.clients = [(conn, Commit(f"commits-{n:03}", ONE)) for n, conn in enumerate(loop.connect(o.connections))]
        self.took, self.refused, self.free, self.end = [], {}, [], 0

    def send(self, client, due=None):
        begun = due or time.perf_counter()

        def answered(data):
            error, now = Commit.error(data), time.perf_counter()
            if error:
                self.refused[error] = self.refused.get(error, 0) + 1
            self.took.append(now - begun)
            if due is None and now < self.end:
                self.send(client)
            else:
                self.free.append(client)

        client[0].send(client[1].next(), answered)

    def closed(self, seconds):
        self.took, self.free, begun = [], [], time.perf_counter()
        self.end = begun + seconds
        for client in self.clients:
            self.send(client)
        assert self.loop.run(lambda: len(self.free) == len(self.clients)), "commits are not answered"
        return len(self.took) / (time.perf_counter() - begun)

    def paced(self, seconds, rate):
        self.took, due = [], [time.perf_counter()]
        end = due[0] + seconds

        def more():
            now = time.perf_counter()
            while self.free and due[0] <= now and due[0] < end:
                self.send(self.free.pop(0), due[0])
                due[0] += 1 / rate
        assert self.loop.run(lambda: due[0] >= end and len(self.free) == len(self.clients), each_round=more, spin=True)

    def measure(self, broker):
        find(self.loop, "commits-000")
        self.closed(self.o.warm)
        self.refused = {}
        before, cpu = time.process_time(), cpu_seconds(broker)
        per_second = self.closed(self.o.seconds)
        driver, cpu = ((now - then) / self.o.seconds for now, then in ((time.process_time(), before), (cpu_seconds(broker), cpu)))
        closed = self.took
        self.paced(self.o.seconds, self.o.rate)
        return {"commits_s": round(per_second), "closed_p50_ms": ms(quantile(closed, 0.5)), "closed_p99_ms": ms(quantile(closed, 0.99)),
                "broker_cores": round(cpu, 2), "driver_cores": round(driver, 2),
                "rate_p50_ms": ms(quantile(self.took, 0.5)), "rate_p99_ms": ms(quantile(self.took, 0.99)),
                "refused": self.refused}


def ms(seconds):
    return round(seconds * 1000, 2)


def rebalance(loop, o, make, name):
    """Seconds until a group of `members` has taken in one more, and until it has let it go; medians of `changes`."""
    group = Group(loop, name, SHARED, o.partitions)
    find(loop, name)
    for n in range(o.members):
        group.members.append(make(group, n))
        group.members[-1].join()
    assert group.settle(0, 0.02), f"{name}: {o.members} members do not meet"
    joins, leaves, busy, begun = [], [], time.process_time(), time.perf_counter()
    for change in range(o.changes):
        member, epoch, at = make(group, o.members + change), group.newest(), time.perf_counter()
        group.members.append(member)
        member.join()
        assert group.settle(epoch, 0.02), f"{name}: the joining of one is not settled"
        joins.append(time.perf_counter() - at)
        leaving, epoch = group.members.pop(change), group.newest()
        at = time.perf_counter()
        leaving.leave()
        assert group.settle(epoch, 0.02), f"{name}: the leaving of one is not settled"
        leaves.append(time.perf_counter() - at)
    driver = (time.process_time() - busy) / (time.perf_counter() - begun)
    return {"join_ms": ms(statistics.median(joins)), "leave_ms": ms(statistics.median(leaves)), "driver_cores": round(driver, 2)}


def disk(folder):
    """What one write of 4 KiB with its fdatasync takes at the moment: no durable commit can be faster."""
    with tempfile.NamedTemporaryFile(prefix="tidelog-groups-", dir=folder) as f:
        took = []
        for n in range(200):
            begun = time.perf_counter()
            os.pwrite(f.fileno(), b"x" * 4096, 4096 * (n % 16))
            os.fdatasync(f.fileno())
            took.append(time.perf_counter() - begun)
    return {"p50_ms": ms(quantile(took, 0.5)), "p99_ms": ms(quantile(took, 0.99))}


def resident(broker):
    return broker.resident_bytes()


def heap(broker):
    """What a Kafka's heap holds after a full collection."""
    for words in (["GC.run"], ["GC.heap_info"]):
        out = subprocess.run(["jcmd", str(broker.pid), *words], capture_output=True, text=True, timeout=120).stdout
    return int(re.search(r"used (\d+)K", out).group(1)) << 10


def memory(loop, o, broker):
    sizes = {"resident": resident} if broker.kind == "tidelog" else {"resident": resident, "heap": heap}

    def growth(work, n):
        time.sleep(1)
        before = {name: size(broker) for name, size in sizes.items()}
        work()
        time.sleep(3)
        return {name: round((size(broker) - before[name]) / n) for name, size in sizes.items()}

    find(loop, "memory")
    conns = loop.connect(o.connections)
    warm = iter([f"warm-{n:05}" for n in range(500)])
    offsets, members = iter([f"offsets-{n:05}" for n in range(o.groups)]), iter([f"members-{n:05}" for n in range(o.live)])
    settled = []

    def commit_all(names):
        def run():
            left = [len(conns)]

            def next_one(conn):
                name = next(names, None)
                if name is None:
                    left[0] -= 1
                    return

                def answered(data):
                    if Commit.error(data):
                        loop.troubles.append(f"{name}: a commit was refused with {Commit.error(data)}")
                    next_one(conn)
                conn.send(Commit(name, ONE).next(), answered)
            for conn in conns:
                next_one(conn)
            assert loop.run(lambda: left[0] == 0), "commits are not answered"
        return run

    def join_all():
        def next_one(conn):
            name = next(members, None)
            if name is None:
                return
            member = Classic(Group(loop, name, ONE, 1), conn, 600000)
            member.changed = lambda: (settled.append(member.id), next_one(conn))
            member.join()
        for conn in conns:
            next_one(conn)
        assert loop.run(lambda: len(settled) == o.live), f"{len(settled)} of {o.live} members joined"

    commit_all(warm)()
    group, member = growth(commit_all(offsets), o.groups), growth(join_all, o.live)
    return {**{f"group_{name}_bytes": n for name, n in group.items()}, **{f"member_{name}_bytes": n for name, n in member.items()}}


class Rig:
    def __init__(self, o, report):
        self.o, self.report, self.rows = o, report, []

    def measure(self, name, case, work):
        o, folder = self.o, tempfile.mkdtemp(prefix="tidelog-groups-", dir=self.o.disk)
        kind = name.split("-")[0]
        broker = Broker(kind, o.port, os.path.join(folder, "data"), os.path.join(folder, "log"), {**COMMON, **BROKERS[name]})
        broker.jvm, broker.prefix = G1, ["taskset", "-c", str(o.broker_core)]
        os.makedirs(broker.data)
        try:
            broker.start(wait=180)
            wire.create_topic(broker.address, SHARED, o.partitions)
            wire.create_topic(broker.address, ONE, 1)
            loop = Loop(o.port)
            try:
                figures = work(loop, broker)
            finally:
                loop.close()
            assert not loop.troubles, f"{len(loop.troubles)} troubles: {loop.troubles[:3]}"
            refused = figures.pop("refused", {})
            assert not refused, f"commits were refused, by error code: {refused}"
            self.rows.append({"broker": name, "case": case, **figures})
            return " ".join(f"{k}={v}" for k, v in figures.items())
        finally:
            broker.kill()
            shutil.rmtree(folder, ignore_errors=True)

    def round(self, number):
        o, probe = self.o, disk(self.o.disk)
        self.rows.append({"broker": "machine", "case": "write and fdatasync", **probe})
        print(f"round {number}: a write of 4 KiB with its fdatasync takes {probe['p50_ms']} ms, p99 {probe['p99_ms']} ms", flush=True)
        works = {
            "commits": {"commits": lambda loop, broker: Commits(loop, o).measure(broker)},
            "rebalance": {
                "rebalance, classic": lambda loop, _: rebalance(loop, o, lambda g, n: Classic(g), "classic"),
                "rebalance, KIP-848": lambda loop, _: rebalance(loop, o, lambda g, n: Modern(g, f"member-{n:04}"), "modern"),
            },
            "memory": {"memory": lambda loop, broker: memory(loop, o, broker)},
        }
        for wanted in o.cases.split(","):
            for case, work in works[wanted].items():
                for name in o.brokers.split(","):
                    if not (case == "memory" and name == "kafka-flush"):      # the memory is the same
                        self.report.run(f"{case}, {name}, round {number}", self.measure, name, case, work)


def table(rows, brokers):
    figures = {}
    for row in (row for row in rows if row["broker"] in brokers):
        for figure, value in row.items():
            if isinstance(value, (int, float)):
                figures.setdefault((row["case"], figure), {}).setdefault(row["broker"], []).append(value)
    print(f"\n{'median (smallest..largest)':<40}" + "".join(f"{b:>30}" for b in brokers))
    for (case, figure), by in figures.items():
        cells = [f"{statistics.median(by[b]):g} ({min(by[b]):g}..{max(by[b]):g})" if b in by else "-" for b in brokers]
        print(f"{case + ' ' + figure:<40}" + "".join(f"{cell:>30}" for cell in cells))
    for row in rows:
        if row.get("driver_cores", 0) > 0.9 and "commits_s" in row:
            print(f"the driver was busy: {row['broker']} may take more than {row['commits_s']} commits/s")
    print(flush=True)


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--cases", default="commits,rebalance,memory")
    p.add_argument("--brokers", default=",".join(BROKERS))
    p.add_argument("--rounds", type=int, default=3)
    p.add_argument("--connections", type=int, default=64)
    p.add_argument("--seconds", type=float, default=5)
    p.add_argument("--warm", type=float, default=8, help="seconds of commits before those that count")
    p.add_argument("--rate", type=int, default=1000)
    p.add_argument("--members", type=int, default=200)
    p.add_argument("--partitions", type=int, default=400)
    p.add_argument("--changes", type=int, default=5)
    p.add_argument("--groups", type=int, default=10000)
    p.add_argument("--live", type=int, default=2000)
    p.add_argument("--broker-core", type=int, default=0)
    p.add_argument("--driver-core", type=int, default=1)
    p.add_argument("-v", action="store_true", help="say where a measurement failed")
    p.add_argument("--port", type=int, default=20430)
    p.add_argument("--disk", help="folder on the disk to measure")
    p.add_argument("--results", help="file to append a JSON line to")
    o = p.parse_args()
    os.sched_setaffinity(0, {o.driver_core})
    report = Report("group figures")
    rig = Rig(o, report)
    load = os.getloadavg()
    for number in range(1, o.rounds + 1):
        rig.round(number)
    table(rig.rows, o.brokers.split(","))
    print(f"load average {load[0]:.2f} at the start: these figures are the machine's as well" if load[0] > 0.5 else "", flush=True)
    if o.results:
        commit = subprocess.run(["git", "describe", "--always", "--dirty"], cwd=ROOT, capture_output=True, text=True).stdout.strip()
        with open(o.results, "a") as f:
            f.write(json.dumps({"commit": commit, "failed": report.failed, "machine": f"{platform.release()} {os.cpu_count()} cores",
                                "load": load[0], "rounds": o.rounds, "rows": rig.rows}) + "\n")
    report.close()


if __name__ == "__main__":
    sys.exit(main())
