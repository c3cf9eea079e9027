"""Kafka's VerifiableProducer and three VerifiableConsumers with rebalances: verifiable.py HOST:PORT [classic|consumer]

Consumers join, one is killed, one leaves politely, new ones join. Checked from their own event lines: every
acknowledged record was consumed, every commit succeeded and none went back, and no partition had two owners at a time.
"""
import json, os, signal, subprocess, sys, tempfile, time

CACHE = os.environ.get("TIDELOG_CACHE") or os.path.expanduser("~/.cache/tidelog")
JAVA = ["java", "-Xmx128m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Xshare:auto", "-cp", f"{CACHE}/kafka-4.3.1/libs/*"]
PARTITIONS, RECORDS, RATE = 6, 12_000, 600
FAILED = []


def check(name, good, why=""):
    print(f"{'ok' if good else 'FAIL'} {name}{'' if good else ' ' + str(why)[:400]}", flush=True)
    if not good:
        FAILED.append(name)


class Tool:
    """One of Kafka's verifiable tools; its events are read from a file when it has ended."""

    def __init__(self, folder, number, tool, *arguments):
        self.path = os.path.join(folder, f"{number}.jsonl")
        with open(self.path, "w") as out:
            self.process = subprocess.Popen([*JAVA, f"org.apache.kafka.tools.{tool}", *arguments],
                                            stdout=out, stderr=subprocess.DEVNULL, stdin=subprocess.DEVNULL)
        self.killed_ms = None

    def end(self, how):
        if self.process.poll() is None:
            if how == signal.SIGKILL:
                self.killed_ms = time.time() * 1000
            self.process.send_signal(how)
            try:
                self.process.wait(30)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
                check("tool-stops", False, self.path)

    def events(self):
        with open(self.path) as file:
            for line in file:
                try:
                    yield json.loads(line)
                except ValueError:
                    pass        # the line that a kill cut short


def wait_for(condition, seconds):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(0.3)
    return False


def ownerships(consumers):
    """partition -> [(from, until, consumer)], times in milliseconds as the consumers' own clocks say."""
    owned = {}
    for number, consumer in enumerate(consumers):
        since = {}
        for event in consumer.events():
            at, name = event.get("timestamp", 0), event["name"]
            for part in event.get("partitions", []) if name.startswith("partitions_") else []:
                key = part["partition"]
                if name == "partitions_assigned":
                    since.setdefault(key, at)
                elif key in since:
                    owned.setdefault(key, []).append((since.pop(key), at, number))
        for key, at in since.items():
            owned.setdefault(key, []).append((at, consumer.killed_ms or float("inf"), number))
    return owned


def judge(producer, consumers):
    acknowledged = {(e["partition"], e["offset"]) for e in producer.events() if e["name"] == "producer_send_success"}
    check("all-produced", len(acknowledged) == RECORDS, len(acknowledged))
    consumed, backwards, failed_commits = set(), [], 0
    committed_by_time = []
    for consumer in consumers:
        for event in consumer.events():
            if event["name"] == "records_consumed":
                for part in event["partitions"]:
                    consumed.update((part["partition"], o) for o in range(part["minOffset"], part["maxOffset"] + 1))
            elif event["name"] == "offsets_committed":
                if event["success"]:
                    committed_by_time += [(event["timestamp"], o["partition"], o["offset"]) for o in event["offsets"]]
                elif "rebalance" not in event.get("error", "").lower():
                    failed_commits += 1
    check("all-consumed", acknowledged <= consumed, f"{len(acknowledged - consumed)} never consumed")
    check("commits-succeed", failed_commits == 0 and committed_by_time, failed_commits)
    # A killed consumer's successor resumes at the last commit, so a commit may repeat an offset but the end is the end.
    ends = {}
    for _, partition, offset in sorted(committed_by_time):
        if offset < ends.get(partition, 0):
            backwards.append((partition, ends[partition], offset))
        ends[partition] = max(offset, ends.get(partition, 0))
    check("commits-never-go-back", not backwards, backwards[:3])
    check("committed-to-the-end", all(ends.get(p, 0) == 1 + max(o for q, o in acknowledged if q == p)
                                      for p in {p for p, _ in acknowledged}), ends)
    owned = ownerships(consumers)
    check("every-partition-had-an-owner", len(owned) == PARTITIONS, sorted(owned))
    twice = [(partition, a, b) for partition, spans in owned.items()
             for a, b in zip(sorted(spans), sorted(spans)[1:]) if b[0] < a[1]]
    check("no-partition-owned-twice", not twice, twice[:3])


def main():
    address, protocol = sys.argv[1], (sys.argv[2:] or ["classic"])[0]
    topic, group = f"verifiable-{protocol}-{os.getpid()}", f"verifiable-{protocol}-{os.getpid()}"
    subprocess.run([*JAVA, "org.apache.kafka.tools.TopicCommand", "--bootstrap-server", address, "--create", "--topic",
                    topic, "--partitions", str(PARTITIONS)], check=True, timeout=60, stdout=subprocess.DEVNULL)
    with tempfile.TemporaryDirectory() as folder:
        tools = []

        def start(tool, *arguments):
            tools.append(Tool(folder, len(tools), tool, "--bootstrap-server", address, "--topic", topic, *arguments))
            return tools[-1]

        def consumer():
            options = ["--session-timeout", "6000"] if protocol == "classic" else []
            return start("VerifiableConsumer", "--group-id", group, "--group-protocol", protocol, *options)

        try:
            first, second = consumer(), consumer()
            producer = start("VerifiableProducer", "--max-messages", str(RECORDS), "--throughput", str(RATE))
            time.sleep(6)
            third = consumer()
            time.sleep(5)
            first.end(signal.SIGKILL)
            time.sleep(2)
            fourth = consumer()
            time.sleep(4)
            second.end(signal.SIGTERM)
            consumers = [first, second, third, fourth]
            check("producer-finishes", wait_for(lambda: producer.process.poll() is not None, 120))

            def consumed():
                return sum(e["count"] for c in consumers for e in c.events() if e["name"] == "records_consumed")
            wait_for(lambda: consumed() >= RECORDS, 60)
            wait_for(lambda: False, 4)         # what was read last is committed by now
            for tool in (third, fourth):
                tool.end(signal.SIGTERM)
            judge(producer, consumers)
        finally:
            for tool in tools:
                if tool.process.poll() is None:
                    tool.process.kill()
                    tool.process.wait()
    print(f"verifiable {protocol}: {'failed ' + ', '.join(FAILED) if FAILED else 'all held'}")
    sys.exit(1 if FAILED else 0)


if __name__ == "__main__":
    main()
