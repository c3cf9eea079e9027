"""Many connections in one thread: an epoll loop, offset commits, and members of groups of both protocols as state machines.

What asyncio or a schema-driven codec would cost for each request is more than the brokers take; this is about 10 us.
"""
import select, socket, struct, time

JOIN, SYNC, HEARTBEAT, LEAVE, COMMIT, FIND, MODERN = (11, 5), (14, 3), (12, 3), (13, 3), (8, 7), (10, 1), (68, 1)
LOADING, UNAVAILABLE, MOVED, GENERATION, UNKNOWN, REBALANCE, ID_REQUIRED = 14, 15, 16, 22, 25, 27, 79
LATER = (LOADING, UNAVAILABLE, MOVED)
NULL = struct.pack(">h", -1)


def text(s):
    return struct.pack(">h", len(s)) + s.encode()


def blob(b):
    return struct.pack(">i", len(b)) + b


def varint(n):
    out = bytearray()
    while n > 127:
        out.append(n & 127 | 128)
        n >>= 7
    out.append(n)
    return bytes(out)


def compact(s):
    return varint(len(s) + 1) + s.encode()


class Answer:
    def __init__(self, data):
        self.data, self.at = data, 0

    def take(self, form):
        out = struct.unpack_from(">" + form, self.data, self.at)
        self.at += struct.calcsize(">" + form)
        return out[0] if len(out) == 1 else out

    def skip(self, n):
        self.at += max(n, 0)

    def text(self):
        n = self.take("h")
        self.skip(n)
        return None if n < 0 else self.data[self.at - n:self.at].decode()

    def blob(self):
        n = self.take("i")
        self.skip(n)
        return self.data[self.at - n:self.at]

    def varint(self):
        value = shift = 0
        while True:
            byte = self.take("B")
            value |= (byte & 127) << shift
            if byte < 128:
                return value
            shift += 7


class Loop:
    def __init__(self, port):
        self.port, self.epoll, self.by_fd, self.troubles = port, select.epoll(), {}, []

    def connect(self, n=1):
        return [Conn(self) for _ in range(n)]

    def run(self, until, patience=120, round_s=None, each_round=None, spin=False):
        """Serves until `until()`; `each_round` is called every `round_s` seconds. False when patience ended first."""
        begun = at = time.perf_counter()
        while not until():
            for fd, _ in self.epoll.poll(0 if spin else (round_s or 0.05)):
                self.by_fd[fd].receive()
            now = time.perf_counter()
            if each_round and now >= at:
                at = now + (round_s or 0)
                each_round()
            if now - begun > patience:
                return False
        return True

    def close(self):
        for conn in list(self.by_fd.values()):
            conn.sock.close()
        self.epoll.close()


class Conn:
    """One request at a time; `then` gets the answer behind its correlation id."""

    def __init__(self, loop):
        self.loop, self.sock, self.data, self.then = loop, socket.create_connection(("127.0.0.1", loop.port), 10), b"", None
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        loop.by_fd[self.sock.fileno()] = self
        loop.epoll.register(self.sock.fileno(), select.EPOLLIN)

    def ask(self, api, body, then, flexible=False):
        head = struct.pack(">hhi", *api, 1) + text("rig") + (b"\0" if flexible else b"")
        self.send(blob(head + body), then)

    def send(self, frame, then):
        self.then = then
        self.sock.sendall(frame)

    def receive(self):
        got = self.sock.recv(1 << 18, socket.MSG_DONTWAIT)
        if not got:
            raise ConnectionError("the broker closed a connection")
        data = self.data + got if self.data else got
        if len(data) >= 4 and len(data) == 4 + int.from_bytes(data[:4], "big"):
            self.data, then, self.then = b"", self.then, None
            then(data[8:])
        else:
            self.data = data

    def close(self):
        self.loop.epoll.unregister(self.sock.fileno())
        del self.loop.by_fd[self.sock.fileno()]
        self.sock.close()


