"""Members of one group join, leave and vanish, commit what they read, and the broker is killed meanwhile, or its power cut.

    groups.py [--members 200] [--seconds 30] [--kills 3] [--fault kill9|cut] [--broker tidelog|kafka] [--port N] ...

Speaks the protocol itself (asyncio, one connection a member), so that hundreds of members fit in one process and every
answer is seen. Held against each other: in one generation every partition has exactly one owner; a committed offset
that was acknowledged is never gone, not even after kill -9 or a power cut, and none goes back.
"""
import argparse, asyncio, json, os, random, shutil, struct, sys, tempfile, time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import disk                                       # noqa: E402
from broker import Broker                         # noqa: E402
from load import create_topic                     # noqa: E402
from report import Report                         # noqa: E402

JOIN, SYNC, HEARTBEAT, LEAVE, COMMIT, FETCH, FIND = (11, 5), (14, 3), (12, 3), (13, 3), (8, 7), (9, 5), (10, 1)
LOADING, UNAVAILABLE, MOVED, GENERATION, UNKNOWN, REBALANCE, ID_REQUIRED = 14, 15, 16, 22, 25, 27, 79
GROUP, TOPIC = "rig", "rig-topic"
# Share of the unflushed sectors that survive a cut, and which (see disk.py). Sectors of 4 KiB, so that the file system
# itself survives: finer tears are the business of survive.py.
CUTS, SECTOR = [(0.5, 0), (0.0, 0), (0.5, 2), (0.5, 1), (0.9, 0)], 4096


def text(s):
    return struct.pack(">h", -1) if s is None else struct.pack(">h", len(s.encode())) + s.encode()


def blob(b):
    return struct.pack(">i", len(b)) + b


class Answer:
    def __init__(self, data):
        self.data, self.at = data, 0

    def take(self, form):
        out = struct.unpack_from(">" + form, self.data, self.at)
        self.at += struct.calcsize(">" + form)
        return out[0] if len(out) == 1 else out

    def text(self):
        n = self.take("h")
        self.at += max(n, 0)
        return None if n < 0 else self.data[self.at - n:self.at].decode()

    def blob(self):
        n = self.take("i")
        self.at += n
        return self.data[self.at - n:self.at]


class Lost(Exception):
    pass


class Wire:
    """One connection; one request at a time."""

    def __init__(self):
        self.reader = self.writer = None

    async def open(self, port):
        try:
            self.reader, self.writer = await asyncio.wait_for(asyncio.open_connection("127.0.0.1", port), 5)
        except (OSError, asyncio.TimeoutError) as e:
            raise Lost(str(e)) from None

    async def call(self, api, body, patience=60):
        try:
            frame = struct.pack(">hhi", *api, 1) + text("rig") + body
            self.writer.write(struct.pack(">i", len(frame)) + frame)
            size = struct.unpack(">i", await asyncio.wait_for(self.reader.readexactly(4), patience))[0]
            return Answer((await asyncio.wait_for(self.reader.readexactly(size), patience))[4:])
        except (OSError, asyncio.IncompleteReadError, asyncio.TimeoutError) as e:
            self.close()
            raise Lost(f"{type(e).__name__} {e}") from None

    def close(self):
        if self.writer:
            self.writer.close()
            self.writer = None


class Ledger:
    """What everybody saw, held against each other."""

    def __init__(self, partitions):
        self.partitions = partitions
        self.owners, self.members = {}, {}       # generation -> {partition: member}; generation -> members
        self.sent, self.acked, self.seen = [0] * partitions, [0] * partitions, [0] * partitions
        self.faults, self.commits, self.joins = [], 0, 0

    def fault(self, what):
        self.faults.append(what)

    def owns(self, generation, member, partitions):
        owners = self.owners.setdefault(generation, {})
        for p in partitions:
            if owners.setdefault(p, member) != member:
                self.fault(f"generation {generation}: partition {p} belongs to {owners[p]} and to {member}")

    def fetched(self, floors, found):
        for p, (floor, value) in enumerate(zip(floors, found)):
            if value < floor:
                self.fault(f"partition {p}: {value} is committed, {floor} was acknowledged before")
            if value > self.sent[p]:
                self.fault(f"partition {p}: {value} is committed, at most {self.sent[p]} was sent")
            self.seen[p] = max(self.seen[p], value)


