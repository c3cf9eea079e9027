"""First figures: Tidelog and Apache Kafka on one machine, in alternation, broker on core 0 and generator on core 1.

    figures.py [--cases produce,consume,idle,restart] [--brokers tidelog,kafka] [--megabytes 500] [--rounds 3]

The generator is librdkafka's rdkafka_performance (built from the sources in the cargo registry, see
.ci/lib.sh). One JSON line per measurement goes to --out; the table at the end gives medians. Benchmarks, not tests.
"""
import argparse, glob, json, os, platform, re, shutil, statistics, subprocess, sys, tempfile, time

from broker import CACHE, ROOT, Broker
from load import create_topic
import wire

GENERATOR = os.path.join(CACHE, "librdkafka/examples/rdkafka_performance")
# name: partitions, batch.size, linger.ms, extra settings by broker
PRODUCE = {
    "1 partition, 512 KiB": (1, 524288, 5), "16 partitions, 512 KiB": (16, 524288, 5),
    "1 partition, 16 KiB": (1, 16384, 5), "16 partitions, 16 KiB": (16, 16384, 5),
    "1,000 partitions, 16 KiB, linger 5 ms": (1000, 16384, 5), "1,000 partitions, 16 KiB, linger 1 s": (1000, 16384, 1000),
}
TICK = os.sysconf("SC_CLK_TCK")
G1 = ["java", "-Xms2g", "-Xmx2g", "-XX:+UseG1GC", "-XX:MaxGCPauseMillis=20"]


class Bench:
    def __init__(self, o):
        self.o, self.rows = o, []
        self.commit = subprocess.run(["git", "-C", ROOT, "describe", "--always", "--dirty"], capture_output=True, text=True).stdout.strip()

    def open(self, kind):
        self.work = tempfile.mkdtemp(prefix="tidelog-figures-", dir=self.o.disk)
        data = os.path.join(self.work, "data")
        os.makedirs(data)
        settings = {"shards": "1"} if kind == "tidelog" else {}
        settings.update(s.split("=", 1) for s in self.o.set if kind == "tidelog")
        b = Broker(kind, self.o.port, data, os.path.join(self.work, "log"), settings)
        b.jvm, b.prefix = G1, ["taskset", "-c", "0"]
        if kind == "tidelog":
            b.settings.setdefault("journal.file.bytes", str(64 << 20))
        b.start()
        return b

    def close(self, b):
        b.kill()
        shutil.rmtree(self.work, ignore_errors=True)

    def note(self, kind, case, **figures):
        row = {"commit": self.commit, "machine": f"{platform.release()} {os.cpu_count()} cores", "broker": kind, "case": case, **figures}
        self.rows.append(row)
        print(kind, "|", case, "|", figures, flush=True)
        with open(self.o.out, "a") as f:
            f.write(json.dumps(row) + "\n")

    def produce(self, kind, case, partitions, batch, linger):
        b = self.open(kind)
        try:
            create_topic(b.address, "figures", partitions, {})
            generate(b, "-P", 20, batch, linger)                                      # warm-up, JIT included
            if kind == "kafka":
                generate(b, "-P", 200, batch, linger)
            for _ in range(self.o.rounds):
                seconds, cpu = generate(b, "-P", self.o.megabytes, batch, linger)
                self.note(kind, f"produce {case}", mb_s=round(self.o.megabytes * 1.048576 / seconds, 1),
                          cpu_s_gb=round(cpu / (self.o.megabytes * 1.048576e-3), 2), rss_mb=b.resident_bytes() >> 20)
            if partitions == 1 and batch > 100000:
                for _ in range(self.o.rounds):
                    seconds, cpu = generate(b, "-C", self.o.megabytes, batch, linger)
                    self.note(kind, "consume 1 partition, 512 KiB, warm", mb_s=round(self.o.megabytes * 1.048576 / seconds, 1),
                              cpu_s_gb=round(cpu / (self.o.megabytes * 1.048576e-3), 2))
        finally:
            self.close(b)

    def idle(self, kind):
        b = self.open(kind)
        try:
            for partitions in (0, 1000):
                if partitions:
                    create_topic(b.address, "idle", partitions, {})
                time.sleep(5)
                before, begun = cpu_seconds(b), time.monotonic()
                time.sleep(20)
                share = (cpu_seconds(b) - before) / (time.monotonic() - begun)
                self.note(kind, f"idle, {partitions} partitions", rss_mb=round(b.resident_bytes() / 1e6, 1), core_percent=round(100 * share, 2))
        finally:
            self.close(b)

    def restart(self, kind, partitions=16):
        """kill -9 with a large log, cold cache; time to a produce and a fetch on every partition."""
        b = self.open(kind)
        try:
            create_topic(b.address, "figures", partitions, {})
            generate(b, "-P", self.o.log_megabytes, 524288, 5)
            b.kill()
            subprocess.run(["sync"], check=True)
            with open("/proc/sys/vm/drop_caches", "w") as f:
                f.write("3\n")
            begun = time.monotonic()
            b.start(wait=200)
            answered = time.monotonic() - begun
            c = wire.connect(b.address, 60)
            for p in range(partitions):
                while wire.produce(c, "figures", wire.batch([(b"k", b"v")]), p)[0] != 0:
                    assert time.monotonic() - begun < 300
                    time.sleep(0.02)
                while True:
                    code, data = wire.fetch(c, "figures", 0, p)
                    if code == 0 and data:
                        break
                    assert time.monotonic() - begun < 300
            self.note(kind, f"restart after kill -9, {self.o.log_megabytes} MiB of log, {partitions} partitions",
                      first_answer_s=round(answered, 2), all_partitions_s=round(time.monotonic() - begun, 2))
        finally:
            self.close(b)


