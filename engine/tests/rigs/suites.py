"""Other people's client suites against Tidelog, judged by what a real Kafka 4.3.1 scored in them.

    suites.py [--quick] [--suite NAME ...] [--test REGEX] [--excluded-too] [--port P] [--results FILE.jsonl] [--tries N]

Each suite gets a fresh broker. `../suites/required.tsv` names every test that Kafka passes: either it is required here,
or its row gives the reason for its exclusion. A required test that fails is tried again, as often as Kafka's score
allowed (three tries in all; more for those in TRIES). Exit status 0 only if every required test that was run passed; with
--quick the suites' own short selections are run. One JSON line per suite goes to --results; it names the commit.
"""
import argparse, json, os, re, signal, subprocess, sys, time

from broker import Broker, CACHE, ROOT

SHARED = os.environ.get("TIDELOG_SHARED") or os.path.join(ROOT, "../shared")
REQUIRED = os.path.join(ROOT, "engine/tests/suites/required.tsv")
# What the suites expect of the broker, beside its defaults. Sarama wants an empty quota table, the crates three partitions.
SETTINGS = {"num.partitions": "4", "group.initial.rebalance.delay.ms": "0", "node.id": "1"}
SUITES = {
    # Two of kafka-go's tests name no port, which is 9092 to it.
    "sarama": {}, "kafka-go": {"port": 9092}, "franz-go": {}, "java-clients": {}, "kafkajs": {},
    "rust-crates": {"settings": {"num.partitions": "3"}, "environment": {"CRATES": "rdkafka"}},
    # 0102 starts two members at once and expects them in one generation: that is what Kafka's default delay is for.
    "librdkafka": {"settings": {"group.initial.rebalance.delay.ms": "3000"}},
    "librdkafka-consumer": {"script": "librdkafka", "environment": {"LRK_PROTOCOL": "consumer"}},
    "kafka-tools": {},
}
# Tests that chance decides, also over a real Kafka, and how often they are tried.
TRIES = {
    # Waits for messages of 100 ms to expire. They do not if librdkafka learns of the new topic over a connection that was
    # there 101 ms after the start, and this changes from run to run: a real Kafka lost 2 of 8, Tidelog 4 of 8.
    ("rust-crates", "rdkafka/test_low_producers::test_base_producer_timeout"): 10,
}


def required_tests():
    """suite -> {test: reason for its exclusion, or '' when it is required}"""
    tests = {}
    with open(REQUIRED) as file:
        for line in file:
            if line.startswith("#") or not line.strip():
                continue
            suite, test, verdict, reason = (line.rstrip("\n") + "\t\t").split("\t")[:4]
            assert verdict == "required" or reason, f"{suite} {test} is excluded without a reason"
            tests.setdefault(suite, {})[test] = "" if verdict == "required" else reason
    return tests


def read_rows(path):
    """test -> (result, seconds, note) of the rows that a suite script wrote; the last row of a test counts."""
    rows = {}
    if os.path.exists(path):
        with open(path, errors="replace") as file:
            for line in file:
                fields = line.rstrip("\n").split("\t") + [""] * 5
                rows[fields[1]] = (fields[2], fields[3], fields[4])
    return rows


