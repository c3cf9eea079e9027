"""A broker under load is killed, or its disk loses power, again and again on one data directory.

    survive.py --fault kill9|cut [--fs ext4|xfs] [--cycles 10] [--partitions 8] [--broker tidelog|kafka] ...

After every restart all that was acknowledged or seen must be there, unchanged, once (history.py). With
`--expect loss` the series passes only if it reports losses: the control run with flushing switched off.
`--results FILE` appends one JSON line about the series.
"""
import argparse, json, os, random, shutil, subprocess, sys, tempfile, time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import disk                                       # noqa: E402
from broker import ROOT, Broker                   # noqa: E402
from history import History                       # noqa: E402
from load import Load, Unreadable, create_topic, read_all     # noqa: E402
from report import Report                         # noqa: E402

# Each must have moved over a series with `--demand`; a kill -9 tears no group, so `common` leaves that one out.
COMMON = ["tidelog_checkpoints_total", "tidelog_journal_recycled_files_total", "tidelog_direct_runs_total",
          "tidelog_segment_rolls_total", "tidelog_recoveries_total"]
COUNTERS = [*COMMON, "tidelog_torn_groups_discarded_total"]
# (share kept, mode, sector) of the power cuts, in turn; mode 0 keeps random sectors, 1 the earliest writes, 2 the latest.
CUTS = [(0, 0, 512), (0.5, 0, 4096), (0.3, 2, 512), (0.9, 0, 512), (0.5, 1, 512), (0.5, 0, 4096), (0.5, 0, 512), (0.9, 0, 512),
        (0.6, 2, 512)]


