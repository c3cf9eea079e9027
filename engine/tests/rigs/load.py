"""Writers and a reader that keep going through every crash (librdkafka through confluent-kafka).

Each writer is one idempotent producer that lives for the whole series: what was in flight at a crash is sent
again by the client afterwards, so lost producer state shows as a duplicate or as an error.
"""
import random, threading, time

from confluent_kafka import Consumer, KafkaError, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

from history import key_of, value_of

COMPRESSION = ["none", "none", "lz4", "zstd", "gzip", "snappy"]
QUIET = {"log_level": 0, "reconnect.backoff.ms": 20, "reconnect.backoff.max.ms": 200,
         "topic.metadata.refresh.interval.ms": 5000, "allow.auto.create.topics": False,
         "broker.address.family": "v4"}


def create_topic(address, topic, partitions, config, seconds=60):
    """Creates the topic, trying again while a broker just started is not ready for it."""
    admin = AdminClient({"bootstrap.servers": address, **QUIET})
    end = time.monotonic() + seconds
    while True:
        future = admin.create_topics([NewTopic(topic, partitions, 1, config=config)], request_timeout=20)[topic]
        try:
            return future.result(30)
        except KafkaException as e:
            code = e.args[0].code()
            if code == KafkaError.TOPIC_ALREADY_EXISTS:
                return None
            if time.monotonic() > end or code in (KafkaError.INVALID_CONFIG, KafkaError.INVALID_REQUEST):
                raise
            time.sleep(0.3)


class Unreadable(Exception):
    """A partition cannot be read to its end."""


class Writer(threading.Thread):
    """Sends records of mixed sizes to random partitions; a trickle once its bytes for the cycle are used."""

    def __init__(self, number, address, topic, history, seed):
        super().__init__(daemon=True)
        self.number, self.topic, self.history = number, topic, history
        self.random = random.Random(seed * 1000 + number)
        self.address = address
        self.sent, self.budget, self.running, self.ended = 0, 0, threading.Event(), False
        self.producer = self._open()

    def _open(self):
        return Producer({"bootstrap.servers": self.address, **QUIET, "enable.idempotence": True, "acks": "all",
                         "linger.ms": 5, "batch.size": 1000000, "message.timeout.ms": 180000,
                         "compression.type": COMPRESSION[self.number % len(COMPRESSION)],
                         "queue.buffering.max.kbytes": 4096, "queue.buffering.max.messages": 20000,
                         "retry.backoff.ms": 20, "retry.backoff.max.ms": 200, "socket.timeout.ms": 10000})

    def run(self):
        while not self.ended:
            try:
                self._turn()
            except KafkaException as e:
                if not e.args[0].fatal():
                    raise
                # The broker refuses this producer for good; what it had in flight stays unknown.
                self.history.note_anomaly("producer-fatal", f"writer {self.number}: {e.args[0].str()[:200]}")
                self.producer = self._open()

        self.producer.purge()             # or what it still holds would reach whatever answers on this port next
        self.producer.flush(5)

    def _turn(self):
        if not self.running.is_set():
            self.producer.poll(0.02)
            return
        for partition, size in self._shape():
            self._send(partition, size)
        self.producer.poll(0 if self.budget > 0 else 0.003)

    def _shape(self):
        """What to send next: mostly small records, some large ones, now and then one partition's big run."""
        pick, partition = self.random.random(), self.random.randrange(self.history.partitions)
        if self.budget <= 0:
            return [(partition, self.random.randrange(100, 1000))]
        if pick < 0.90:
            return [(partition, self.random.randrange(100, 2000))]
        if pick < 0.995:
            return [(partition, self.random.randrange(2000, 40000))]
        return [(partition, 16000)] * 50

    def _send(self, partition, size):
        key = key_of(self.number, self.sent, partition, size)
        self.history.note_sent(self.number, self.sent)
        self.sent += 1
        self.budget -= size
        for _ in range(3000):
            try:
                self.producer.produce(self.topic, value_of(key, size), key, partition, on_delivery=self._delivered)
                return
            except BufferError:
                self.producer.poll(0.02)
                if self.ended:
                    return
        raise RuntimeError("the producer's queue stayed full for a minute")

    def _delivered(self, error, message):
        if error is None:
            self.history.note_acked(message.partition(), message.offset(), message.key())
        elif error.code() == KafkaError._MSG_TIMED_OUT:
            self.history.note_anomaly("never-answered", f"writer {self.number}: {message.key()}")
        else:                                   # refused while the disk died: in the log or not, both are right
            self.history.refused += 1


