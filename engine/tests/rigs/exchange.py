"""Partition directories change hands between Tidelog and a real Apache Kafka 4.3.1, in both directions.

    exchange.py [--broker tidelog|kafka] [--port 20220]

After a clean stop of ours: Kafka's DumpLogSegments reads every file without complaint, also those of a compacted
topic that was cleaned, and a Kafka broker opens copies of our directories, serves every record and appends. Then `tidelog log import` brings in the directories
of ../shared/golden/segments/clean, and every record of theirs is served. (`--broker kafka` proves the rig.)
"""
import argparse, glob, json, os, random, re, shutil, subprocess, tempfile, time

from confluent_kafka import Producer

import disk
import wire
from broker import JVM, TIDELOG, Broker
from history import key_of, value_of
from load import QUIET, create_topic, read_all
from report import Report

TOPIC, PARTITIONS = "exchange", 4
CLEANED, KEYS = "cleaned", 300
COMPACTED = {"cleanup.policy": "compact", "segment.bytes": "1048576", "min.cleanable.dirty.ratio": "0.01"}
COMPLAINTS = re.compile(r"isvalid: false|[Mm]ismatch|(?<!-1) is followed by|out of order|invalid bytes|Exception|[Cc]orrupt", re.M)
KEEP = {"log.retention.ms": "-1", "log.cleaner.backoff.ms": "100", "log.message.timestamp.before.max.ms": "9223372036854775807"}
CODECS = ["none", "gzip", "snappy", "lz4", "zstd"]


