"""The load generator measured: is it fast enough, and does it agree with another tool? Benchmarks, not tests.

    loadgen_checks.py HOST:PORT PID [--rounds 5] [--megabytes 1000]      PID of the broker, or - for whoever listens there

Run beside a broker that is pinned to core 0 (`taskset -c 0 broker.py tidelog 20500 DIR --set shards=1 -- ...`, see
loadgen/README.md); generators run on core 1. Needs librdkafka's rdkafka_performance (install_generator in .ci/lib.sh).
Prints one line per run and a verdict per check.
"""
import argparse, json, os, re, resource, signal, statistics, subprocess, tempfile, time

ROOT = os.path.abspath(os.path.join(os.path.dirname(__file__), ".."))
CACHE = os.environ.get("TIDELOG_CACHE") or os.path.expanduser("~/.cache/tidelog")
PERFORMANCE = os.path.join(CACHE, "librdkafka/examples/rdkafka_performance")
LOADGEN = os.environ.get("LOADGEN") or os.path.join(ROOT, "target/release/loadgen")
GENERATOR_CORE = ["taskset", "-c", "1"]
WORK = tempfile.mkdtemp(prefix="loadgen-checks-")


def loadgen(address, *flags):
    out = os.path.join(WORK, "result.json")
    command = [*GENERATOR_CORE, LOADGEN, "produce", "--bootstrap", address, "--record-size", "1024", "--acks", "1", "-q", "--json", out, *flags]
    subprocess.run(command, stdout=subprocess.DEVNULL, timeout=600)
    with open(out) as f:
        return json.load(f)


def saturate(address, topic, megabytes, batch, in_flight, *flags):
    return loadgen(address, "--topic", topic, "--rate", "max", "--records", str(megabytes * 1000), "--duration", "3600", "--batch-bytes", str(batch),
                   "--in-flight", str(in_flight), *flags)


def performance(address, topic, *flags):
    command = [*GENERATOR_CORE, PERFORMANCE, "-P", "-t", topic, "-b", address, "-s", "1024", "-a", "1", "-q", "-X", "broker.address.family=v4", *flags]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, (done.stdout + done.stderr)[-500:]
    return done.stdout + done.stderr


def outruns_the_broker(o, batch, in_flight):
    """Twice what the broker takes on one core. A generator's core is busy for part of the time only, so that what it could do
    is what it did per second of its CPU time; the sink on the other core must not be the limit."""
    sink = subprocess.Popen(["taskset", "-c", "0", LOADGEN, "sink"], stdout=subprocess.PIPE, text=True)
    try:
        address = sink.stdout.readline().strip()
        alone = [saturate(address, "sink", o.megabytes, batch, in_flight) for _ in range(o.rounds)]
    finally:
        sink.terminate()
        sink.wait(10)
    broker = [saturate(o.address, f"checks-{batch}", o.megabytes, batch, in_flight, "--broker-pid", str(o.pid)) for _ in range(o.rounds)]
    rate = lambda runs: statistics.median(d["throughput"]["megabytes_per_s"] for d in runs)
    able = statistics.median(d["throughput"]["megabytes_per_s"] / d["generator"]["busy"][0] for d in alone)
    took = statistics.median(1000 / d["broker_cpu"]["cpu_s_per_gb"] for d in broker)
    print(f"{batch} B batches: {rate(alone):.0f} MB/s into the sink, {rate(broker):.0f} MB/s into the broker; "
          f"per second of CPU: generator {able:.0f} MB, broker {took:.0f} MB")
    verdict(f"generates at least twice what the broker takes, {batch} B", able / max(took, rate(broker)), able >= 2 * max(took, rate(broker)))


def children_cpu():
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def agrees_when_saturated(o, batch, in_flight):
    """Both write the same records into the same partition, with acks=1, no keys, no compression. The topic exists before either
    begins, and goes after both, so that the disk does not fill up."""
    topic, ours, theirs = f"checks-both-{batch}", [], []
    for _ in range(o.rounds):
        loadgen(o.address, "--topic", topic, "--rate", "max", "--records", "1", "--recreate-topics")
        begun, cpu = time.monotonic(), children_cpu()
        text = performance(o.address, topic, "-c", str(o.megabytes * 1000), "-X", f"batch.size={batch}", "-X", "linger.ms=5", "-X", f"max.in.flight={in_flight}")
        said = re.findall(r"% (\d+) messages produced .*?in (\d+)ms", text)
        seconds = int(said[-1][1]) / 1000 if said else time.monotonic() - begun
        busy = (children_cpu() - cpu) / (time.monotonic() - begun)
        theirs.append(o.megabytes * 1.024 / seconds)
        mine = saturate(o.address, topic, o.megabytes, batch, in_flight, "--linger-ms", "5", "--delete-topics")
        ours.append(mine["throughput"]["megabytes_per_s"])
        print(f"{batch} B batches, {in_flight} in flight: loadgen {ours[-1]:.0f} MB/s ({mine['generator']['busy'][0]:.0%} of its core), "
              f"rdkafka_performance {theirs[-1]:.0f} MB/s ({busy:.0%})", flush=True)
    ratio = statistics.median(ours) / statistics.median(theirs)
    verdict(f"saturated throughput within 10 %, {batch} B", ratio, 0.9 <= ratio <= 1.1)


