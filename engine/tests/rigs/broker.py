"""Starts, stops and kills one broker, Tidelog or Apache Kafka, always by its own process id.

Every rig and driver gets its broker from here, so that both brokers are treated alike.
As a program it lends a broker to a command and stops it cleanly afterwards:

    broker.py KIND PORT DIR [--set key=value ...] -- COMMAND ...      {} in COMMAND becomes HOST:PORT
"""
import os, re, signal, socket, struct, subprocess, sys, time, urllib.request

ROOT = os.path.abspath(os.path.join(os.path.dirname(__file__), "../../.."))
CACHE = os.environ.get("TIDELOG_CACHE") or os.path.expanduser("~/.cache/tidelog")
KAFKA_LIBS = os.path.join(CACHE, "kafka-4.3.1/libs/*")
TIDELOG = os.environ.get("TIDELOG_BIN") or os.path.join(ROOT, "target/ci/tidelog")
JVM_SMALL = ["java", "-Xms256m", "-Xmx700m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"]
JVM = [*JVM_SMALL, "-cp", KAFKA_LIBS]

KAFKA_SETTINGS = {
    "process.roles": "broker,controller", "node.id": "1", "inter.broker.listener.name": "PLAINTEXT",
    "controller.listener.names": "CONTROLLER",
    "listener.security.protocol.map": "CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT",
    "num.network.threads": "2", "num.io.threads": "2", "num.partitions": "4",
    "auto.create.topics.enable": "true", "offsets.topic.num.partitions": "4",
    "offsets.topic.replication.factor": "1", "transaction.state.log.num.partitions": "4",
    "transaction.state.log.replication.factor": "1", "transaction.state.log.min.isr": "1",
    "share.coordinator.state.topic.num.partitions": "4",
    "share.coordinator.state.topic.replication.factor": "1", "share.coordinator.state.topic.min.isr": "1",
    "group.initial.rebalance.delay.ms": "0", "log.index.size.max.bytes": "1048576",
}

# A rig that is told to end must still run its `finally`: it owns a broker and mounts.
signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))