class Exchange:
    def __init__(self, o, work):
        self.o, self.work = o, work
        self.data = os.path.join(work, "ours")
        os.makedirs(self.data)
        self.broker = Broker(o.broker, o.port, self.data, os.path.join(work, "ours.log"), KEEP)
        self.kafka = None
        self.logs = None
        self.cleaned = None

    def write(self):
        """Several segments; every codec; idempotent; a moved log start. Restarted once, so two leader epochs."""
        self.broker.start()
        create_topic(self.broker.address, TOPIC, PARTITIONS, {"segment.bytes": "1048576"})
        for turn in range(2):
            for number, codec in enumerate(CODECS):
                p = Producer({"bootstrap.servers": self.broker.address, **QUIET, "compression.type": codec, "linger.ms": 20,
                              "enable.idempotence": True, "batch.size": 200000})
                for n in range(600):
                    partition, size = n % PARTITIONS, 16000 if n % PARTITIONS == 0 else 300
                    key = key_of(number, turn * 600 + n, partition, size)
                    p.produce(TOPIC, value_of(key, size), key, partition, headers=[("h", b"x")])
                    p.poll(0)
                assert p.flush(60) == 0, f"{codec} not flushed"
            if turn == 0:
                assert self._stop() == 0, "clean stop failed"
                self.broker.start()
        self._write_compacted()
        c = wire.connect(self.broker.address)
        answer = c.call("DeleteRecords", 1, {"Topics": [{"Name": TOPIC, "Partitions": [{"PartitionIndex": 3, "Offset": 100}]}], "TimeoutMs": 9000})
        assert answer["Topics"][0]["Partitions"][0]["ErrorCode"] == 0, answer
        self.logs = read_all(self.broker.address, TOPIC, PARTITIONS, starts={3: 100})
        assert self._stop() == 0, f"clean stop failed: {self.broker.log_tail()}"
        return f"{sum(map(len, self.logs))} records"

    def _write_compacted(self):
        """Updates and tombstones of a few keys in every codec, until most of them were cleaned away."""
        create_topic(self.broker.address, CLEANED, 1, COMPACTED)
        for number, codec in enumerate(CODECS):
            p = Producer({"bootstrap.servers": self.broker.address, **QUIET, "compression.type": codec, "linger.ms": 20,
                          "enable.idempotence": True, "batch.size": 50000})
            for n in range(1500):
                key = b"%d" % (n * 7 % KEYS)
                value = None if n % 50 == 7 else random.Random(number * 1500 + n).randbytes(1500)
                p.produce(CLEANED, value, key, 0, headers=[("h", b"x")])
                p.poll(0)
            assert p.flush(60) == 0, f"{codec} not flushed"
        if self.broker.kind == "tidelog":
            end = time.monotonic() + 60
            while self.broker.counters().get("tidelog_cleaner_records_removed_total", 0) < 2000:
                assert time.monotonic() < end, f"nothing is cleaned: {self.broker.log_tail()}"
                time.sleep(0.2)
        else:
            time.sleep(20)
        time.sleep(2)
        self.cleaned = read_all(self.broker.address, CLEANED, 1)

    def _stop(self):
        status = self.broker.stop()
        return 0 if self.broker.kind == "kafka" else status

    def files(self, kind):
        return sorted(f for p in range(PARTITIONS) for f in glob.glob(f"{self.data}/{TOPIC}-{p}/*.{kind}"))

    def dump_logs(self):
        logs = self.files("log")
        assert len(logs) >= PARTITIONS + 3, f"only {len(logs)} segments, no roll"
        text = dump("--deep-iteration", "--files", ",".join(logs))
        records = len(re.findall(r"^\| offset: ", text, re.M))
        assert records >= sum(map(len, self.logs)), f"{records} records in the dump, {sum(map(len, self.logs))} were served"
        return f"{len(logs)} segments, {records} records"

    def dump_cleaned(self):
        """Every file of the cleaned partition; offsets that are missing in it are no complaint."""
        of = lambda kind: sorted(glob.glob(f"{self.data}/{CLEANED}-0/*.{kind}"))
        text = dump("--deep-iteration", "--files", ",".join(of("log")), gaps=True)
        records = len(re.findall(r"^\| offset: ", text, re.M))
        served = len(self.cleaned[0])
        assert served <= records < 5000, f"{records} records in the dump, {served} were served, 7500 were sent"
        indexes = of("index") + of("timeindex")
        assert len(indexes) == 2 * len(of("log")), f"{len(indexes)} index files for {len(of('log'))} segments"
        dump("--files", ",".join(indexes))
        dump("--index-sanity-check", "--files", ",".join(indexes))
        dump("--verify-index-only", "--files", ",".join(indexes))
        left = [f for f in os.listdir(f"{self.data}/{CLEANED}-0") if "cleaned" in f]
        assert not left, left
        with open(f"{self.data}/cleaner-offset-checkpoint") as f:
            assert f"{CLEANED} 0 " in f.read(), "no cleaner-offset-checkpoint"
        return f"{len(of('log'))} segments, {records} of 7500 records left"

    def dump_indexes(self):
        files = self.files("index") + self.files("timeindex")
        logs = self.files("log")
        assert len(files) >= 2 * len(logs), f"{len(files)} index files for {len(logs)} segments"
        text = dump("--files", ",".join(files)) + dump("--index-sanity-check", "--files", ",".join(files)) \
            + dump("--verify-index-only", "--files", ",".join(files))
        entries = len(re.findall(r"^offset: \d+ position: ", text, re.M))
        assert entries > 0, "no entry in any offset index"
        return f"{len(files)} files, {entries} offset entries"

    def dump_snapshots(self):
        files = self.files("snapshot")
        assert files, "no producer snapshot after a clean stop"
        text = dump("--files", ",".join(files))
        assert len(re.findall(r"^producerId: ", text, re.M)) >= len(CODECS), text[:300]
        return f"{len(files)} snapshots"

    def kafka_opens(self):
        """A Kafka that has an empty topic of that name gets our files in place of its own."""
        data = os.path.join(self.work, "theirs")
        os.makedirs(data)
        self.kafka = Broker("kafka", self.o.port + 10, data, os.path.join(self.work, "theirs.log"), KEEP)
        self.kafka.start()
        create_topic(self.kafka.address, TOPIC, PARTITIONS, {"segment.bytes": "1048576"})
        create_topic(self.kafka.address, CLEANED, 1, {**COMPACTED, "min.compaction.lag.ms": "86400000"})
        time.sleep(1)
        self.kafka.stop()
        for p in range(PARTITIONS):
            plant(f"{self.data}/{TOPIC}-{p}", f"{data}/{TOPIC}-{p}")
        plant(f"{self.data}/{CLEANED}-0", f"{data}/{CLEANED}-0")
        shutil.copy(f"{self.data}/log-start-offset-checkpoint", f"{data}/log-start-offset-checkpoint")
        self.kafka.start()
        got = read_all(self.kafka.address, TOPIC, PARTITIONS, starts={3: 100})
        for p in range(PARTITIONS):
            assert got[p] == self.logs[p], f"partition {p}: {len(got[p])} records, ours had {len(self.logs[p])}"
        cleaned = read_all(self.kafka.address, CLEANED, 1)
        assert cleaned == self.cleaned, f"{CLEANED}: {len(cleaned[0])} records, ours had {len(self.cleaned[0])}"
        return f"{sum(map(len, got))} records, {len(cleaned[0])} of the cleaned topic"

    def kafka_appends(self):
        p = Producer({"bootstrap.servers": self.kafka.address, **QUIET})
        ends = []
        p.produce(TOPIC, b"more", b"more", 0, on_delivery=lambda e, m: ends.append((e, m.offset())))
        assert p.flush(30) == 0 and ends == [(None, self.logs[0][-1][0] + 1)], ends
        log = open(self.kafka.log, errors="replace").read()
        bad = re.findall(rf"^.*(?:ERROR.*(?:{TOPIC}-|{CLEANED}-|Log)|CorruptRecord|CorruptIndex).*$", log, re.M)
        assert not bad, bad[0]

    def ours_imports(self):
        """Kafka's directories come in with `tidelog log import`, the node stopped; every record is served."""
        names = ["s-none", "s-gzip", "s-snappy", "s-lz4", "s-zstd", "s-logappend", "s-recompress", "s-idem", "s-txn", "s-roll"]
        golden = os.path.join(disk.SHARED, "golden/segments/clean")
        for name in names:
            done = subprocess.run([TIDELOG, "log", "import", f"{golden}/{name}-0", "--topic", name, "--partition", "0",
                                   "--set", f"log.dirs={self.data}"], capture_output=True, text=True, timeout=60)
            assert done.returncode == 0, f"import of {name}: {done.returncode} {done.stdout[-200:]} {done.stderr[-300:]}"
        self.broker.start()
        count = 0
        for name in names:
            want = [r for r in expected(f"{golden}/{name}-0/expected.json") if r[0] >= log_start(golden, name)]
            first = want[0][0]
            got = read_all(self.broker.address, name, 1, starts={0: first})[0]
            assert got == want, f"{name}: {len(got)} records, wanted {len(want)}; first difference " \
                                f"{next(((g, w) for g, w in zip(got, want) if g != w), None)}"
            count += len(got)
        ours = read_all(self.broker.address, TOPIC, PARTITIONS, starts={3: 100})
        assert ours == self.logs, "our own topic changed"
        assert self._stop() == 0
        return f"{len(names)} directories, {count} records"

    def close(self):
        for b in (self.broker, self.kafka):
            if b:
                b.kill()


