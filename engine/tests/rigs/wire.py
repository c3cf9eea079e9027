"""Requests by hand: the project's independent codec (../shared/golden/capture/kproto.py) with a few shortcuts."""
import os, sys

from disk import SHARED

os.environ.setdefault("KAFKA_SCHEMAS", os.path.join(SHARED, "kafka-schemas/message"))
sys.path.insert(0, os.path.join(SHARED, "golden/capture"))
from kproto import Closed, Conn, NoAnswer, batch, header, parse_batches, record   # noqa: E402,F401

__all__ = ["Closed", "Conn", "NoAnswer", "batch", "connect", "create_topic", "fetch", "header", "parse_batches",
           "produce", "record"]


def connect(address, timeout=10):
    host, port = address.split(":")
    return Conn(host, int(port), timeout)


def create_topic(address, name, partitions=1, **configs):
    c = connect(address, 30)
    topic = {"Name": name, "NumPartitions": partitions, "ReplicationFactor": 1,
             "Configs": [{"Name": k, "Value": v} for k, v in configs.items()]}
    answer = c.call("CreateTopics", 5, {"Topics": [topic], "timeoutMs": 20000})["Topics"][0]
    c.close()
    assert answer["ErrorCode"] in (0, 36), answer


def produce_body(topic, records, partition=0, acks=-1, timeout=5000):
    return {"TransactionalId": None, "Acks": acks, "TimeoutMs": timeout,
            "TopicData": [{"Name": topic, "PartitionData": [{"Index": partition, "Records": records}]}]}


def produce(c, topic, records, partition=0, acks=-1):
    """(error code, base offset) of one batch sent on connection `c`."""
    r = c.call("Produce", 7, produce_body(topic, records, partition, acks))["Responses"][0]["PartitionResponses"][0]
    return r["ErrorCode"], r["BaseOffset"]


def fetch(c, topic, offset, partition=0, wait=200, most=1 << 20):
    """(error code, record bytes) from `offset` on."""
    r = c.call("Fetch", 11, {"ReplicaId": -1, "MaxWaitMs": wait, "MinBytes": 1, "MaxBytes": most, "IsolationLevel": 0,
                             "SessionId": 0, "SessionEpoch": -1, "Topics": [{"Topic": topic, "Partitions": [
                                 {"Partition": partition, "CurrentLeaderEpoch": -1, "FetchOffset": offset,
                                  "LogStartOffset": -1, "PartitionMaxBytes": most}]}],
                             "ForgottenTopicsData": [], "RackId": ""})["Responses"][0]["Partitions"][0]
    return r["ErrorCode"], r["Records"] or b""