class Commit:
    """An OffsetCommit of one partition, by a client that is no member; only the offset changes from one to the next."""

    def __init__(self, group, topic):
        body = struct.pack(">hhi", *COMMIT, 1) + text("rig") + text(group) + struct.pack(">i", -1) + text("") + NULL + \
            struct.pack(">i", 1) + text(topic) + struct.pack(">ii", 1, 0)
        self.frame = bytearray(blob(body + struct.pack(">qi", 0, -1) + text("")))
        self.at, self.offset = 4 + len(body), 0

    def next(self):
        self.offset += 1
        struct.pack_into(">q", self.frame, self.at, self.offset)
        return self.frame

    @staticmethod
    def error(answer):
        return int.from_bytes(answer[-2:], "big")


def find(loop, group):
    """Waits until the group has a coordinator: the first one makes its topic."""
    conn, codes = Conn(loop), []

    def found(data):
        codes.append(struct.unpack_from(">h", data, 4)[0])
        if codes[-1]:
            time.sleep(0.1)
            ask()

    def ask():
        conn.ask(FIND, text(group) + b"\0", found)

    ask()
    assert loop.run(lambda: codes and codes[-1] == 0, 120), f"no coordinator: {codes[-3:]}"
    conn.close()


class Group:
    """What all members of one group know together."""

    def __init__(self, loop, name, topic, partitions):
        self.loop, self.name, self.topic, self.partitions, self.members = loop, name, topic, partitions, []

    def newest(self):
        return max((m.epoch for m in self.members), default=0)

    def whole(self, above):
        """Whether all members are settled in one generation above that, and every partition has one owner."""
        epoch = self.newest()
        if epoch <= above or any(m.epoch != epoch or not m.settled for m in self.members):
            return False
        owned = [p for m in self.members for p in m.owned]
        if len(owned) != len(set(owned)):
            self.loop.troubles.append(f"{self.name}: a partition has two owners in generation {epoch}")
        low, high = self.partitions // len(self.members), -(-self.partitions // len(self.members))
        return len(owned) == self.partitions and all(low <= len(m.owned) <= high for m in self.members)

    def settle(self, above, round_s):
        """Serves until the group is whole, every member asking once a round; whether it became so."""
        def nudge():
            for m in self.members:
                m.nudge()
        dirty = [True]
        # Looking at all members after every answer would cost more than the answers.
        for m in self.members:
            m.changed = lambda: dirty.__setitem__(0, True)

        def whole():
            if not dirty[0]:
                return False
            dirty[0] = False
            return self.whole(above)
        return self.loop.run(whole, 120, round_s, nudge)