def expected(path):
    """(offset, key, value) of every record that is not a control record."""
    with open(path) as f:
        files = json.load(f)
    raw = lambda text: None if text is None else bytes.fromhex(text)
    return [(r["offset"], raw(r["key"]), raw(r["value"])) for name in sorted(files) if name.endswith(".log")
            for b in files[name]["batches"] if not b["isControl"] for r in b.get("records", [])]


def log_start(data, topic):
    """What Kafka's own checkpoint beside the directory says (0 where it says nothing)."""
    with open(f"{data}/log-start-offset-checkpoint") as f:
        lines = [line.split() for line in f]
    return next((int(line[2]) for line in lines if line[:2] == [topic, "0"]), 0)


def plant(source, target):
    """Our files in place of Kafka's, which keeps only its partition.metadata (it names Kafka's topic id)."""
    for path in glob.glob(f"{target}/*"):
        if os.path.basename(path) != "partition.metadata":
            os.remove(path)
    for path in glob.glob(f"{source}/*"):
        if path.endswith((".log", ".index", ".timeindex", ".txnindex", ".snapshot", "leader-epoch-checkpoint")):
            shutil.copy(path, target)


def dump(*words, gaps=False):
    done = subprocess.run([*JVM, "org.apache.kafka.tools.DumpLogSegments", *words], capture_output=True, text=True, timeout=200)
    text = done.stdout + done.stderr
    if gaps:
        text = re.sub(r"^  \d+ is followed by \d+$", "", text, flags=re.M)
    complaint = COMPLAINTS.search(text)
    assert done.returncode == 0 and not complaint, text[max(0, complaint.start() - 200):complaint.end() + 200] if complaint else text[-400:]
    return text


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--broker", default="tidelog")
    p.add_argument("--port", type=int, default=20220)
    o = p.parse_args()
    report, work = Report("exchange"), tempfile.mkdtemp(prefix="tidelog-exchange-")
    x = Exchange(o, work)
    try:
        if report.run("written and stopped cleanly", x.write):
            report.run("DumpLogSegments reads every segment", x.dump_logs)
            report.run("DumpLogSegments checks every index", x.dump_indexes)
            report.run("DumpLogSegments reads a cleaned partition", x.dump_cleaned)
            report.run("DumpLogSegments reads the producer snapshots", x.dump_snapshots)
            if report.run("a Kafka broker opens our directories", x.kafka_opens):
                report.run("and appends to them", x.kafka_appends)
            if x.kafka:
                x.kafka.kill()
            if o.broker == "tidelog":
                report.run("we import Kafka's directories", x.ours_imports)
    finally:
        x.close()
        shutil.rmtree(work, ignore_errors=True)
    report.close()


if __name__ == "__main__":
    main()