class Series:
    def __init__(self, options, work):
        self.o, self.work = options, work
        self.random = random.Random(options.seed)
        self.disks_lost = 0
        self.place = self._fresh_place()
        # Cycles are short: without more frequent checkpoints hardly one would end before the next fault.
        settings = {"checkpoint.interval.ms": "300"} if options.broker == "tidelog" else {}
        settings.update(s.split("=", 1) for s in options.set)
        self.broker = Broker(options.broker, options.port, self.place.data, os.path.join(work, "broker.log"), settings)
        self.history = History(options.partitions)
        self.load = None
        self.totals, self.faults_in_recovery, self.latest_only, self.restart_seconds = {}, 0, 0, []

    def open(self):
        if self.o.lie:
            self.place.control("lie 1")
        self.broker.start()
        config = {"segment.bytes": "1048576"}
        self.topic = f"survive-{self.disks_lost}"
        create_topic(self.broker.address, self.topic, self.o.partitions, config)
        if self.o.broker == "kafka":       # it leaves its own first files to the page cache, and then cannot start
            disk.run("sync", "-f", self.place.data)
        self.load = Load(self.broker.address, self.topic, self.history, self.o.writers, self.o.seed)

    def cycle(self, number):
        """One fault under load, the restart and the complete check; returns a line about it."""
        before, read = self.history.acked, self.load.reader.count
        self.load.resume(self.random.randrange(self.o.bytes // 8, self.o.bytes))
        self._wait_for(lambda: self.history.acked - before >= self.o.records and self.load.reader.count > read, 90,
                       lambda: f"only {self.history.acked - before} records acknowledged, {self.load.reader.count - read} read")
        if number == 0 and self.o.demand != "nothing":        # once with as much as it takes, on a busy machine too
            self.load.resume(64 << 20)
            self._wait_for(lambda: self.broker.counters().get("tidelog_journal_recycled_files_total", 0) > 0, 60,
                           lambda: "no journal file was recycled")
        time.sleep(self.random.uniform(0.0, 1.0))
        counted = self._count_run()
        acked = self.history.acked - before
        self._fault(number)
        self.load.pause()
        begun = time.monotonic()
        if number % 3 == 2:                        # once more while it recovers
            try:
                self.broker.start(wait=0)
                time.sleep(self.random.choice([0.01, 0.03, 0.06, 0.12, 0.3, 0.6]) * self.o.recovery_scale)
            finally:
                self._fault(number + 1)
            self.faults_in_recovery += 1
        self.broker.start(wait=self.o.ready)
        self.restart_seconds.append(time.monotonic() - begun)
        self.load.settle(self.o.ready)
        patience = 15 if self.o.expect == "loss" else 120
        self.history.verify(read_all(self.broker.address, self.topic, self.o.partitions, patience))
        self._count_run()
        return f"acked {acked}, in all {self.history.acked}, seen live {self.load.reader.count}, " \
               f"back in {self.restart_seconds[-1]:.2f} s{counted}"

    def _fresh_place(self):
        folder = os.path.join(self.work, f"disk-{self.disks_lost}")
        os.makedirs(folder)
        if self.o.fault == "kill9":
            return disk.Folder(folder)
        return disk.CutDisk(folder, self.o.fs, self.o.megabytes)

    def renew(self):
        """Goes on with a fresh disk after a cut that tore the file system itself (its own sectors, not the broker's)."""
        self.close()
        self.load = None
        self.broker.kill()
        self.place.close()
        self.disks_lost += 1
        self.place = self._fresh_place()
        self.broker.data = self.place.data
        self.history = self.history.go_on_elsewhere()
        self.open()

    def close(self):
        if self.load:
            self.load.close()

    def stop_clean(self):
        """A clean stop and one more start: the complete check holds after that too."""
        self.load.close()
        self.load = None
        status = self.broker.stop()
        if self.o.broker == "tidelog" and status != 0:
            raise RuntimeError(f"clean stop ended with {status}: {self.broker.log_panic()}")
        self.broker.start(wait=self.o.ready)
        self.history.verify(read_all(self.broker.address, self.topic, self.o.partitions))

    def _fault(self, number):
        share, mode, sector = CUTS[number % len(CUTS)]
        if self.o.fs == "xfs":                     # XFS cannot be mounted again when a directory block tore inside 4 KiB
            sector = 4096
        self.latest_only += self.o.fault == "cut" and mode == 2
        self.place.strike(self.broker, self.random, (share, mode, sector), number % 2)

    def _count_run(self):
        """Adds what the present process has counted since the last look; a restart begins at zero."""
        now, pid = self.broker.counters(), self.broker.pid
        last = getattr(self, "_last", (pid, {}))
        base = last[1] if last[0] == pid else {}
        for name, value in now.items():
            if name.startswith("tidelog_"):
                self.totals[name] = self.totals.get(name, 0) + value - base.get(name, 0)
        self._last = (pid, now)
        return ""

    def _wait_for(self, holds, seconds, why):
        end = time.monotonic() + seconds
        while not holds():
            if not self.broker.alive():
                raise RuntimeError(f"the broker ended by itself: {self.broker.log_panic()}")
            if time.monotonic() > end:
                raise RuntimeError(f"{why()} within {seconds} s; {self.broker.log_panic()}")
            time.sleep(0.01)


def parse():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--fault", choices=["kill9", "cut"], required=True)
    p.add_argument("--fs", choices=["ext4", "xfs"], default="ext4")
    p.add_argument("--broker", choices=["tidelog", "kafka"], default="tidelog")
    p.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="a setting of the broker")
    p.add_argument("--cycles", type=int, default=10)
    p.add_argument("--partitions", type=int, default=8)
    p.add_argument("--writers", type=int, default=4)
    p.add_argument("--records", type=int, default=200, help="acknowledged records a cycle, at least")
    p.add_argument("--bytes", type=int, default=16 << 20, help="what a cycle sends before it only trickles, at most")
    p.add_argument("--megabytes", type=int, default=768, help="size of the disk that loses power")
    p.add_argument("--port", type=int, default=20100)
    p.add_argument("--seed", type=int, default=int(time.time()) % 1000000)
    p.add_argument("--ready", type=float, default=90, help="seconds a restart may take")
    p.add_argument("--expect", choices=["nothing lost", "loss"], default="nothing lost")
    p.add_argument("--lie", action="store_true", help="the disk acknowledges flushes without doing them")
    p.add_argument("--demand", choices=["nothing", "common", "all"], default="nothing", help="counters that must have moved")
    p.add_argument("--results", help="file to append a JSON line to")
    p.add_argument("--work", help="folder for everything; kept")
    p.add_argument("-v", action="store_true")
    o = p.parse_args()
    o.recovery_scale = 10 if o.broker == "kafka" else 1
    return o


def main():
    o = parse()
    name = f"{o.fault}-{o.fs}" if o.fault == "cut" else o.fault
    report = Report(f"{name}-{o.partitions}-partitions{'-control' if o.expect == 'loss' else ''}")
    if o.fault == "cut" and disk.missing():
        report.skip(name, disk.missing())
        report.close()
    print(f"seed {o.seed}", flush=True)
    work = o.work or tempfile.mkdtemp(prefix="tidelog-rig-")
    os.makedirs(work, exist_ok=True)
    series, done = None, 0
    try:
        series = Series(o, work)
        series.open()
        for number in range(o.cycles):
            bad = sum(series.history.anomalies.values())
            try:
                line = series.cycle(number)
            except disk.FileSystemLost as e:
                if series.disks_lost >= 1 + o.cycles // 8:
                    raise
                print(f"  cycle {number} on a fresh disk: {e}", flush=True)
                series.renew()
                line = series.cycle(number)
            except Unreadable as e:
                if o.expect != "loss":
                    raise
                series.history.note_anomaly("lost", str(e))       # damage that is named and not served is noticed too
                line = str(e)
            done += 1
            worse = sum(series.history.anomalies.values()) - bad
            if worse and o.expect == "nothing lost":
                report.fail(f"cycle {number}", f"{worse} anomalies; {line}")
            else:
                report.ok(f"cycle {number}", line + (f", {worse} anomalies" if worse else ""))
            if o.expect == "loss" and worse:
                break
        if o.expect == "nothing lost":
            series.stop_clean()
            report.ok("clean stop and start")
    except Exception as e:
        report.fail(f"cycle {done}", f"{type(e).__name__}: {e}; log: {series.broker.log_panic() if series else ''}")
    finally:
        if series:
            judge(o, series, report, done)
            series.close()
            series.broker.kill()
            series.place.close()
    if o.results:
        remember(o, series, report, done)
    if not o.work:
        shutil.rmtree(work, ignore_errors=True)
    report.close()


def judge(o, series, report, done):
    """The lines about the whole series."""
    history = series.history
    for text in history.examples[:12 if o.expect == "nothing lost" else 2]:
        print("  " + text)
    if o.expect == "loss":
        report.expect("losses are noticed", history.anomalies["lost"] + history.anomalies["moved"] > 0, f"{dict(history.anomalies)} of {history.acked}")
        return
    report.expect("no anomaly", not history.anomalies, f"{dict(history.anomalies)}")
    report.expect("enough records", history.acked >= o.records * done and len(history.acked_partitions) >= 0.9 * o.partitions,
                  f"{history.acked} acknowledged over {len(history.acked_partitions)} partitions, {history.refused} refused")
    report.expect("a reader was running", series.load is None or series.load.reader.count > 0)
    if series.disks_lost:
        print(f"  file systems that their own torn sectors made unmountable: {series.disks_lost}")
    if o.fault == "cut" and done >= 3:
        report.expect("cuts that keep only the latest writes", series.latest_only > 0, str(series.latest_only))
    if done >= 3:
        report.expect("faults during recovery", series.faults_in_recovery > 0, str(series.faults_in_recovery))
    if o.broker == "tidelog":
        for counter in COUNTERS:
            value = series.totals.get(counter, 0)
            if o.demand == "all" or o.demand == "common" and counter in COMMON:
                report.expect(f"{counter} above zero", value > 0, f"{value:.0f}")
            else:
                print(f"  {counter} {value:.0f}")


def remember(o, series, report, done):
    commit = subprocess.run(["git", "-C", ROOT, "describe", "--always", "--dirty"], capture_output=True, text=True).stdout.strip()
    slow = max(series.restart_seconds, default=0) if series else 0
    line = {"commit": commit, "when": time.strftime("%F %T"), "title": report.title, "seed": o.seed, "cycles": done,
            "broker": o.broker, "settings": o.set, "acked": series.history.acked if series else 0,
            "refused": series.history.refused if series else 0, "anomalies": dict(series.history.anomalies) if series else {}, "counters": series.totals if series else {},
            "faults_in_recovery": series.faults_in_recovery if series else 0,
            "disks_lost": series.disks_lost if series else 0, "latest_only": series.latest_only if series else 0, "slowest_restart_s": round(slow, 2),
            "passed": report.passed, "failed": report.failed}
    os.makedirs(os.path.dirname(os.path.abspath(o.results)), exist_ok=True)
    with open(o.results, "a") as f:
        f.write(json.dumps(line) + "\n")


if __name__ == "__main__":
    main()
