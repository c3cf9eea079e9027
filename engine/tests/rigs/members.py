"""How long a consumer group of the modern protocol (KIP-848) takes to settle, and what members cost in memory.

    members.py KIND PORT DIR [--members 200] [--partitions 400] [--groups 10000] [--set key=value ...]

Every member sends its next heartbeat when all others had theirs, and gives partitions up at once: what is left is the
coordinator's own time and the assignment interval. One JSON line per figure; a partition with two owners ends the run.
"""
import argparse, json, os, time

from broker import Broker
import wire


class Member:
    def __init__(self, connection, group, name, topic):
        self.connection, self.group, self.name, self.topic = connection, group, name, topic
        self.epoch, self.owned = 0, set()

    def heartbeat(self):
        joins = self.epoch == 0
        body = {"GroupId": self.group, "MemberId": self.name, "MemberEpoch": self.epoch, "InstanceId": None, "RackId": None,
                "RebalanceTimeoutMs": 60000 if joins else -1, "SubscribedTopicNames": [self.topic] if joins else None,
                "SubscribedTopicRegex": None, "ServerAssignor": None,
                "TopicPartitions": [{"TopicId": t, "Partitions": sorted(p for u, p in self.owned if u == t)}
                                    for t in sorted({t for t, _ in self.owned})]}
        answer = self.connection.call("ConsumerGroupHeartbeat", 1, body)
        if answer["ErrorCode"] == 14 or answer["ErrorCode"] == 16:
            return
        assert answer["ErrorCode"] == 0, answer
        self.epoch = answer["MemberEpoch"]
        if answer["Assignment"] is not None:
            self.owned = {(t["TopicId"], p) for t in answer["Assignment"]["TopicPartitions"] for p in t["Partitions"]}

    def leave(self):
        body = {"GroupId": self.group, "MemberId": self.name, "MemberEpoch": -1, "InstanceId": None, "RackId": None,
                "RebalanceTimeoutMs": -1, "SubscribedTopicNames": None, "SubscribedTopicRegex": None,
                "ServerAssignor": None, "TopicPartitions": None}
        assert self.connection.call("ConsumerGroupHeartbeat", 1, body)["ErrorCode"] == 0


def settle(members, partitions):
    """Seconds and rounds until everybody has an even share of the same epoch."""
    started, rounds, sent = time.monotonic(), 0, 0
    low, high = partitions // len(members), -(-partitions // len(members))
    while time.monotonic() - started < 120:
        rounds += 1
        for member in members:
            member.heartbeat()
            sent += 1
        owned = [p for member in members for p in member.owned]
        assert len(owned) == len(set(owned)), "a partition is owned twice"
        if len(owned) == partitions and all(low <= len(m.owned) <= high for m in members) and len({m.epoch for m in members}) == 1:
            return {"seconds": round(time.monotonic() - started, 3), "rounds": rounds, "heartbeats": sent}
    raise AssertionError(f"not settled: {sorted(len(m.owned) for m in members)}")


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("kind", choices=["tidelog", "kafka"])
    p.add_argument("port", type=int)
    p.add_argument("directory")
    p.add_argument("--members", type=int, default=200)
    p.add_argument("--partitions", type=int, default=400)
    p.add_argument("--groups", type=int, default=10000)
    p.add_argument("--set", action="append", default=[])
    o = p.parse_args()
    os.makedirs(o.directory, exist_ok=True)
    settings = {"offsets.topic.num.partitions": "4", **dict(s.split("=", 1) for s in o.set)}
    broker = Broker(o.kind, o.port, os.path.join(o.directory, "data"), os.path.join(o.directory, "log"), settings)
    os.makedirs(broker.data, exist_ok=True)
    broker.start()

    def say(figure, **values):
        print(json.dumps({"broker": o.kind, "figure": figure, **values}), flush=True)

    try:
        wire.create_topic(broker.address, "shared", o.partitions)
        wire.create_topic(broker.address, "one", 1)
        connection = wire.connect(broker.address, 60)
        for _ in range(200):
            found = connection.call("FindCoordinator", 4, {"KeyType": 0, "CoordinatorKeys": ["big"]})["Coordinators"][0]
            if found["ErrorCode"] == 0:
                break
            time.sleep(0.1)
        first = Member(connection, "warm", "m", "one")
        while first.epoch == 0:
            first.heartbeat()
        members = [Member(connection, "big", f"member-{n:04}", "shared") for n in range(o.members)]
        say("all join", members=o.members, partitions=o.partitions, **settle(members, o.partitions))
        leaving = members[:o.members // 10]
        members = members[len(leaving):]
        for member in leaving:
            member.leave()
        say("a tenth leaves", members=len(members), partitions=o.partitions, **settle(members, o.partitions))
        back = [Member(connection, "big", f"again-{n:04}", "shared") for n in range(len(leaving))]
        members += back
        say("they come back", members=len(members), partitions=o.partitions, **settle(members, o.partitions))
        before = broker.resident_bytes()
        started = time.monotonic()
        lone = [Member(connection, f"group-{n:05}", "member-1", "one") for n in range(o.groups)]
        for member in lone:
            while member.epoch == 0:
                member.heartbeat()
        after = broker.resident_bytes()
        say("groups of one member", groups=o.groups, seconds=round(time.monotonic() - started, 3),
            bytes_each=(after - before) // o.groups if o.kind == "tidelog" else None)
    finally:
        broker.stop()


main()
