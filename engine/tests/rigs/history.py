"""What was sent, acknowledged and seen, and the rules a log must keep over any number of crashes.

Kept in this process, so outside the broker's disk. A record's key names its writer, its number there, its
partition and its size; its value repeats the key. So every record that comes back says whether it was ever
sent, belongs where it was found and is whole, without a table of what was sent.

Rules (names as in the Jepsen Kafka workload): lost, phantom, duplicate, moved, torn, hole, reordered.
"""
import threading
from collections import Counter


def key_of(writer, number, partition, size):
    return b"%d.%d.%d.%d" % (writer, number, partition, size)


def value_of(key, size):
    unit = key + b"|"
    return (unit * (size // len(unit) + 1))[:size]


class History:
    def __init__(self, partitions):
        self.partitions = partitions
        self.known = [{} for _ in range(partitions)]   # offset -> key: acknowledged or seen, so it must stay
        self.unplaced = [set() for _ in range(partitions)]   # acknowledged as a repetition, without an offset
        self.sent = {}                                 # writer -> how many numbers it has used
        self.acked, self.refused = 0, 0
        self.acked_partitions = set()
        self.anomalies = Counter()
        self.examples = []
        self.lock = threading.Lock()

    def go_on_elsewhere(self):
        """An empty history for a fresh disk that keeps the counts and findings of this one."""
        new = History(self.partitions)
        new.acked, new.refused, new.acked_partitions = self.acked, self.refused, self.acked_partitions
        new.anomalies, new.examples = self.anomalies, self.examples
        return new

    def note_sent(self, writer, number):
        self.sent[writer] = number + 1

    def note_acked(self, partition, offset, key):
        with self.lock:
            self.acked += 1
            self.acked_partitions.add(partition)
            if offset is None or offset < 0:
                self.unplaced[partition].add(key)
            else:
                self._must_stay(partition, offset, key, "acknowledged")

    def note_seen(self, partition, offset, key, value):
        """A consumer was given this record: from now on it may neither change nor vanish."""
        with self.lock:
            self._check_record(partition, offset, key, value)
            self._must_stay(partition, offset, key, "seen")

    def note_anomaly(self, kind, text):
        self.anomalies[kind] += 1
        if len(self.examples) < 40:
            self.examples.append(f"{kind}: {text}")

    def verify(self, logs):
        """`logs`: per partition the list of (offset, key, value) of a complete read from offset 0."""
        with self.lock:
            for partition, log in enumerate(logs):
                self._verify_partition(partition, log)

    def _verify_partition(self, partition, log):
        found, place, last = {}, {}, {}
        for at, (offset, key, value) in enumerate(log):
            if offset != at and (at == 0 or offset != log[at - 1][0] + 1):
                self.note_anomaly("hole", f"partition {partition}: offset {offset} at position {at}")
            if not self._check_record(partition, offset, key, value):
                continue
            if key in place:
                self.note_anomaly("duplicate", f"partition {partition}: {key} at {place[key]} and {offset}")
            found[offset], place[key] = key, offset
            writer, number = (int(x) for x in key.split(b".")[:2])
            if last.get(writer, -1) > number:
                self.note_anomaly("reordered", f"partition {partition}: {key} at {offset} after {last[writer]}")
            last[writer] = max(number, last.get(writer, -1))
        known = self.known[partition]
        for offset, key in known.items():
            if found.get(offset) != key:
                kind = "moved" if key in place else "lost"
                self.note_anomaly(kind, f"partition {partition}: {key} was at {offset}, now {place.get(key)}; "
                                        f"there is {found.get(offset)}, log end {len(log)}")
        for key in self.unplaced[partition] - place.keys():
            self.note_anomaly("lost", f"partition {partition}: {key} was acknowledged and is nowhere")
        self.unplaced[partition].clear()
        # What was just read was seen too. After a loss the log as it is now becomes the new truth, so that
        # one loss is counted once.
        self.known[partition] = found

    def _must_stay(self, partition, offset, key, how):
        before = self.known[partition].setdefault(offset, key)
        if before != key:
            self.note_anomaly("moved", f"partition {partition}: {key} {how} at {offset}, where {before} was")
            self.known[partition][offset] = key

    def _check_record(self, partition, offset, key, value):
        try:
            writer, number, where, size = (int(x) for x in key.split(b"."))
        except (ValueError, AttributeError):
            self.note_anomaly("phantom", f"partition {partition}: key {key!r} at {offset}")
            return False
        if number >= self.sent.get(writer, 0) or where != partition:
            self.note_anomaly("phantom", f"partition {partition}: {key} at {offset} was never sent there")
            return False
        if value != value_of(key, size):
            self.note_anomaly("torn", f"partition {partition}: {key} at {offset} came back changed")
            return False
        return True