class Classic:
    """A member by JoinGroup and SyncGroup (range, as one assignor)."""

    def __init__(self, group, conn=None, session_ms=120000):
        self.group, self.conn, self.session, self.shared = group, conn or Conn(group.loop), session_ms, conn is not None
        self.id, self.epoch, self.owned, self.settled, self.busy, self.changed = "", 0, [], False, False, lambda: None

    def subscription(self):
        return struct.pack(">hi", 0, 1) + text(self.group.topic) + struct.pack(">i", -1)

    def join(self):
        self.settled, self.busy = False, True
        body = text(self.group.name) + struct.pack(">ii", self.session, 60000) + text(self.id) + NULL + text("consumer") + \
            struct.pack(">i", 1) + text("range") + blob(self.subscription())
        self.conn.ask(JOIN, body, self.joined)

    def joined(self, data):
        a = Answer(data)
        _, error, epoch = a.take("ihi")
        _, _, member = a.text(), a.text(), a.text()
        if error:
            return self.refused(error, member)
        self.id, self.epoch = member, epoch
        members = []
        for _ in range(a.take("i")):
            members.append(a.text())
            a.text(), a.blob()
        shares = b"".join(text(m) + blob(self.assignment(range(n, self.group.partitions, len(members)))) for n, m in enumerate(members))
        body = text(self.group.name) + struct.pack(">i", epoch) + text(self.id) + NULL + struct.pack(">i", len(members)) + shares
        self.conn.ask(SYNC, body, self.synced)

    def assignment(self, partitions):
        return struct.pack(">hi", 0, 1) + text(self.group.topic) + struct.pack(f">i{len(partitions)}i", len(partitions), *partitions) + \
            struct.pack(">i", -1)

    def synced(self, data):
        a = Answer(data)
        _, error = a.take("ih")
        if error:
            return self.refused(error, self.id)
        a.take("i"), a.take("hi"), a.text()
        n = a.take("i")
        self.owned, self.settled, self.busy = list(a.take(f"{n}i") if n > 1 else [a.take("i")] if n else []), True, False
        self.changed()

    def refused(self, error, member):
        if error == ID_REQUIRED:
            self.id = member
        elif error == UNKNOWN:
            self.id = ""
        elif error not in (REBALANCE, GENERATION, *LATER):
            self.group.loop.troubles.append(f"{self.group.name}: a member was refused with {error}")
        self.join()

    def nudge(self):
        if not self.busy:
            self.busy = True
            body = text(self.group.name) + struct.pack(">i", self.epoch) + text(self.id) + NULL
            self.conn.ask(HEARTBEAT, body, self.beaten)

    def beaten(self, data):
        self.busy, error = False, struct.unpack_from(">h", data, 4)[0]
        if error:
            self.refused(error, self.id)

    def leave(self):
        """Leaves when its last answer has come; it is no member of the group's list any more."""
        assert self.group.loop.run(lambda: not self.busy)
        self.busy = True
        self.conn.ask(LEAVE, text(self.group.name) + struct.pack(">i", 1) + text(self.id) + NULL, lambda _: self.conn.close())


class Modern:
    """A member by ConsumerGroupHeartbeat (KIP-848) that gives partitions up at once."""

    def __init__(self, group, name):
        self.group, self.conn, self.id, self.topic_id = group, Conn(group.loop), name, None
        self.epoch, self.owned, self.settled, self.busy, self.changed = 0, [], True, False, lambda: None

    def join(self):
        self.nudge()

    def nudge(self):
        if not self.busy:
            self.beat(self.epoch)

    def beat(self, epoch):
        joins, self.busy = epoch == 0, True
        owned = b"\x01" if not self.owned or not self.topic_id else \
            b"\x02" + self.topic_id + varint(len(self.owned) + 1) + struct.pack(f">{len(self.owned)}i", *self.owned) + b"\0"
        body = compact(self.group.name) + compact(self.id) + struct.pack(">i", epoch) + b"\0\0" + \
            struct.pack(">i", 60000 if joins else -1) + (b"\x02" + compact(self.group.topic) if joins else b"\0") + b"\0\0" + owned + b"\0"
        self.conn.ask(MODERN, body, self.beaten, flexible=True)

    def beaten(self, data):
        a, self.busy = Answer(data), False
        a.varint()
        _, error = a.take("ih")
        a.skip(a.varint() - 1), a.skip(a.varint() - 1)
        if error:
            if error not in LATER:
                self.group.loop.troubles.append(f"{self.group.name}: a heartbeat was refused with {error}")
            return
        epoch, _ = a.take("ii")
        if a.take("b") >= 0:
            self.owned = []
            for _ in range(a.varint() - 1):
                self.topic_id = a.data[a.at:a.at + 16]
                a.skip(16)
                self.owned += [a.take("i") for _ in range(a.varint() - 1)]
                a.varint()
            self.changed()
        if epoch != self.epoch:
            self.epoch = epoch
            self.changed()

    def leave(self):
        assert self.group.loop.run(lambda: not self.busy)
        self.owned = []
        self.beat(-1)
        self.conn.then = lambda _: self.conn.close()
