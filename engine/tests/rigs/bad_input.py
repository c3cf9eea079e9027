"""Hostile and broken input: the documented answer, other connections untouched, nothing lost, memory flat.

    bad_input.py [--broker tidelog|kafka] [--port 20200]
"""
import argparse, os, random, shutil, socket, struct, tempfile, threading, time

import wire
from broker import Broker, answers
from report import Report

TOPIC = "bad-input"
GOOD = [(b"k", b"v" * 50)]
RESIDENT_GROWTH_MAX = 64 << 20


class Bystander(threading.Thread):
    """An honest client on connections of its own: must never notice anything, and must find all its records."""

    def __init__(self, address):
        super().__init__(daemon=True)
        self.address, self.ended, self.acked, self.trouble = address, False, [], []

    def run(self):
        try:
            c = wire.connect(self.address, 20)
            while not self.ended:
                value = b"bystander-%d" % len(self.acked)
                code, offset = wire.produce(c, TOPIC, wire.batch([(b"b", value)]), 1)
                if code:
                    self.trouble.append(f"produce answered {code}")
                    break
                self.acked.append((offset, value))
                time.sleep(0.005)
        except Exception as e:
            self.trouble.append(f"{type(e).__name__}: {e} after {len(self.acked)} records")

    def check(self):
        self.ended = True
        self.join(30)
        assert not self.trouble, self.trouble
        c, at, found = wire.connect(self.address, 20), 0, {}
        while at < len(self.acked):
            code, data = wire.fetch(c, TOPIC, at, 1)
            assert code == 0 and data, f"fetch at {at}: {code}, {len(data)} bytes"
            for b in wire.parse_batches(data):
                if not b.get("partial"):
                    found[b["baseOffset"]] = True
                    at = b["baseOffset"] + b["lastOffsetDelta"] + 1
        lost = [o for o, _ in self.acked if o not in found]
        assert self.acked and not lost, f"lost {lost[:5]} of {len(self.acked)}"
        return f"{len(self.acked)} records"


def raw(address, data, close_write=False, timeout=3):
    """What comes back for raw bytes on a fresh connection: 'closed', 'silence' or the first frame."""
    c = wire.connect(address, timeout)
    try:
        c.raw(data)
        if close_write:
            c.s.shutdown(socket.SHUT_WR)
        return c.frame()
    except (wire.Closed, ConnectionError):
        return "closed"
    except wire.NoAnswer:
        return "silence"
    finally:
        c.close()


def framed(data):
    return struct.pack(">i", len(data)) + data


def produce_cases():
    """(name, batch, wanted error code)"""
    good = wire.batch(GOOD)
    yield "bad CRC", wire.batch(GOOD, crc=1), 2
    yield "wrong magic 3", wire.batch(GOOD, magic=3), 2
    yield "wrong magic 1", wire.batch(GOOD, magic=1), 87
    yield "oversize batch", wire.batch([(b"k", os.urandom(1100000))]), 10
    for codec in (5, 6, 7):
        yield f"unknown codec {codec}", wire.batch(GOOD, attrs=codec), 76
    for codec, name in ((1, "gzip"), (2, "snappy"), (3, "lz4"), (4, "zstd")):
        yield f"garbage as {name}", wire.batch(GOOD, attrs=codec, body=b"\x00\x01garbage"), (-1, 2, 87)
    yield "snappy announcing 2 GB", wire.batch(GOOD, attrs=2, body=b"\xff\xff\xff\xff\x07\x00\x00\x00\x00"), (-1, 2, 87, 10)
    yield "count beyond the records", wire.batch(GOOD, count=2**31 - 1), 87
    yield "half a batch", good[:40], (2, 87)
    yield "batch length 2147483647", wire.batch(GOOD, length=2**31 - 1), (-1, 2, 87)
    yield "base offset 5", wire.batch(GOOD, base=5), 87
    yield "record length beyond the batch", wire.batch(GOOD, body=b"\xfe\xff\xff\xff\x0f" + wire.record(0, 0, b"a", b"b")[1:]), (2, 87)


def frame_cases():
    """(name, bytes, close the write side, wanted)"""
    head = wire.header(3, 1, 5, "bad", 1)
    yield "truncated frame", struct.pack(">i", 100) + head, True, "closed"
    yield "length -1", struct.pack(">i", -1), False, "closed"
    yield "length 2 GB", struct.pack(">i", 2**31 - 1), False, "closed"
    yield "length 0", struct.pack(">i", 0), False, "closed"
    yield "unknown api key", framed(wire.header(999, 0, 5, "bad", 1)), False, "closed"
    yield "negative api key", framed(wire.header(-1, 0, 5, "bad", 1)), False, "closed"
    yield "wrong version of Produce", framed(wire.header(0, 99, 5, "bad", 2) + b"\0" * 12), False, "closed"
    yield "array of 2^31-1 topics", framed(head + struct.pack(">i", 2**31 - 1)), False, "closed"
    yield "TLS hello", bytes.fromhex("16030100c8010000c40303") + bytes(190), False, "closed"
    yield "HTTP request", b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", False, "closed"
    # ApiVersions of an unknown version: a version 0 body with error 35, so that the client can step down.
    yield "wrong version of ApiVersions", framed(wire.header(18, 99, 5, "bad", 2) + b"\0" * 3), False, 35