class Member:
    def __init__(self, rig, number):
        self.rig, self.number, self.wire = rig, number, Wire()
        self.id, self.static = "", f"static-{number}" if number % 10 == 0 and rig.o.static else None

    async def run(self):
        rig = self.rig
        while not rig.over:
            try:
                if self.wire.writer is None:
                    await self.wire.open(rig.o.port)
                await self.live(time.monotonic() + rig.random.expovariate(1 / rig.o.stay))
            except Lost:
                self.wire.close()
                await asyncio.sleep(rig.random.uniform(0.05, 0.3))
        self.wire.close()

    async def live(self, until):
        """Joins again and again until it leaves, one way or the other."""
        rig = self.rig
        while not rig.over and (rig.quiet or time.monotonic() < until):
            generation, mine = await self.join()
            if generation is None:
                continue
            await self.work(generation, mine, until)
        if rig.over:
            return
        if rig.random.random() < 0.8 and self.id:
            body = text(GROUP) + struct.pack(">i", 1) + text(self.id) + text(self.static)
            await self.wire.call(LEAVE, body)
        else:
            self.wire.close()                     # vanishes: only its session's end tells the coordinator
        if self.static is None:
            self.id = ""
        await asyncio.sleep(rig.random.uniform(0, rig.o.stay / 4))
        if self.wire.writer is None:
            raise Lost("left")

    async def join(self):
        rig = self.rig
        body = text(GROUP) + struct.pack(">ii", rig.o.session, rig.o.rebalance) + text(self.id) + text(self.static) + \
            text("consumer") + struct.pack(">i", 1) + text("range") + blob(subscription())
        a = await self.wire.call(JOIN, body, rig.o.rebalance / 1000 + 60)
        _, error, generation = a.take("ihi")
        protocol, leader, member = a.text(), a.text(), a.text()
        if error == ID_REQUIRED:
            self.id = member
            return None, None
        if error:
            return await self.refused(error)
        self.id = member
        rig.ledger.joins += 1
        members = [(a.text(), a.text(), a.blob())[0] for _ in range(a.take("i"))]
        assignments = b""
        if members:
            share = {m: [] for m in members}
            for p in range(rig.o.partitions):
                share[members[p % len(members)]].append(p)
            assignments = b"".join(text(m) + blob(assignment(ps)) for m, ps in share.items())
        body = text(GROUP) + struct.pack(">i", generation) + text(self.id) + text(self.static) + \
            struct.pack(">i", len(members)) + assignments
        a = await self.wire.call(SYNC, body, rig.o.rebalance / 1000 + 60)
        _, error = a.take("ih")
        if error:
            return await self.refused(error)
        mine = parse_assignment(a.blob())
        rig.ledger.owns(generation, self.id, mine)
        rig.synced(generation, self.id)
        return generation, mine

    async def refused(self, error):
        if error in (LOADING, UNAVAILABLE, MOVED):
            await asyncio.sleep(0.1)
        elif error in (GENERATION, UNKNOWN):
            self.id = ""
        elif error != REBALANCE:
            self.rig.ledger.fault(f"member {self.number} was refused with {error}")
            self.id = ""
            await asyncio.sleep(0.1)
        return None, None

    async def work(self, generation, mine, until):
        rig, who = self.rig, text(GROUP) + struct.pack(">i", generation) + text(self.id) + text(self.static)
        while not rig.over and (rig.quiet or time.monotonic() < until):
            await asyncio.sleep(rig.random.uniform(0.2, 1.0) * rig.o.pace)
            if rig.kicked == self.number:
                rig.kicked, rig.kicked_at = None, time.monotonic()
                await self.wire.call(LEAVE, text(GROUP) + struct.pack(">i", 1) + text(self.id) + text(self.static))
                self.id = ""
                return
            for p in mine if not rig.quiet else ():
                rig.ledger.sent[p] += 1
                value = rig.ledger.sent[p]
                entry = struct.pack(">iqi", p, value, -1) + text(f"by {self.id} in {generation}")
                a = await self.wire.call(COMMIT, who + struct.pack(">i", 1) + text(TOPIC) + struct.pack(">i", 1) + entry)
                a.take("ii"), a.text(), a.take("ii")
                error = a.take("h")
                if error == 0:
                    rig.ledger.commits += 1
                    rig.ledger.acked[p] = max(rig.ledger.acked[p], value)
                elif error not in (REBALANCE, GENERATION, UNKNOWN, LOADING, UNAVAILABLE, MOVED):
                    rig.ledger.fault(f"a commit was refused with {error}")
                else:
                    break
            error = (await self.wire.call(HEARTBEAT, who)).take("ih")[1]
            if error in (GENERATION, UNKNOWN):
                self.id = ""
                return
            if error in (LOADING, UNAVAILABLE, MOVED):
                await asyncio.sleep(0.1)
            elif error:
                return