def end_session(leader):
    """Ends whatever a suite's script left running: its tests are started in process groups of their own."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        for entry in os.listdir("/proc"):
            if entry.isdigit():
                try:
                    if os.getsid(int(entry)) == leader.pid:
                        os.kill(int(entry), number)
                except OSError:
                    continue        # it ended by itself meanwhile
        time.sleep(0.5)
    leader.wait(20)


class Run:
    """One suite over one fresh broker."""

    def __init__(self, name, arguments):
        self.name, self.arguments, self.about = name, arguments, SUITES[name]
        self.scratch = os.path.join(CACHE, "suites", name)
        os.makedirs(self.scratch, exist_ok=True)
        self.rows_path = os.path.join(self.scratch, "results.tsv")

    def script(self, tests, limit=2400):
        """Runs those of the suite's tests against a broker of its own. Excluded tests are left out: some would hang."""
        only = self.arguments.test or "|".join(sorted({self.pattern(test) for test in tests}))
        data = os.path.join(self.scratch, "data")
        subprocess.run(["rm", "-rf", data], check=True)
        os.makedirs(data)
        broker = Broker(self.arguments.broker, self.about.get("port", self.arguments.port), data, os.path.join(self.scratch, "broker.log"),
                        {**SETTINGS, **self.about.get("settings", {})} if self.arguments.broker == "tidelog" else {})
        # librdkafka's tests measure nothing where the variable CI is set: what can be measured here is.
        inherited = {name: value for name, value in os.environ.items() if name != "CI"}
        environment = {**inherited, **self.about.get("environment", {}), "WORK": self.scratch, "RESULTS": self.rows_path,
                       "KAFKA_LIBS": os.path.join(CACHE, "kafka-4.3.1/libs"), "ONLY": only,
                       "LRK_TESTS": os.path.join(CACHE, "librdkafka/tests"),
                       "CARGO_TARGET_DIR": os.path.join(CACHE, "suites/rust-target")}
        command = [os.path.join(SHARED, "suites", self.about.get("script", self.name) + ".sh"), broker.address]
        broker.start()
        try:
            with open(os.path.join(self.scratch, "output.txt"), "w") as out:
                process = subprocess.Popen(command + ["--quick"] * self.arguments.quick, stdout=out, stderr=out,
                                           stdin=subprocess.DEVNULL, env=environment, start_new_session=True)
                try:
                    process.wait(limit)
                except subprocess.TimeoutExpired:
                    print(f"{self.name}: stopped after {limit} s")
                finally:
                    end_session(process)
            if not broker.alive():
                print(f"FAIL {self.name}: the broker ended by itself: {broker.log_panic()}", flush=True)
                return False
        finally:
            if broker.alive() and broker.stop() != 0:
                print(f"FAIL {self.name}: the broker's stop failed: {broker.log_tail()}", flush=True)
        return True

    def judge(self, tests):
        """Runs, tries lost tests again, and returns the summary for the results file."""
        begun = time.monotonic()
        if os.path.exists(self.rows_path):
            os.remove(self.rows_path)
        alive = self.script(test for test, reason in tests.items() if self.arguments.excluded_too or not reason)
        rows = read_rows(self.rows_path)
        ran_before = dict(rows)
        partial = self.arguments.quick or self.arguments.test

        def lost():
            return {test for test, reason in tests.items() if not reason and rows.get(test, ("", "", ""))[0] != "ok"
                    and (test in ran_before or test.split("/")[0] in ran_before or not partial)}

        for tried in range(1, max([self.arguments.tries, *TRIES.values()])):
            again = sorted(test for test in lost() if (test in rows or test.split("/")[0] in rows)
                           and tried < TRIES.get((self.name, test), self.arguments.tries))
            if not again or not alive:
                break
            alive = self.script(again)
            for test, row in read_rows(self.rows_path).items():
                if rows.get(test, ("",))[0] != "ok":
                    rows[test] = row
        lost = sorted(lost())
        if not ran_before:
            print(f"LOST {self.name}: nothing ran, see {self.scratch}/output.txt")
        for test in lost:
            result, _, note = rows.get(test, ("not run", "", ""))
            print(f"LOST {self.name} {test}: {result} {note}")
        excluded = {test: reason for test, reason in tests.items() if reason}
        better = sorted(test for test in excluded if rows.get(test, ("",))[0] == "ok")
        passed = sum(1 for test, reason in tests.items() if not reason and rows.get(test, ("",))[0] == "ok")
        print(f"{self.name}: {passed} of {sum(not r for r in tests.values())} required tests passed, {len(lost)} lost, "
              f"{len(excluded)} excluded ({len(better)} of them pass), {time.monotonic() - begun:.0f} s", flush=True)
        return {"suite": self.name, "passed": passed, "lost": lost, "excluded": len(excluded),
                "excluded_that_pass": better, "not_in_reference": sorted(set(rows) - set(tests)),
                "failed": len(lost) + (not alive) + (not ran_before), "seconds": round(time.monotonic() - begun)}

    def pattern(self, test):
        """What selects one test in the suite's own way: by number, or by the name of the parent test."""
        if self.name.startswith("librdkafka"):
            return f"^{test[:4]}$"
        return f"^{re.escape(test.split('/')[0])}$" if self.name in ("kafka-go", "sarama", "franz-go") else f"^{re.escape(test)}$"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--suite", action="append", choices=SUITES)
    parser.add_argument("--test", help="extended regular expression on the names of tests")
    parser.add_argument("--excluded-too", action="store_true", help="also run the excluded tests, to see which pass by now")
    parser.add_argument("--port", type=int, default=20200)
    parser.add_argument("--broker", default="tidelog", choices=["tidelog", "kafka"])
    parser.add_argument("--results")
    parser.add_argument("--tries", type=int, default=3)
    arguments = parser.parse_args()
    tests = required_tests()
    commit = subprocess.run(["git", "describe", "--always", "--dirty"], cwd=ROOT, capture_output=True, text=True).stdout.strip()
    failed = 0
    for name in arguments.suite or SUITES:
        summary = Run(name, arguments).judge(tests.get(name, {}))
        failed += bool(summary["failed"])
        if arguments.results:
            with open(arguments.results, "a") as out:
                out.write(json.dumps({"commit": commit, "quick": arguments.quick, **summary}) + "\n")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