def announce(address, count):
    """`count` connections that each announce a large frame, send a little of it and wait."""
    held = []
    for n in range(count):
        s = socket.create_connection(tuple(address.split(":")), 5)
        s.sendall(struct.pack(">i", (104857600, 2**31 - 1, 99 << 20)[n % 3]) + b"\0\3\0\1" + bytes(1000))
        held.append(s)
    return held


def mutations(address, seconds, seed):
    """Valid frames with random damage, one connection each; returns how many were sent."""
    rng, sent, end = random.Random(seed), 0, time.monotonic() + seconds
    body = wire.batch(GOOD)
    bodies = [wire.header(0, 7, 5, "bad") + encoded("Produce", 7, wire.produce_body(TOPIC, body)),
              wire.header(3, 9, 5, "bad") + encoded("Metadata", 9, {"Topics": [{"Name": TOPIC}]}),
              wire.header(18, 3, 5, "bad") + encoded("ApiVersions", 3, {"ClientSoftwareName": "a", "ClientSoftwareVersion": "1"}),
              wire.header(2, 5, 5, "bad") + encoded("ListOffsets", 5, {"ReplicaId": -1, "IsolationLevel": 0, "Topics": [
                  {"Name": TOPIC, "Partitions": [{"PartitionIndex": 0, "CurrentLeaderEpoch": -1, "Timestamp": -1}]}]})]
    while time.monotonic() < end:
        s = socket.create_connection(tuple(address.split(":")), 5)
        frames = b""
        for _ in range(20):
            b = bytearray(rng.choice(bodies))
            for _ in range(rng.randrange(1, 5)):
                b[rng.randrange(len(b))] = rng.choice((0, 1, 0x7f, 0x80, 0xff, rng.randrange(256)))
            if rng.random() < 0.2:
                b = b[:rng.randrange(len(b))]
            frames += framed(bytes(b))
            sent += 1
        try:
            s.sendall(frames)
        except OSError:
            pass
        s.close()
    return sent


def encoded(api, version, body):
    import kproto
    return kproto.REQ[kproto.KEY[api]].enc(body, version)


def check_produce(report, address, strict):
    """Every refused batch leaves the connection usable."""
    c = wire.connect(address, 20)
    for name, data, want in produce_cases():
        try:
            code, _ = wire.produce(c, TOPIC, data, 0)
            again, _ = wire.produce(c, TOPIC, wire.batch(GOOD), 0)
        except (wire.Closed, wire.NoAnswer) as e:
            report.fail(name, f"{type(e).__name__}")
            c = wire.connect(address, 20)
            continue
        want = want if isinstance(want, tuple) else (want,)
        if not strict and code == -1:
            want += (-1,)             # Kafka's answer to codecs it does not know
        report.expect(name, code in want and again == 0, f"answered {code} (wanted {want}), the next good batch {again}")


def check_frames(report, address):
    for name, data, close_write, want in frame_cases():
        got = raw(address, data, close_write)
        if isinstance(want, int):
            code = struct.unpack_from(">h", got, 4)[0] if isinstance(got, bytes) and len(got) >= 6 else got
            report.expect(name, code == want, f"answered {code}")
        else:
            report.expect(name, got == want, f"{got if isinstance(got, str) else got.hex()[:60]}")


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--broker", default="tidelog")
    p.add_argument("--port", type=int, default=20200)
    p.add_argument("--seconds", type=float, default=10, help="how long damaged frames are sent")
    p.add_argument("--seed", type=int, default=int(time.time()))
    o = p.parse_args()
    report, work = Report("bad-input"), tempfile.mkdtemp(prefix="tidelog-bad-")
    broker = Broker(o.broker, o.port, os.path.join(work, "data"), os.path.join(work, "log"))
    os.makedirs(broker.data)
    try:
        broker.start()
        wire.create_topic(broker.address, TOPIC, 2)
        time.sleep(1)
        bystander = Bystander(broker.address)
        bystander.start()
        time.sleep(1)
        before = broker.resident_bytes()
        check_produce(report, broker.address, o.broker == "tidelog")
        check_frames(report, broker.address)
        held = announce(broker.address, 100)
        time.sleep(1)
        grown = broker.resident_bytes() - before
        limit = RESIDENT_GROWTH_MAX if o.broker == "tidelog" else 1 << 30
        report.expect("memory while 100 connections announce up to 2 GB", grown < limit, f"grew by {grown >> 20} MiB")
        for s in held:
            s.close()
        print(f"seed {o.seed}", flush=True)
        sent = mutations(broker.address, o.seconds, o.seed)
        report.expect("alive after damaged frames", broker.alive() and answers(o.port), f"{sent} frames; {broker.log_tail(2) if not broker.alive() else ''}")
        report.run("bystander undisturbed, nothing lost", bystander.check)
        grown = broker.resident_bytes() - before
        report.expect("memory at the end", grown < limit, f"grew by {grown >> 20} MiB")
        report.run("clean stop", broker.stop)
    except Exception as e:
        report.fail("run", f"{type(e).__name__}: {e}; {broker.log_tail()}")
    finally:
        broker.kill()
        shutil.rmtree(work, ignore_errors=True)
    report.close()


if __name__ == "__main__":
    main()
