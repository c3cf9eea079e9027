"""Compaction at size: exactly the last value of each key stays, in bounded memory, and producers hardly notice.

    compaction.py [--keys 1000000] [--updates 20000000] [--seconds 20] [--rounds 3] [--port 21400] [--results FILE]

1. Loads UPDATES records over KEYS keys into a compacted topic (librdkafka), waits until the broker has cleaned all
   of it, reads it back: one record for each key, the last one sent. Meanwhile the broker's memory is watched.
2. A probe sends one small record after the other, each waiting for its answer (acks=all), while a steady load
   goes to a plain topic and, in turn, to a compacted one that is being cleaned. The p99 of the probe with
   cleaning may be at most 1.5 times that without.
"""
import argparse, array, json, os, shutil, statistics, subprocess, tempfile, threading, time

from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource, ResourceType

from broker import ROOT, Broker
from load import QUIET, create_topic
from report import Report

TOPIC, PARTITIONS = "compacted", 4
SETTINGS = {"log.cleaner.backoff.ms": "500", "log.cleaner.dedupe.buffer.size": str(64 << 20),
            "journal.file.bytes": str(16 << 20), "journal.dirty.bytes.max": str(64 << 20), "cache.bytes": str(32 << 20),
            "shards": "1"}
# The dedupe buffer, the dirty bytes, the cache and a share for everything else.
RESIDENT_MAX = (64 + 64 + 32 + 160) << 20
RATIO_MAX = 1.5
VALUE_BYTES = 100


def value_of(number):
    return (b"%020d" % number).ljust(VALUE_BYTES, b".")


class Watch(threading.Thread):
    """The broker's largest resident size."""

    def __init__(self, broker):
        super().__init__(daemon=True)
        self.broker, self.largest, self.ended = broker, 0, False

    def run(self):
        while not self.ended:
            try:
                self.largest = max(self.largest, self.broker.resident_bytes())
            except (OSError, ValueError):
                pass
            time.sleep(0.05)