def agrees_on_latency(o, rate, seconds):
    file = os.path.join(WORK, "latencies")
    rows = {"p50": [], "p99": []}
    for _ in range(o.rounds):
        performance(o.address, "checks-latency", "-c", str(rate * seconds), "-r", str(rate), "-l", "-A", file, "-X", "linger.ms=0", "-X", "batch.size=16384")
        with open(file) as f:
            theirs = sorted(int(line) / 1000 for line in f)
        ours = loadgen(o.address, "--topic", "checks-latency", "--rate", str(rate), "--duration", str(seconds), "--batch-bytes", "16384")["latency_ms"]
        for name, share in (("p50", 0.5), ("p99", 0.99)):
            rows[name].append((ours[name], theirs[int(len(theirs) * share)]))
        print(f"{rate}/s:", {n: "loadgen %.3f ms, rdkafka_performance %.3f ms" % r[-1] for n, r in rows.items()}, flush=True)
    for name, pairs in rows.items():
        mine, other = (statistics.median(column) for column in zip(*pairs))
        verdict(f"{name} at {rate}/s within 0.5 ms or 15 %: {mine:.3f} and {other:.3f} ms", mine / other, abs(mine - other) <= max(0.5, 0.15 * other))


def shows_a_pause(o, rate=500, seconds=6):
    """The broker stands still for one second: what was due in it waited, half of it for more than half a second."""
    out = os.path.join(WORK, "pause.json")
    command = [*GENERATOR_CORE, LOADGEN, "produce", "--bootstrap", o.address, "--topic", "checks-pause", "--rate", str(rate), "--duration", str(seconds),
               "--batch-bytes", "1", "--acks", "1", "-q", "--json", out]
    running = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    time.sleep(2)
    os.kill(int(o.pid), signal.SIGSTOP)
    try:
        time.sleep(1)
    finally:
        os.kill(int(o.pid), signal.SIGCONT)
    running.wait(120)
    with open(out) as f:
        document = json.load(f)
    above = lambda ms: next((1 - share for share, at in document["percentiles"] if at >= ms), 0)
    verdict("a second's pause is the longest latency", document["latency_ms"]["max"] / 1000, 950 <= document["latency_ms"]["max"] <= 1300)
    for ms in (100, 500, 900):
        ratio = above(ms) * seconds / (1 - ms / 1000)
        verdict(f"records above {ms} ms, of those that a pause of a second makes", ratio, 0.8 <= ratio <= 1.5)


FAILED = []


def verdict(what, value, holds):
    if not holds:
        FAILED.append(what)
    print("ok  " if holds else "FAIL", what, f"(ratio {value:.2f})", flush=True)


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("address")
    p.add_argument("pid", help="the broker's process id; -: whoever listens there")
    p.add_argument("--rounds", type=int, default=5)
    p.add_argument("--megabytes", type=int, default=1000)
    p.add_argument("--rate", type=int, default=2000)
    p.add_argument("--seconds", type=int, default=10)
    o = p.parse_args()
    if o.pid == "-":
        listening = subprocess.run(["ss", "-tlnpH", f"sport = :{o.address.rsplit(':', 1)[1]}"], capture_output=True, text=True).stdout
        o.pid = re.search(r"pid=(\d+)", listening).group(1)
    for batch, in_flight in ((524288, 5), (16384, 50)):
        outruns_the_broker(o, batch, in_flight)
    for batch, in_flight in ((524288, 5), (16384, 5)):
        agrees_when_saturated(o, batch, in_flight)
    agrees_on_latency(o, o.rate, o.seconds)
    shows_a_pause(o)
    raise SystemExit(bool(FAILED))


if __name__ == "__main__":
    main()