def subscription():
    return struct.pack(">h", 0) + struct.pack(">i", 1) + text(TOPIC) + struct.pack(">i", -1)


def assignment(partitions):
    body = struct.pack(">h", 0)
    body += struct.pack(">i", 1) + text(TOPIC) + struct.pack(f">i{len(partitions)}i", len(partitions), *partitions) if partitions else struct.pack(">i", 0)
    return body + struct.pack(">i", -1)


def parse_assignment(data):
    if not data:
        return []
    a, out = Answer(data), []
    a.take("h")
    for _ in range(a.take("i")):
        a.text()
        out += [a.take("i") for _ in range(a.take("i"))]
    return out


class Rig:
    def __init__(self, o, broker, place):
        self.o, self.broker, self.place, self.random = o, broker, place, random.Random(o.seed)
        self.ledger, self.over, self.quiet = Ledger(o.partitions), False, False
        self.kicked, self.kicked_at = None, None
        self.whole, self.whole_at, self.synced_in = 0, None, {}

    def synced(self, generation, member):
        members = self.synced_in.setdefault(generation, set())
        members.add(member)
        if len(members) == self.o.members and generation > self.whole:
            self.whole, self.whole_at = generation, time.monotonic()

    async def committed(self, patience=30):
        """The committed offsets, as an outsider reads them."""
        wire, end = Wire(), time.monotonic() + patience
        while True:
            try:
                if wire.writer is None:
                    await wire.open(self.o.port)
                await wire.call(FIND, text(GROUP) + b"\0")
                floors = [max(a, s) for a, s in zip(self.ledger.acked, self.ledger.seen)]
                body = text(GROUP) + struct.pack(">i", 1) + text(TOPIC) + struct.pack(f">i{self.o.partitions}i", self.o.partitions, *range(self.o.partitions))
                a = await wire.call(FETCH, body)
                a.take("i")
                found = [0] * self.o.partitions
                for _ in range(a.take("i")):
                    a.text()
                    for _ in range(a.take("i")):
                        p, value, _ = a.take("iqi")
                        a.text()
                        error = a.take("h")
                        found[p] = max(value, 0)
                        if error:
                            raise Lost(f"error {error}")
                error = a.take("h")
                if error:
                    raise Lost(f"error {error}")
                wire.close()
                return self.ledger.fetched(floors, found)
            except Lost as e:
                wire.close()
                if time.monotonic() > end:
                    self.ledger.fault(f"committed offsets cannot be read: {e}")
                    return None
                await asyncio.sleep(0.1)

    async def watch(self):
        while not self.over:
            await self.committed()
            await asyncio.sleep(0.3)

    async def run(self):
        await self.committed()                    # the first look makes the coordinator's topic
        members = [asyncio.create_task(Member(self, n).run()) for n in range(self.o.members)]
        watcher = asyncio.create_task(self.watch())
        for kill in range(self.o.kills + 1):
            await asyncio.sleep(self.o.seconds / (self.o.kills + 1) * self.random.uniform(0.7, 1.3))
            if kill < self.o.kills:
                cut = (*CUTS[kill % len(CUTS)], SECTOR)
                await asyncio.to_thread(self.place.strike, self.broker, self.random, cut, kill % 2)
                await asyncio.sleep(self.random.uniform(0, 0.5))
                await asyncio.to_thread(self.broker.start, 120)
                await self.committed(60)
        settle = await self.settle()
        self.over = True
        await asyncio.wait([*members, watcher], timeout=30)
        for task in members:
            task.cancel()
        await self.committed()
        return settle

    async def settle(self):
        """Nobody leaves any more: how long until everybody is in one generation, and again after one member's leave."""
        self.quiet, begun = True, time.monotonic()
        newest = max(self.synced_in, default=1)
        if not await self.until_whole(newest):
            return None, None
        settled = max(0, self.whole_at - begun)
        await asyncio.sleep(2)                    # nobody is on its way any more
        self.kicked = self.o.members // 2
        while self.kicked is not None and time.monotonic() < begun + self.o.patience:
            await asyncio.sleep(0.01)
        newest = max(self.synced_in)
        if self.kicked is not None or not await self.until_whole(newest + 1):
            return settled, None
        return settled, self.whole_at - self.kicked_at

    async def until_whole(self, generation):
        end = time.monotonic() + self.o.patience
        while self.whole < generation:
            if time.monotonic() > end:
                return False
            await asyncio.sleep(0.02)
        return True


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--broker", choices=["tidelog", "kafka"], default="tidelog")
    p.add_argument("--members", type=int, default=200)
    p.add_argument("--partitions", type=int, default=300)
    p.add_argument("--seconds", type=float, default=30)
    p.add_argument("--kills", type=int, default=0)
    p.add_argument("--fault", choices=["kill9", "cut"], default="kill9", help="a cut needs root, FUSE and loop devices")
    p.add_argument("--stay", type=float, default=8, help="seconds a member stays, on average")
    p.add_argument("--pace", type=float, default=1, help="seconds between two rounds of a member's commits")
    p.add_argument("--session", type=int, default=6000)
    p.add_argument("--rebalance", type=int, default=6000)
    p.add_argument("--static", action="store_true", help="every tenth member has an instance id")
    p.add_argument("--patience", type=float, default=60)
    p.add_argument("--port", type=int, default=20130)
    p.add_argument("--seed", type=int, default=int(time.time()) % 1000000)
    p.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    p.add_argument("--results", help="file to append a JSON line to")
    o = p.parse_args()
    report = Report(f"groups-{o.members}-members-{o.kills}-{'cuts' if o.fault == 'cut' else 'kills'}")
    print(f"seed {o.seed}", flush=True)
    work = tempfile.mkdtemp(prefix="tidelog-rig-")
    settings = {"offsets.topic.num.partitions": "4", "group.initial.rebalance.delay.ms": "500", **dict(s.split("=", 1) for s in o.set)}
    place = disk.CutDisk(work, "ext4", 2048) if o.fault == "cut" else disk.Folder(work)
    broker = Broker(o.broker, o.port, place.data, os.path.join(work, "log"), settings)
    try:
        broker.start()
        create_topic(broker.address, TOPIC, o.partitions, {})
        rig = Rig(o, broker, place)
        settled = asyncio.run(rig.run())
        judge(o, report, rig, settled)
        if broker.alive():
            status = broker.stop()
            report.expect("clean stop", status == 0 or o.broker == "kafka", str(status))
        else:
            report.fail("the broker lives", broker.log_panic())
    finally:
        broker.kill()
        place.close()
        shutil.rmtree(work, ignore_errors=True)
    report.close()