class Rig:
    def __init__(self, o, work):
        self.o = o
        self.data = os.path.join(work, "data")
        os.makedirs(self.data)
        self.broker = Broker("tidelog", o.port, self.data, os.path.join(work, "log"), SETTINGS)
        self.broker.start()
        self.watch = Watch(self.broker)
        self.watch.start()
        self.last = array.array("q", [-1]) * o.keys
        self.result = {"keys": o.keys, "updates": o.updates}

    def producer(self, **more):
        return Producer({"bootstrap.servers": self.broker.address, **QUIET, "acks": "all", "enable.idempotence": True,
                         "linger.ms": 20, "batch.size": 200000, "queue.buffering.max.messages": 200000, **more})

    def load(self):
        create_topic(self.broker.address, TOPIC, PARTITIONS, {
            "cleanup.policy": "compact", "segment.bytes": str(self.o.segment), "min.cleanable.dirty.ratio": "0.3"})
        begin, failed = time.monotonic(), []
        p = self.producer()
        on_delivery = lambda error, _: failed.append(error) if error else None
        state = 12345
        for number in range(self.o.updates):
            # Every key at least once, then as it comes.
            if number < self.o.keys:
                key = number
            else:
                state = (state * 6364136223846793005 + 1442695040888963407) & (1 << 64) - 1
                key = (state >> 33) % self.o.keys
            self.last[key] = number
            while True:
                try:
                    p.produce(TOPIC, value_of(number), b"%d" % key, key % PARTITIONS, on_delivery=on_delivery)
                    break
                except BufferError:
                    p.poll(0.05)
            if number % 1000 == 0:
                p.poll(0)
        assert p.flush(300) == 0 and not failed, f"{len(failed)} refused, first {failed[:1]}"
        seconds = time.monotonic() - begin
        self.result["load_seconds"] = round(seconds, 1)
        return f"{self.o.updates} records in {seconds:.0f} s, {self.bytes() >> 20} MiB on disk"

    def bytes(self):
        sizes = []
        for d in os.listdir(self.data):
            if d.startswith(TOPIC + "-"):
                for f in os.listdir(os.path.join(self.data, d)):
                    if f.endswith(".log"):
                        try:
                            sizes.append(os.path.getsize(os.path.join(self.data, d, f)))
                        except FileNotFoundError:
                            pass
        return sum(sizes)

    def clean(self):
        """The active segments are closed by their age; then everything is cleaned."""
        admin = AdminClient({"bootstrap.servers": self.broker.address, **QUIET})
        entries = [ConfigEntry("max.compaction.lag.ms", "1", incremental_operation=AlterConfigOpType.SET)]
        resource = ConfigResource(ResourceType.TOPIC, TOPIC, incremental_configs=entries)
        for future in admin.incremental_alter_configs([resource]).values():
            future.result(30)
        begin, quiet_since, before = time.monotonic(), None, None
        while quiet_since is None or time.monotonic() - quiet_since < 6:
            assert time.monotonic() - begin < 900, "never clean"
            now = self.broker.counters().get("tidelog_cleaner_read_bytes_total")
            quiet_since = quiet_since if now == before and quiet_since else time.monotonic()
            before = now
            time.sleep(0.5)
        counters = self.broker.counters()
        self.result["cleaner"] = {k: v for k, v in sorted(counters.items()) if "cleaner" in k}
        assert counters["tidelog_cleaner_failures_total"] == 0, self.broker.log_tail()
        return f"{self.bytes() >> 20} MiB left, {counters['tidelog_cleaner_records_removed_total']:.0f} records removed"

    def survivors(self):
        c = Consumer({"bootstrap.servers": self.broker.address, **QUIET, "group.id": "none", "enable.auto.commit": False,
                      "enable.partition.eof": True, "auto.offset.reset": "earliest"})
        c.assign([TopicPartition(TOPIC, p, 0) for p in range(PARTITIONS)])
        seen, ends, wrong = bytearray(self.o.keys), set(), 0
        end = time.monotonic() + 600
        while len(ends) < PARTITIONS:
            assert time.monotonic() < end, "the topic could not be read in time"
            for m in c.consume(10000, 1):
                if m.error():
                    if m.error().code() == -191:      # the partition's end
                        ends.add(m.partition())
                        continue
                    raise RuntimeError(m.error().str())
                key, number = int(m.key()), int(m.value()[:20])
                assert m.value() == value_of(number) and m.partition() == key % PARTITIONS
                wrong += number != self.last[key]
                assert not seen[key], f"key {key} stands twice"
                seen[key] = 1
        c.close()
        assert wrong == 0, f"{wrong} keys have an old value"
        assert sum(seen) == self.o.keys, f"{self.o.keys - sum(seen)} keys are gone"
        return f"{sum(seen)} keys, each with its last value"

    def memory(self):
        largest = self.watch.largest
        self.result["resident_max_mib"] = largest >> 20
        assert largest <= RESIDENT_MAX, f"{largest >> 20} MiB resident, {RESIDENT_MAX >> 20} allowed"
        return f"{largest >> 20} MiB at most"

    def probe(self, seconds, topic):
        """p50 and p99 in ms of single records while a steady load goes to `topic`; and what the cleaner read."""
        running, sent = threading.Event(), [0]
        running.set()

        def load():
            p, begin, number = self.producer(**{"linger.ms": 5}), time.monotonic(), 0
            while running.is_set():
                target = (time.monotonic() - begin) * self.o.rate
                while number < target:
                    try:
                        p.produce(topic, value_of(number), b"%d" % (number % 5000), number % PARTITIONS)
                    except BufferError:
                        p.poll(0.01)
                        continue
                    number += 1
                p.poll(0.002)
            p.flush(60)
            sent[0] = number

        thread = threading.Thread(target=load)
        before = self.broker.counters().get("tidelog_cleaner_read_bytes_total", 0)
        thread.start()
        p = Producer({"bootstrap.servers": self.broker.address, **QUIET, "acks": "all", "linger.ms": 0})
        latencies, end = [], time.monotonic() + seconds
        time.sleep(1)
        while time.monotonic() < end:
            begin = time.perf_counter()
            p.produce("probe", b"x" * 100)
            assert p.flush(30) == 0
            latencies.append((time.perf_counter() - begin) * 1000)
            time.sleep(0.002)
        running.clear()
        thread.join()
        latencies.sort()
        read = self.broker.counters().get("tidelog_cleaner_read_bytes_total", 0) - before
        at = lambda q: latencies[min(len(latencies) - 1, int(len(latencies) * q))]
        return at(0.5), at(0.99), read, sent[0]

    def latency(self):
        create_topic(self.broker.address, "probe", 1, {})
        common = {"segment.bytes": str(1 << 20)}
        create_topic(self.broker.address, "load-plain", PARTITIONS, {**common, "retention.bytes": str(32 << 20)})
        create_topic(self.broker.address, "load-compacted", PARTITIONS, {
            **common, "cleanup.policy": "compact", "min.cleanable.dirty.ratio": "0.01"})
        without, cleaning, read = [], [], 0
        self.probe(3, "load-plain")
        for _ in range(self.o.rounds):
            p50, p99, _, _ = self.probe(self.o.seconds, "load-plain")
            without.append((p50, p99))
            p50, p99, bytes_read, _ = self.probe(self.o.seconds, "load-compacted")
            cleaning.append((p50, p99))
            read += bytes_read
        median = lambda rounds, index: statistics.median(r[index] for r in rounds)
        a, b = median(without, 1), median(cleaning, 1)
        self.result.update(p99_without_ms=round(a, 3), p99_cleaning_ms=round(b, 3), p99_ratio=round(b / a, 3),
                           p50_without_ms=round(median(without, 0), 3), p50_cleaning_ms=round(median(cleaning, 0), 3),
                           p99_rounds=[[round(x[1], 2), round(y[1], 2)] for x, y in zip(without, cleaning)],
                           cleaner_mib_per_second=round(read / self.o.rounds / self.o.seconds / (1 << 20), 2))
        assert read > 0, "nothing was cleaned meanwhile"
        assert b <= RATIO_MAX * a, f"p99 {b:.2f} ms with cleaning, {a:.2f} ms without: {b / a:.2f} times; {self.result}"
        return f"p99 {b:.2f} ms with cleaning, {a:.2f} ms without: {b / a:.2f} times"


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--keys", type=int, default=1_000_000)
    p.add_argument("--updates", type=int, default=20_000_000)
    p.add_argument("--segment", type=int, default=32 << 20)
    p.add_argument("--seconds", type=int, default=20)
    p.add_argument("--rounds", type=int, default=3)
    p.add_argument("--rate", type=int, default=20_000, help="records per second of the load beside the probe")
    p.add_argument("--port", type=int, default=21400)
    p.add_argument("--results")
    o = p.parse_args()
    report, work = Report("compaction"), tempfile.mkdtemp(prefix="tidelog-compaction-")
    rig = Rig(o, work)
    try:
        if report.run("loaded", rig.load) and report.run("cleaned", rig.clean):
            report.run("exactly the last value of each key", rig.survivors)
        report.run("bounded memory", rig.memory)
        report.run("produce p99 while cleaning", rig.latency)
        report.run("clean stop", lambda: f"{rig.broker.stop()}")
    finally:
        rig.watch.ended = True
        rig.broker.kill()
        rig.result["failed"] = report.failed
        rig.result["commit"] = subprocess.run(["git", "describe", "--always", "--dirty"], cwd=ROOT, capture_output=True,
                                              text=True).stdout.strip()
        print(json.dumps(rig.result))
        if o.results:
            with open(o.results, "a") as f:
                f.write(json.dumps(rig.result) + "\n")
        shutil.rmtree(work, ignore_errors=True)
    report.close()


main()