class Reader(threading.Thread):
    """Tails all partitions; every record it is given is held against the history at once."""

    def __init__(self, address, topic, history):
        super().__init__(daemon=True)
        self.history, self.topic, self.ended, self.count = history, topic, False, 0
        self.address = address

    def run(self):
        consumer = open_consumer(self.address)
        consumer.assign([TopicPartition(self.topic, p, 0) for p in range(self.history.partitions)])
        position = [0] * self.history.partitions
        while not self.ended:
            for m in consumer.consume(500, 0.1):
                if m.error():
                    if m.error().code() == KafkaError._AUTO_OFFSET_RESET:
                        self.history.note_anomaly("out-of-range", str(m.error()))
                        again = TopicPartition(self.topic, m.partition(), 0)
                        consumer.incremental_unassign([again])
                        consumer.incremental_assign([again])
                        position[m.partition()] = 0
                    continue
                if m.offset() != position[m.partition()]:
                    self.history.note_anomaly("poll-skip", f"partition {m.partition()}: {m.offset()} came instead of "
                                                           f"{position[m.partition()]}")
                position[m.partition()] = m.offset() + 1
                self.count += 1
                self.history.note_seen(m.partition(), m.offset(), m.key(), m.value())
        consumer.close()


def open_consumer(address, **more):
    return Consumer({"bootstrap.servers": address, **QUIET, "group.id": "unused", "enable.auto.commit": False,
                     "enable.auto.offset.store": False, "auto.offset.reset": "error", "check.crcs": True,
                     "isolation.level": "read_uncommitted",
                     "fetch.wait.max.ms": 100, "fetch.error.backoff.ms": 20, "queued.max.messages.kbytes": 16384,
                     **more})


def read_all(address, topic, partitions, seconds=120, starts=None):
    """Every partition from its start (0 unless named in `starts`) to its end, as lists of (offset, key, value)."""
    logs = [[] for _ in range(partitions)]
    consumer = open_consumer(address, **{"enable.partition.eof": True})
    consumer.assign([TopicPartition(topic, p, (starts or {}).get(p, 0)) for p in range(partitions)])
    ended, idle_end, last_error = set(), time.monotonic() + seconds, None
    try:
        while len(ended) < partitions:
            messages = consumer.consume(2000, 0.5)
            for m in messages:
                if m.error() is None:
                    logs[m.partition()].append((m.offset(), m.key(), m.value()))
                elif m.error().code() == KafkaError._PARTITION_EOF:
                    ended.add(m.partition())
                elif m.error().code() == KafkaError._AUTO_OFFSET_RESET:
                    raise Unreadable(f"partition {m.partition()} of {topic}: {m.error()}")
                else:
                    last_error = m.error()
            if any(m.error() is None for m in messages):
                idle_end = time.monotonic() + seconds
            if time.monotonic() > idle_end:
                raise Unreadable(f"{partitions - len(ended)} partitions were not readable to their end within "
                                   f"{seconds} s; last error {last_error}")
    finally:
        consumer.close()
    return logs


class Load:
    """The writers and the reader of one series."""

    def __init__(self, address, topic, history, writers, seed):
        self.history = history
        self.writers = [Writer(n, address, topic, history, seed) for n in range(writers)]
        self.reader = Reader(address, topic, history)
        for thread in (*self.writers, self.reader):
            thread.start()

    def resume(self, budget):
        for w in self.writers:
            w.budget = budget // len(self.writers)
            w.running.set()

    def pause(self):
        for w in self.writers:
            w.running.clear()

    def settle(self, seconds):
        """Waits until everything sent is answered: after a restart the clients deliver what was in flight."""
        end = time.monotonic() + seconds
        while any(len(w.producer) for w in self.writers):
            if time.monotonic() > end:
                left = sum(len(w.producer) for w in self.writers)
                raise RuntimeError(f"{left} records were not answered within {seconds} s after the restart")
            time.sleep(0.02)

    def close(self):
        for thread in (*self.writers, self.reader):
            thread.ended = True
        for thread in (*self.writers, self.reader):
            thread.join(20)