class Broker:
    """One broker process over one data directory; may be started again after a stop or a kill."""

    def __init__(self, kind, port, data, log, settings=None):
        assert kind in ("tidelog", "kafka"), kind
        self.kind, self.port, self.data, self.log = kind, port, data, log
        self.settings = dict(settings or {})
        self.metrics_port = port + 2
        self.jvm, self.prefix = JVM_SMALL, []      # benchmarks give a larger heap and pin the process
        self.process = None

    @property
    def address(self):
        return f"127.0.0.1:{self.port}"

    @property
    def pid(self):
        return self.process.pid

    def start(self, wait=60):
        """Starts the process; with `wait` seconds given, returns only when it answers requests."""
        if answers(self.port):
            raise RuntimeError(f"something else answers on port {self.port}: it would be taken for this broker")
        command = self._tidelog_command() if self.kind == "tidelog" else self._kafka_command()
        with open(self.log, "ab") as out:
            self.process = subprocess.Popen(self.prefix + command, stdout=out, stderr=out, stdin=subprocess.DEVNULL,
                                            start_new_session=True, env=_clean_environment())
        if wait:
            self.wait_ready(wait)

    def wait_ready(self, seconds=60):
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if self.process.poll() is not None:
                raise RuntimeError(f"{self.kind} ended with {self.process.returncode} at start: {self.log_tail()}")
            if answers(self.port):
                return
            time.sleep(0.02)
        raise RuntimeError(f"{self.kind} did not answer on port {self.port} within {seconds} s: {self.log_tail()}")

    def alive(self):
        return self.process is not None and self.process.poll() is None

    def kill(self):
        """kill -9, and waits until the process is gone."""
        if self.process is not None:
            if self.process.poll() is None:
                self.process.send_signal(signal.SIGKILL)
            self.process.wait(30)

    def stop(self, seconds=60):
        """Clean stop by SIGTERM; the exit status, or an error when it does not end in time."""
        self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.kill()
            raise RuntimeError(f"{self.kind} ignored SIGTERM for {seconds} s: {self.log_tail()}") from None

    def counters(self):
        """The broker's own counters (name -> sum over labels); empty where it offers none."""
        if self.kind != "tidelog":
            return {}
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.metrics_port}/metrics", timeout=3) as page:
                text = page.read().decode()
        except OSError:
            return {}
        out = {}
        for name, value in re.findall(r"^([a-z_:]+)(?:\{[^}]*\})? ([0-9.e+]+)$", text, re.M):
            out[name] = out.get(name, 0) + float(value)
        return out

    def resident_bytes(self):
        with open(f"/proc/{self.pid}/statm") as f:
            return int(f.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    def log_tail(self, lines=6):
        try:
            with open(self.log, errors="replace") as f:
                return " | ".join(line.strip() for line in f.readlines()[-lines:])[-1500:]
        except OSError:
            return "(no log)"

    def log_panic(self):
        """The first panic in the log, else its last lines."""
        with open(self.log, errors="replace") as f:
            text = f.read()
        at = text.find("panicked at")
        return " | ".join(text[at:at + 900].splitlines()[:12]) if at >= 0 else self.log_tail()

    def _tidelog_command(self):
        settings = {"listeners": f"PLAINTEXT://{self.address}", "log.dirs": self.data,
                    "metrics.listener": f"127.0.0.1:{self.metrics_port}",
                    "journal.file.bytes": "1048576", **self.settings}
        if os.environ.get("TIDELOG_NO_METRICS"):
            settings.pop("metrics.listener")
        return [TIDELOG] + [word for k, v in settings.items() for word in ("--set", f"{k}={v}")]

    def _kafka_command(self):
        listeners = f"PLAINTEXT://{self.address},CONTROLLER://127.0.0.1:{self.port + 1}"
        settings = {**KAFKA_SETTINGS, "listeners": listeners, "advertised.listeners": listeners,
                    "controller.quorum.bootstrap.servers": f"127.0.0.1:{self.port + 1}",
                    "log.dirs": self.data, **self.settings}
        path = self.log + ".properties"
        with open(path, "w") as f:
            f.writelines(f"{k}={v}\n" for k, v in settings.items())
        if not os.path.exists(os.path.join(self.data, "meta.properties")):
            subprocess.run(JVM + ["kafka.tools.StorageTool", "format", "-t", "MkU3OEVBNTcwNTJENDM2Qg",
                                  "-c", path, "--standalone"], check=True, timeout=120,
                           stdout=subprocess.DEVNULL, stdin=subprocess.DEVNULL, env=_clean_environment())
        return [*self.jvm, "-cp", KAFKA_LIBS, "kafka.Kafka", path]


def _clean_environment():
    """Tools' own KAFKA_* variables must not reach a broker that reads settings from there."""
    return {k: v for k, v in os.environ.items() if not k.startswith("KAFKA_")}


def answers(port):
    """True when an ApiVersions v0 request on `port` gets its answer within 2 seconds."""
    request = struct.pack(">hhih", 18, 0, 1, -1)
    try:
        with socket.create_connection(("127.0.0.1", port), 2) as s:
            s.settimeout(2)
            s.sendall(struct.pack(">i", len(request)) + request)
            return len(s.recv(8)) > 0
    except OSError:
        return False


def main():
    words = sys.argv[1:]
    at = words.index("--")
    kind, port, data = words[:3]
    settings = dict(w.split("=", 1) for w in words[3:at] if w != "--set")
    os.makedirs(data, exist_ok=True)
    broker = Broker(kind, int(port), data, data.rstrip("/") + ".log", settings)
    broker.start()
    try:
        command = subprocess.Popen([w.replace("{}", broker.address) for w in words[at + 1:]], start_new_session=True)
        while command.poll() is None and broker.alive():
            time.sleep(0.1)
        if not broker.alive():
            # Nothing that the command could still say is about the broker: it would only wait for its timeouts.
            os.killpg(command.pid, signal.SIGTERM)
            print(f"FAIL broker-alive: the broker ended by itself: {broker.log_panic()}", flush=True)
        code = command.wait()
    finally:
        if not broker.alive():
            code = 1
        else:
            status = broker.stop()
            if broker.kind == "tidelog" and status != 0:
                print(f"FAIL clean-stop: exit status {status}: {broker.log_tail()}")
                code = code or 1
    sys.exit(code)


if __name__ == "__main__":
    main()
