"""The offsets topic changes hands between Tidelog and a real Apache Kafka 4.3.1, in both directions.

    exchange_groups.py [--port 20230]

Ours, after a clean stop: DumpLogSegments --offsets-decoder understands every record, and a Kafka broker that opens the
directories knows every group and offset. Then Kafka's directories, with more in them, come in by `tidelog log import`,
and every group and offset of theirs is known here.
"""
import argparse, glob, os, re, shutil, subprocess, tempfile, time

from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient

import wire
from broker import TIDELOG, Broker
from exchange import dump, plant
from load import QUIET, create_topic
from report import Report

TOPIC, PARTITIONS, OFFSETS, SEATS = "exchanged", 3, "__consumer_offsets", 4
SETTINGS = {"offsets.topic.num.partitions": str(SEATS), "group.initial.rebalance.delay.ms": "0"}


def until_served(ask, seconds=90):
    """Asks again while the coordinator is made or loads, which Kafka does after it answers."""
    end = time.monotonic() + seconds
    while (answer := ask())["ErrorCode"]:
        assert time.monotonic() < end and answer["ErrorCode"] in (14, 15, 16), answer
        time.sleep(0.3)
    return answer


class Exchange:
    def __init__(self, port, work):
        self.work, self.wanted = work, {}
        self.ours = self._broker("tidelog", port, "ours")
        self.theirs = self._broker("kafka", port + 10, "theirs")
        self.again = self._broker("tidelog", port + 20, "again")

    def _broker(self, kind, port, name):
        data = os.path.join(self.work, name)
        os.makedirs(data)
        return Broker(kind, port, data, data + ".log", SETTINGS)

    def commit(self, broker, prefix):
        """Groups with members that left, and groups that nobody was ever in; one offset is removed, one group too."""
        base = {"bootstrap.servers": broker.address, **QUIET, "enable.auto.commit": False, "auto.offset.reset": "earliest"}
        producer = Producer({"bootstrap.servers": broker.address, **QUIET})
        for n in range(30):
            producer.produce(TOPIC, b"v", partition=n % PARTITIONS)
        assert producer.flush(30) == 0
        for n in range(6):
            group = f"{prefix}-{n}"
            c = Consumer({**base, "group.id": group, "session.timeout.ms": 6000})
            if n % 2:
                c.subscribe([TOPIC])
                end = time.monotonic() + 40
                while len(c.assignment()) < PARTITIONS:
                    assert time.monotonic() < end, "no assignment"
                    c.poll(0.2)
            at = [TopicPartition(TOPIC, p, n + p + 1, metadata=f"by {group}") for p in range(PARTITIONS)]
            c.commit(offsets=at, asynchronous=False)
            c.close()
            self.wanted[group] = {p: (n + p + 1, f"by {group}") for p in range(PARTITIONS)}
        admin = AdminClient({"bootstrap.servers": broker.address, **QUIET})
        admin.delete_consumer_groups([f"{prefix}-1"])[f"{prefix}-1"].result(20)
        self.wanted[f"{prefix}-1"] = {}
        return f"{len(self.wanted)} groups"

    def known(self, broker):
        c = wire.connect(broker.address)
        for group, wanted in self.wanted.items():
            ask = {"GroupId": group, "Topics": [{"Name": TOPIC, "PartitionIndexes": list(range(PARTITIONS))}]}
            parts = until_served(lambda: c.call("OffsetFetch", 5, ask))["Topics"][0]["Partitions"]
            found = {p["PartitionIndex"]: (p["CommittedOffset"], p["Metadata"].rstrip("\0")) for p in parts if p["CommittedOffset"] >= 0}
            assert found == wanted, f"{group}: {found} instead of {wanted}"
        listed = {g["GroupId"] for g in until_served(lambda: c.call("ListGroups", 2, {}))["Groups"]}
        want = {g for g, offsets in self.wanted.items() if offsets}
        assert want <= listed and not (set(self.wanted) - want) & listed, f"{sorted(listed)}"
        return f"{len(self.wanted)} groups as committed"

    def write_ours(self):
        self.ours.start()
        create_topic(self.ours.address, TOPIC, PARTITIONS, {})
        line = self.commit(self.ours, "ours")
        assert self.ours.stop() == 0
        return line

    def dump_ours(self):
        files = sorted(glob.glob(f"{self.ours.data}/{OFFSETS}-*/*.log"))
        text = dump("--offsets-decoder", "--files", ",".join(files))
        typed = re.findall(r"key: (\{.*?\}) payload: (.*)", text)
        bad = [pair for pair in typed if '"type"' not in pair[0]]
        assert typed and not bad and "Could not" not in text, (len(typed), bad[:2])
        for group in self.wanted:
            assert any(f'"group":"{group}"' in key for key, _ in typed), group
        assert any("<DELETE>" in value for _, value in typed), "no tombstone"
        return f"{len(typed)} records"

    def theirs_opens_ours(self):
        self.theirs.start(wait=200)
        create_topic(self.theirs.address, TOPIC, PARTITIONS, {})
        c = wire.connect(self.theirs.address)
        until_served(lambda: c.call("FindCoordinator", 1, {"Key": "nobody", "KeyType": 0}))       # makes the offsets topic
        time.sleep(1)
        self.theirs.stop()
        for p in range(SEATS):
            plant(f"{self.ours.data}/{OFFSETS}-{p}", f"{self.theirs.data}/{OFFSETS}-{p}")
        self.theirs.start(wait=200)
        return self.known(self.theirs)

    def ours_imports_theirs(self):
        self.commit(self.theirs, "theirs")
        self.theirs.stop()
        self.again.start()
        create_topic(self.again.address, TOPIC, PARTITIONS, {})
        assert self.again.stop() == 0
        for p in range(SEATS):
            done = subprocess.run([TIDELOG, "log", "import", f"{self.theirs.data}/{OFFSETS}-{p}", "--topic", OFFSETS, "--partition", str(p),
                                   "--set", f"log.dirs={self.again.data}"], capture_output=True, text=True, timeout=60)
            assert done.returncode == 0, f"import of partition {p}: {done.stdout[-200:]} {done.stderr[-300:]}"
        self.again.start()
        line = self.known(self.again)
        self.again.kill()
        self.again.start()
        self.known(self.again)
        assert self.again.stop() == 0
        return line

    def close(self):
        for b in (self.ours, self.theirs, self.again):
            b.kill()


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--port", type=int, default=20230)
    o = p.parse_args()
    report, work = Report("exchange-groups"), tempfile.mkdtemp(prefix="tidelog-exchange-")
    x = Exchange(o.port, work)
    try:
        if report.run("groups committed here", x.write_ours):
            report.run("DumpLogSegments decodes every record", x.dump_ours)
            if report.run("a Kafka broker knows our groups and offsets", x.theirs_opens_ours):
                report.run("we know Kafka's after an import", x.ours_imports_theirs)
    finally:
        x.close()
        shutil.rmtree(work, ignore_errors=True)
    report.close()


if __name__ == "__main__":
    main()
