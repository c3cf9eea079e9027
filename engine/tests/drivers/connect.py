"""Kafka Connect with its file connectors against HOST:PORT, standalone and distributed: connect.py HOST:PORT [REST_PORT]

Lines written to a file come out of another file by way of a topic, each once and in order; of two distributed workers
one is killed and the other goes on with its tasks.
"""
import json, os, signal, subprocess, sys, tempfile, time, urllib.error, urllib.request

CACHE = os.environ.get("TIDELOG_CACHE") or os.path.expanduser("~/.cache/tidelog")
JAVA = ["java", "-Xmx300m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Xshare:auto", "-cp", f"{CACHE}/kafka-4.3.1/libs/*"]
FAILED = []


def check(name, good, why=""):
    print(f"{'ok' if good else 'FAIL'} {name}{'' if good else ' ' + str(why)[:500]}", flush=True)
    if not good:
        FAILED.append(name)
    return good


def wait_for(condition, seconds=90):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(0.4)
    return False


def rest(port, method, path, body=None):
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", method=method, headers={"Content-Type": "application/json"},
                                     data=None if body is None else json.dumps(body).encode())
    try:
        with urllib.request.urlopen(request, timeout=20) as answer:
            return json.loads(answer.read() or b"null")
    except (OSError, urllib.error.HTTPError):
        return None


class Workers:
    """Connect workers of one folder; all of them are ended on leaving."""

    def __init__(self, address, folder):
        self.address, self.folder, self.processes = address, folder, []
        self.common = {"bootstrap.servers": address, "plugin.discovery": "hybrid_warn", "offset.flush.interval.ms": "1000",
                       **{f"{side}.converter": "org.apache.kafka.connect.storage.StringConverter" for side in ("key", "value")}}

    def file(self, name, settings):
        path = os.path.join(self.folder, name)
        with open(path, "w") as out:
            out.writelines(f"{key}={value}\n" for key, value in settings.items())
        return path

    def start(self, kind, port, settings, *connectors):
        path = self.file(f"worker-{port}.properties", {**self.common, **settings, "listeners": f"http://127.0.0.1:{port}"})
        with open(os.path.join(self.folder, f"worker-{port}.log"), "w") as log:
            self.processes.append(subprocess.Popen([*JAVA, f"org.apache.kafka.connect.cli.Connect{kind}", path, *connectors],
                                                   stdout=log, stderr=log, stdin=subprocess.DEVNULL))
        return self.processes[-1]

    def log(self, port):
        with open(os.path.join(self.folder, f"worker-{port}.log"), errors="replace") as log:
            return [line.strip() for line in log if "ERROR" in line or "Exception" in line][-3:]

    def end(self):
        for process in self.processes:
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
        for process in self.processes:
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def connectors(folder, topic):
    """Settings of the source that reads `in` and the sink that writes `out`."""
    package = "org.apache.kafka.connect.file.FileStream"
    return ({"name": f"{topic}-source", "connector.class": f"{package}SourceConnector", "tasks.max": "1",
             "file": f"{folder}/in", "topic": topic},
            {"name": f"{topic}-sink", "connector.class": f"{package}SinkConnector", "tasks.max": "1",
             "file": f"{folder}/out", "topics": topic})


def write_lines(folder, first, last):
    with open(os.path.join(folder, "in"), "a") as lines:
        lines.writelines(f"line {n}\n" for n in range(first, last))


def read_lines(folder):
    try:
        with open(os.path.join(folder, "out")) as lines:
            return lines.read().splitlines()
    except OSError:
        return []


def standalone(address, port, topic):
    with tempfile.TemporaryDirectory() as folder:
        workers = Workers(address, folder)
        try:
            write_lines(folder, 0, 500)
            paths = [workers.file(c["name"] + ".properties", c) for c in connectors(folder, topic)]
            offsets = {"offset.storage.file.filename": f"{folder}/offsets"}
            first = workers.start("Standalone", port, offsets, *paths)
            expected = [f"line {n}" for n in range(500)]
            check("standalone-copies-a-file", wait_for(lambda: read_lines(folder) == expected), (len(read_lines(folder)), workers.log(port)))
            time.sleep(2)              # offsets are flushed once a second
            first.send_signal(signal.SIGTERM)
            first.wait(40)
            write_lines(folder, 500, 700)
            workers.start("Standalone", port, offsets, *paths)
            expected = [f"line {n}" for n in range(700)]
            check("standalone-resumes-where-it-stopped", wait_for(lambda: read_lines(folder) == expected),
                  (len(read_lines(folder)), workers.log(port)))
        finally:
            workers.end()


def distributed(address, port, topic):
    with tempfile.TemporaryDirectory() as folder:
        workers, ports = Workers(address, folder), (port + 1, port + 2)
        settings = {"group.id": topic, "session.timeout.ms": "8000", "heartbeat.interval.ms": "2000",
                    "scheduled.rebalance.max.delay.ms": "2000"}
        for kind, partitions in (("config", None), ("offset", 5), ("status", 2)):
            settings[f"{kind}.storage.topic"] = f"{topic}-{kind}"
            settings[f"{kind}.storage.replication.factor"] = "1"
            if partitions:
                settings[f"{kind}.storage.partitions"] = str(partitions)
        try:
            started = {p: workers.start("Distributed", p, settings) for p in ports}
            up = all(wait_for(lambda p=p: rest(p, "GET", "/connectors") == [], 120) for p in ports)
            if not check("two-workers-start", up, [workers.log(p) for p in ports]):
                return
            write_lines(folder, 0, 500)
            for config in connectors(folder, topic):
                created = wait_for(lambda c=config: rest(ports[0], "PUT", f"/connectors/{c['name']}/config", c), 60)
                check(f"create-{config['name'].rsplit('-', 1)[1]}", created, workers.log(ports[0]))
            expected = [f"line {n}" for n in range(500)]
            check("distributed-copies-a-file", wait_for(lambda: read_lines(folder) == expected), (len(read_lines(folder)), workers.log(ports[0])))
            time.sleep(2)
            started[ports[1]].kill()
            write_lines(folder, 500, 900)
            # What was read and not yet committed when the worker died may come twice, nothing may be missing.
            everything = {f"line {n}" for n in range(900)}
            check("the-other-worker-goes-on", wait_for(lambda: set(read_lines(folder)) == everything, 120),
                  (len(set(read_lines(folder))), workers.log(ports[0])))
            states = [rest(ports[0], "GET", f"/connectors/{c['name']}/status") or {} for c in connectors(folder, topic)]
            running = [task["state"] for state in states for task in state.get("tasks", [])]
            check("both-tasks-run", running == ["RUNNING", "RUNNING"], states)
        finally:
            workers.end()


def main():
    address, port = sys.argv[1], int((sys.argv[2:] or ["20290"])[0])
    standalone(address, port, f"connect-standalone-{os.getpid()}")
    distributed(address, port, f"connect-distributed-{os.getpid()}")
    print(f"connect: {'failed ' + ', '.join(FAILED) if FAILED else 'all held'}")
    sys.exit(1 if FAILED else 0)


if __name__ == "__main__":
    main()
