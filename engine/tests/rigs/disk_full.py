"""A small real disk runs full: produce is refused with 56, reads go on, it recovers without a restart.

    disk_full.py [--broker tidelog|kafka] [--port 20210]        needs root and loop devices
"""
import argparse, os, shutil, sys, tempfile, time

import disk
import wire
from broker import Broker
from report import Report

TOPIC = "disk-full"
REFUSED = 56                       # KAFKA_STORAGE_ERROR
PARTITIONS = 4


class Run:
    def __init__(self, broker, place):
        self.broker, self.place, self.number = broker, place, 0
        self.acked = [[] for _ in range(PARTITIONS)]          # (offset, value) in order
        self.ballast = os.path.join(place.at, "ballast")

    def connect(self):
        return wire.connect(self.broker.address, 30)

    def send(self, c, size):
        """One record; its error code."""
        partition, value = self.number % PARTITIONS, b"%d|" % self.number + b"x" * size
        self.number += 1
        code, offset = wire.produce(c, TOPIC, wire.batch([(b"k", value)]), partition)
        if code == 0:
            self.acked[partition].append((offset, value))
        return code

    def fill(self):
        c = self.connect()
        for _ in range(50):
            assert self.send(c, 20000) == 0
        left = 6 << 20
        with open(self.ballast, "wb") as f:
            os.posix_fallocate(f.fileno(), 0, max(self.place.free_bytes() - left, 1))
        codes, end = {}, time.monotonic() + 60
        while time.monotonic() < end and codes.get(REFUSED, 0) < 10:
            code = self.send(c, 200000)
            codes[code] = codes.get(code, 0) + 1
        assert set(codes) <= {0, REFUSED}, f"answers {codes}"
        assert codes.get(REFUSED, 0) >= 10, f"never refused: {codes}, {self.place.free_bytes() >> 10} KiB free"
        return f"answers {codes}, {self.place.free_bytes() >> 10} KiB free"

    def read_back(self):
        """Every acknowledged record is served, at its offset."""
        c, count = self.connect(), 0
        for partition, acked in enumerate(self.acked):
            wanted, at, found = dict(acked), 0, {}
            end = acked[-1][0] + 1 if acked else 0
            while at < end:
                code, data = wire.fetch(c, TOPIC, at, partition, most=4 << 20)
                batches = [b for b in wire.parse_batches(data) if not b.get("partial")]
                assert code == 0 and batches, f"partition {partition} at {at}: error {code}, {len(data)} bytes"
                place = 0
                for b in batches:
                    size = 12 + b["batchLength"]
                    found[b["baseOffset"]] = data[place:place + size]
                    place += size
                    at = b["baseOffset"] + b["lastOffsetDelta"] + 1
            for offset, value in wanted.items():
                assert value in found.get(offset, b""), f"partition {partition}: {value[:12]} is not at {offset}"
                count += 1
        return f"{count} records"

    def still_refused(self):
        code = self.send(self.connect(), 200000)
        assert code == REFUSED and self.broker.alive(), f"answered {code}"

    def recover(self):
        os.remove(self.ballast)
        begun = time.monotonic()
        while True:
            if self.send(self.connect(), 200000) == 0:
                break
            assert time.monotonic() - begun < 15, "still refused 15 s after space came back"
            time.sleep(0.1)
        c = self.connect()
        assert [self.send(c, 20000) for _ in range(40)] == [0] * 40, "refused again"
        return f"after {time.monotonic() - begun:.1f} s"

    def restart(self):
        status = self.broker.stop()
        assert status == 0, f"clean stop ended with {status}: {self.broker.log_tail()}"
        self.broker.start()
        return self.read_back()


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--broker", default="tidelog")
    p.add_argument("--port", type=int, default=20210)
    p.add_argument("--megabytes", type=int, default=300)
    p.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    o = p.parse_args()
    report = Report("disk-full")
    if disk.missing():
        report.skip("disk full", disk.missing())
        report.close()
    work, place, broker = tempfile.mkdtemp(prefix="tidelog-full-"), None, None
    try:
        place = disk.SmallDisk(work, o.megabytes)
        broker = Broker(o.broker, o.port, place.data, os.path.join(work, "log"), dict(s.split("=", 1) for s in o.set))
        broker.start()
        wire.create_topic(broker.address, TOPIC, PARTITIONS)
        time.sleep(1)
        run = Run(broker, place)
        for name, check in (("refused with 56 when full", run.fill), ("reads go on", run.read_back),
                            ("still refused, still alive", run.still_refused),
                            ("recovers without restart", run.recover), ("nothing lost", run.read_back),
                            ("nothing lost after a restart", run.restart)):
            if not report.run(name, check):
                print("  log: " + broker.log_tail())
                if not broker.alive():
                    break
    except Exception as e:
        report.fail("run", f"{type(e).__name__}: {e}; {broker.log_tail() if broker else ''}")
    finally:
        if broker:
            broker.kill()
        if place:
            place.close()
        shutil.rmtree(work, ignore_errors=True)
    report.close()


if __name__ == "__main__":
    main()