def generate(b, mode, megabytes, batch, linger):
    """Runs the generator for `megabytes` of 1 KiB records: its wall seconds and the broker's CPU seconds."""
    command = ["taskset", "-c", "1", GENERATOR, mode, "-t", "figures", "-b", b.address, "-s", "1024", "-c", str(megabytes * 1024),
               "-q", "-u", "-X", "broker.address.family=v4"]
    if mode == "-P":
        command += ["-a", "1", "-X", f"batch.size={batch}", "-X", f"linger.ms={linger}", "-X", "message.timeout.ms=120000"]
    else:
        command += ["-p", "0", "-o", "beginning", "-X", "fetch.message.max.bytes=4194304", "-X", "queued.max.messages.kbytes=65536"]
    before, begun = cpu_seconds(b), time.monotonic()
    done = subprocess.run(command, capture_output=True, text=True, timeout=500)
    seconds, cpu = time.monotonic() - begun, cpu_seconds(b) - before
    text = done.stdout + done.stderr
    bad = re.search(r"(\d+) (?:failed|errors?)|ERROR.*", text)
    assert done.returncode == 0, text[-400:]
    if bad and bad.group(0).startswith("ERROR"):
        raise RuntimeError(bad.group(0))
    return seconds, cpu


def cpu_seconds(b):
    with open(f"/proc/{b.pid}/stat") as f:
        fields = f.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / TICK


def table(rows):
    cases = {}
    for r in rows:
        for figure in ("mb_s", "cpu_s_gb", "rss_mb", "core_percent", "first_answer_s", "all_partitions_s"):
            if figure in r:
                cases.setdefault((r["case"], figure), {}).setdefault(r["broker"], []).append(r[figure])
    for (case, figure), by in cases.items():
        cells = [f"{k} {statistics.median(v)} ({min(v)}..{max(v)})" for k, v in by.items()]
        if len(by) == 2:
            cells.append(f"ratio {statistics.median(by['tidelog']) / max(statistics.median(by['kafka']), 1e-9):.2f}")
        print(f"{case} | {figure} | {' | '.join(cells)}")


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--cases", default="produce,idle,restart")
    p.add_argument("--only", default=".", help="expression on the names of the produce cases")
    p.add_argument("--brokers", default="tidelog,kafka")
    p.add_argument("--megabytes", type=int, default=500)
    p.add_argument("--log-megabytes", type=int, default=10240)
    p.add_argument("--rounds", type=int, default=3)
    p.add_argument("--port", type=int, default=20500)
    p.add_argument("--set", action="append", default=[], help="a setting of Tidelog")
    p.add_argument("--disk", help="folder on the disk to measure")
    p.add_argument("--out", default="/dev/null")
    o = p.parse_args()
    if not glob.glob(GENERATOR):
        sys.exit(f"{GENERATOR} is missing: run `.ci/full bench`")
    bench = Bench(o)
    wanted = o.cases.split(",")
    for name, case in PRODUCE.items():
        for kind in o.brokers.split(","):
            if "produce" in wanted and re.search(o.only, name):
                bench.produce(kind, name, *case)
    for what in ("idle", "restart"):
        for kind in o.brokers.split(","):
            if what in wanted:
                getattr(bench, what)(kind)
    table(bench.rows)


if __name__ == "__main__":
    main()