def judge(o, report, rig, settled):
    ledger = rig.ledger
    for fault in ledger.faults[:12]:
        print("  " + fault)
    whole = sum(len(owners) == o.partitions for owners in ledger.owners.values())
    line = f"{len(ledger.owners)} generations, {whole} of them with every partition owned, {ledger.joins} joins, " \
           f"{ledger.commits} commits, {o.kills} {'cuts' if o.fault == 'cut' else 'kills'}"
    report.expect("no partition owned twice, no commit lost", not ledger.faults, f"{len(ledger.faults)} faults; {line}")
    report.expect("enough happened", ledger.commits > o.members and len(ledger.owners) > 3, line)
    settled, again = settled
    report.expect("all members meet in one generation, twice", bool(again), f"after {settled and round(settled, 2)} s")
    print(f"  {line}; a rebalance of all {o.members} members takes {again and round(again, 2)} s")
    if o.results:
        with open(o.results, "a") as f:
            f.write(json.dumps({"title": report.title, "broker": o.broker, "seed": o.seed, "generations": len(ledger.owners),
                                "joins": ledger.joins, "commits": ledger.commits, "fault": o.fault, "kills": o.kills, "rebalance_s": again,
                                "faults": len(ledger.faults)}) + "\n")


if __name__ == "__main__":
    main()
