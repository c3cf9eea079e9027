"""Administration over the wire: asks HOST:PORT what stands below and compares every answer, field by field, with the one
that Apache Kafka 4.3.1 gave to the same request (admin-answers.jsonl beside this file).

    admin_answers.py HOST:PORT              compares
    admin_answers.py HOST:PORT --record     writes the answers of a fresh Kafka (node 1, PLAINTEXT, no authorizer)

Ids, times, sizes and paths are replaced by words before they are compared. A difference that is meant stands in
DIFFERENT with its reason; nothing else may differ. The broker must be fresh, its num.partitions 4.
"""
import json, os, re, socket, sys

from disk import SHARED
from report import Report

HERE = os.path.dirname(os.path.abspath(__file__))
STORED = os.path.join(HERE, "admin-answers.jsonl")
os.environ.setdefault("KAFKA_SCHEMAS", os.path.join(SHARED, "kafka-schemas/message"))
sys.path.insert(0, os.path.join(SHARED, "golden/capture"))
import kproto       # noqa: E402

HOST, PORT = sys.argv[1].split(":")
NOBODY = "12345678-1234-1234-1234-123456789abc"
ZERO = "00000000-0000-0000-0000-000000000000"
TOPIC, BROKER, LOGGER, METRICS, GROUP = 2, 4, 8, 16, 32


def alter(kind, name, *configs, validate=False):
    """An AlterConfigs body; configs are (key, value)."""
    return {"Resources": [{"ResourceType": kind, "ResourceName": name,
                           "Configs": [{"Name": k, "Value": v} for k, v in configs]}], "ValidateOnly": validate}


def change(kind, name, *configs, validate=False):
    """An IncrementalAlterConfigs body; configs are (key, operation, value)."""
    return {"Resources": [{"ResourceType": kind, "ResourceName": name,
                           "Configs": [{"Name": k, "ConfigOperation": o, "Value": v} for k, o, v in configs]}],
            "ValidateOnly": validate}


def describe(kind, name, keys=None):
    return {"Resources": [{"ResourceType": kind, "ResourceName": name, "ConfigurationKeys": keys}],
            "IncludeSynonyms": True, "IncludeDocumentation": False}


def quota(entity, *ops, validate=False):
    return {"Entries": [{"Entity": [{"EntityType": t, "EntityName": n} for t, n in entity],
                         "Ops": [{"Key": k, "Value": v, "Remove": r} for k, v, r in ops]}], "ValidateOnly": validate}


def parts(*indexes, topic="aa-t"):
    return [{"Topic": topic, "Partitions": list(indexes)}]


def named(*indexes, topic="aa-t"):
    return [{"Name": topic, "PartitionIndexes": list(indexes)}]


def moves(replicas, index=0, topic="aa-t"):
    return [{"Name": topic, "Partitions": [{"PartitionIndex": index, "Replicas": replicas}]}]


SALT, KEY = b"salt", b"k" * 32


def scram(name, mechanism, iterations=4096, salt=SALT, key=KEY):
    return {"Name": name, "Mechanism": mechanism, "Iterations": iterations, "Salt": salt, "SaltedPassword": key}


def acl(**fields):
    return {"ResourceType": 2, "ResourceName": "x", "ResourcePatternType": 3, "Principal": "User:a", "Host": "*",
            "Operation": 3, "PermissionType": 3, **fields}


def acl_filter(**fields):
    names = {"ResourceType": "ResourceTypeFilter", "ResourceName": "ResourceNameFilter",
             "ResourcePatternType": "PatternTypeFilter", "Principal": "PrincipalFilter", "Host": "HostFilter"}
    return {names.get(k, k): v for k, v in acl(**fields).items()}


def cases(topic_id):
    """(case, api, version, body), in order: later cases may depend on earlier ones."""
    for version in (1, 2, 3, 4, 5):
        yield f"log dirs of a topic v{version}", "DescribeLogDirs", version, {"Topics": parts(0, 1)}
    yield "log dirs of an unknown topic", "DescribeLogDirs", 5, {"Topics": parts(0, topic="nope")}
    yield "log dirs of an unknown partition", "DescribeLogDirs", 5, {"Topics": parts(0, 99)}
    yield "log dirs of no topic", "DescribeLogDirs", 5, {"Topics": []}
    for version in (1, 2):
        yield f"move to an unknown directory v{version}", "AlterReplicaLogDirs", version, {
            "Dirs": [{"Path": "/nowhere", "Topics": [{"Name": "aa-t", "Partitions": [0, 1, 99]}]}]}
    yield "move to a relative directory", "AlterReplicaLogDirs", 2, {
        "Dirs": [{"Path": "nowhere", "Topics": [{"Name": "aa-t", "Partitions": [0]}]}]}
    yield "move of an unknown topic", "AlterReplicaLogDirs", 2, {
        "Dirs": [{"Path": "/nowhere", "Topics": [{"Name": "nope", "Partitions": [0]}]}]}

    for limit in (2000, 1, 0, -1, 3):
        yield f"topic partitions limit {limit}", "DescribeTopicPartitions", 0, {
            "Topics": [{"Name": "aa-u"}, {"Name": "aa-t"}], "ResponsePartitionLimit": limit}
    yield "topic partitions all", "DescribeTopicPartitions", 0, {"Topics": [], "ResponsePartitionLimit": 3}
    for cursor in (("aa-t", 2), ("aa-t", 4), ("aa-t", 99), ("aa-t", -1), ("aa-tt", 0), ("zz", 0), ("aa-s", 3)):
        yield f"topic partitions cursor {cursor}", "DescribeTopicPartitions", 0, {
            "Topics": [{"Name": "aa-u"}, {"Name": "aa-t"}], "Cursor": {"TopicName": cursor[0], "PartitionIndex": cursor[1]}}
        yield f"topic partitions all, cursor {cursor}", "DescribeTopicPartitions", 0, {
            "Topics": [], "Cursor": {"TopicName": cursor[0], "PartitionIndex": cursor[1]}}
    yield "topic partitions unknown and bad", "DescribeTopicPartitions", 0, {
        "Topics": [{"Name": n} for n in ("nope", "a b", "", "aa-t", "aa-t")]}

    for version in (0, 1, 2):
        kind = {} if version == 0 else {"ElectionType": 0}
        yield f"elect preferred v{version}", "ElectLeaders", version, {**kind, "TopicPartitions": parts(0, 1, 99), "TimeoutMs": 5000}
        yield f"elect everywhere v{version}", "ElectLeaders", version, {**kind, "TopicPartitions": None, "TimeoutMs": 5000}
        yield f"elect nowhere v{version}", "ElectLeaders", version, {**kind, "TopicPartitions": [], "TimeoutMs": 5000}
    yield "elect unclean", "ElectLeaders", 2, {"ElectionType": 1, "TopicPartitions": parts(0, 99), "TimeoutMs": 5000}
    yield "elect in an unknown topic", "ElectLeaders", 2, {"ElectionType": 0, "TopicPartitions": parts(0, topic="nope"), "TimeoutMs": 5000}
    yield "elect type 5", "ElectLeaders", 2, {"ElectionType": 5, "TopicPartitions": parts(0, 1), "TimeoutMs": 5000}
    yield "elect type 5 everywhere", "ElectLeaders", 2, {"ElectionType": 5, "TopicPartitions": None, "TimeoutMs": 5000}

    for version in (0, 1):
        yield f"reassign to where it is v{version}", "AlterPartitionReassignments", version, {"Topics": moves([1])}
        yield f"reassign to an unknown broker v{version}", "AlterPartitionReassignments", version, {"Topics": moves([99])}
    for case, replicas in (("to two", [1, 99]), ("to the same twice", [1, 1]), ("to nobody", []), ("to a negative", [-1]), ("cancel", None)):
        yield f"reassign {case}", "AlterPartitionReassignments", 1, {"Topics": moves(replicas)}
    yield "reassign an unknown partition", "AlterPartitionReassignments", 1, {"Topics": moves([1], 99)}
    yield "reassign in an unknown topic", "AlterPartitionReassignments", 1, {"Topics": moves([1], 0, "nope")}
    yield "cancel in an unknown topic", "AlterPartitionReassignments", 1, {"Topics": moves(None, 0, "nope")}
    yield "cancel an unknown partition", "AlterPartitionReassignments", 1, {"Topics": moves(None, 99)}
    yield "reassign without change of factor", "AlterPartitionReassignments", 1, {"Topics": moves([1, 99]), "AllowReplicationFactorChange": False}
    yield "reassign nothing", "AlterPartitionReassignments", 1, {"Topics": []}
    for topics in (None, [], named(0, 99), named(0, topic="nope")):
        yield f"reassignments of {topics}", "ListPartitionReassignments", 0, {"Topics": topics}

    meta = lambda *indexes, topic="__cluster_metadata": {"Topics": [{"TopicName": topic, "Partitions": [{"PartitionIndex": i} for i in indexes]}]}
    for version in (0, 1, 2):
        yield f"quorum v{version}", "DescribeQuorum", version, meta(0)
    yield "quorum of another partition", "DescribeQuorum", 2, meta(1)
    yield "quorum of two partitions", "DescribeQuorum", 2, meta(0, 1)
    yield "quorum of another topic", "DescribeQuorum", 2, meta(0, topic="aa-t")
    yield "quorum of nothing", "DescribeQuorum", 2, {"Topics": []}

    level = lambda name, to, kind=1: {"FeatureUpdates": [{"Feature": name, "MaxVersionLevel": to, "UpgradeType": kind}]}
    for version in (1, 2):
        yield f"feature kept v{version}", "UpdateFeatures", version, {**level("metadata.version", 30), "ValidateOnly": True}
        yield f"feature too high v{version}", "UpdateFeatures", version, level("metadata.version", 31)
        yield f"feature too low v{version}", "UpdateFeatures", version, level("metadata.version", 6)
        yield f"feature negative v{version}", "UpdateFeatures", version, level("metadata.version", -1)
        yield f"feature unknown v{version}", "UpdateFeatures", version, level("nope.version", 1)
        yield f"feature down v{version}", "UpdateFeatures", version, {**level("metadata.version", 29), "ValidateOnly": True}
        yield f"features none v{version}", "UpdateFeatures", version, {"FeatureUpdates": []}
    for kind in (0, 1, 2, 3, 4):
        yield f"feature up type {kind}", "UpdateFeatures", 2, {**level("eligible.leader.replicas.version", 1, kind), "ValidateOnly": True}
        yield f"feature down type {kind}", "UpdateFeatures", 2, {**level("eligible.leader.replicas.version", 0, kind), "ValidateOnly": True}
        yield f"metadata.version down type {kind}", "UpdateFeatures", 2, {**level("metadata.version", 29, kind), "ValidateOnly": True}
    yield "feature kept v0", "UpdateFeatures", 0, {"FeatureUpdates": [{"Feature": "metadata.version", "MaxVersionLevel": 30}]}
    yield "feature down v0", "UpdateFeatures", 0, {"FeatureUpdates": [{"Feature": "nope.version", "MaxVersionLevel": 0, "AllowDowngrade": True}]}

    yield "unregister another broker", "UnregisterBroker", 0, {"BrokerId": 77}
    yield "unregister a negative broker", "UnregisterBroker", 0, {"BrokerId": -1}
    yield "producers", "DescribeProducers", 0, {"Topics": named(0)}
    yield "producers of no such partition", "DescribeProducers", 0, {"Topics": named(99)}
    yield "producers of no such topic", "DescribeProducers", 0, {"Topics": named(0, topic="nope")}
    yield "producers of a bad topic", "DescribeProducers", 0, {"Topics": named(0, topic="a b")}
    yield "producers of nothing", "DescribeProducers", 0, {"Topics": []}
    for version in (0, 1, 2):
        yield f"transactions v{version}", "ListTransactions", version, {}
        yield f"transactions by state v{version}", "ListTransactions", version, {"StateFilters": ["Ongoing", "Nope", "Empty"]}
    yield "transactions bad pattern", "ListTransactions", 2, {"TransactionalIdPattern": "("}
    yield "transactions pattern", "ListTransactions", 2, {"TransactionalIdPattern": "a.*", "StateFilters": ["Nope"]}
    yield "transaction unknown", "DescribeTransactions", 0, {"TransactionalIds": ["nope", "", "nope"]}

    for version in (0, 1):
        yield f"quotas all v{version}", "DescribeClientQuotas", version, {"Components": []}
        yield f"quotas of users v{version}", "DescribeClientQuotas", version, {"Components": [{"EntityType": "user", "MatchType": 0, "Match": "x"}], "Strict": True}
    directory = LOG_DIRECTORY
    yield "move to where it is", "AlterReplicaLogDirs", 2, {
        "Dirs": [{"Path": directory, "Topics": [{"Name": "aa-t", "Partitions": [0, 99]}, {"Name": "nope", "Partitions": [0]}]}]}
    for case, components in (("unknown type", [("nope", 0, "x")]), ("twice", [("user", 0, "x"), ("user", 0, "y")]), ("match 3", [("user", 3, "x")]),
                             ("exact null", [("user", 0, None)]), ("default with a name", [("user", 1, "x")]), ("any with a name", [("user", 2, "x")]),
                             ("empty type", [("", 0, "x")]), ("ip", [("ip", 0, "1.2.3.4")]), ("ip and user", [("ip", 0, "1.2.3.4"), ("user", 0, "x")]),
                             ("default", [("client-id", 1, None)]), ("any", [("client-id", 2, None)])):
        yield f"quotas {case}", "DescribeClientQuotas", 1, {"Components": [{"EntityType": t, "MatchType": m, "Match": n} for t, m, n in components]}
    for case, entity, ops in (
            ("unknown type", [("nope", "x")], [("producer_byte_rate", 1.0, False)]),
            ("empty", [], [("producer_byte_rate", 1.0, False)]),
            ("empty type", [("", "x")], [("producer_byte_rate", 1.0, False)]),
            ("empty name", [("user", "")], [("producer_byte_rate", 1.0, False)]),
            ("twice", [("user", "x"), ("user", "y")], [("producer_byte_rate", 1.0, False)]),
            ("ip and user", [("ip", "1.2.3.4"), ("user", "x")], [("producer_byte_rate", 1.0, False)]),
            ("unknown key", [("user", "x")], [("nope", 1.0, False)]),
            ("ip with a user's key", [("ip", "1.2.3.4")], [("producer_byte_rate", 1.0, False)]),
            ("user with an ip's key", [("user", "x")], [("connection_creation_rate", 1.0, False)]),
            ("bad ip", [("ip", "no ip")], [("connection_creation_rate", 1.0, False)]),
            ("negative", [("user", "x")], [("producer_byte_rate", -1.0, False)]),
            ("zero", [("user", "x")], [("producer_byte_rate", 0.0, False)]),
            ("fraction", [("user", "x")], [("producer_byte_rate", 1.5, False)]),
            ("fraction of connections", [("ip", "1.2.3.4")], [("connection_creation_rate", 1.5, False)]),
            ("too large", [("user", "x")], [("producer_byte_rate", 1e300, False)]),
            ("key twice", [("user", "x")], [("nope", 1.0, False), ("nope", 2.0, False)]),
            ("removed", [("user", "x")], [("producer_byte_rate", 0.0, True)]),
            ("unknown removed", [("user", "x")], [("nope", 0.0, True)])):
        for version in (0, 1):
            yield f"alter quota {case} v{version}", "AlterClientQuotas", version, quota(entity, *ops)
    yield "alter quota without operations", "AlterClientQuotas", 1, quota([("user", "x")])
    yield "alter quota valid", "AlterClientQuotas", 1, quota([("user", "x")], ("producer_byte_rate", 1000.0, False), validate=True)

    yield "scram users", "DescribeUserScramCredentials", 0, {"Users": None}
    yield "scram users empty", "DescribeUserScramCredentials", 0, {"Users": []}
    yield "scram unknown user", "DescribeUserScramCredentials", 0, {"Users": [{"Name": "nope"}]}
    yield "scram empty user", "DescribeUserScramCredentials", 0, {"Users": [{"Name": ""}]}
    yield "scram user twice", "DescribeUserScramCredentials", 0, {"Users": [{"Name": "u"}, {"Name": "u"}, {"Name": "v"}]}
    for case, up in (("empty name", scram("", 1)), ("mechanism 0", scram("u", 0)), ("mechanism 9", scram("u", 9)), ("few iterations", scram("u", 1, 4095)),
                     ("many iterations", scram("u", 2, 16385)), ("empty salt", scram("u", 1, salt=b"")), ("empty password", scram("u", 1, key=b""))):
        yield f"scram set {case}", "AlterUserScramCredentials", 0, {"Deletions": [], "Upsertions": [up]}
    yield "scram delete unknown", "AlterUserScramCredentials", 0, {"Deletions": [{"Name": "u", "Mechanism": 1}], "Upsertions": []}
    yield "scram delete unknown mechanism", "AlterUserScramCredentials", 0, {"Deletions": [{"Name": "u", "Mechanism": 7}], "Upsertions": []}
    yield "scram delete empty name", "AlterUserScramCredentials", 0, {"Deletions": [{"Name": "", "Mechanism": 1}], "Upsertions": []}
    yield "scram set and delete", "AlterUserScramCredentials", 0, {"Deletions": [{"Name": "u", "Mechanism": 1}], "Upsertions": [scram("u", 1)]}
    yield "scram set twice", "AlterUserScramCredentials", 0, {"Deletions": [], "Upsertions": [scram("u", 1), scram("u", 1)]}
    yield "scram set", "AlterUserScramCredentials", 0, {"Deletions": [], "Upsertions": [scram("u", 1), scram("u", 2, 8192), scram("v", 1)]}
    yield "scram set, some bad", "AlterUserScramCredentials", 0, {"Deletions": [{"Name": "w", "Mechanism": 1}], "Upsertions": [scram("x", 1, 1), scram("y", 1)]}
    yield "scram users set", "DescribeUserScramCredentials", 0, {"Users": None}
    yield "scram users by name", "DescribeUserScramCredentials", 0, {"Users": [{"Name": "v"}, {"Name": "u"}, {"Name": "nope"}]}
    yield "scram delete", "AlterUserScramCredentials", 0, {"Deletions": [{"Name": "u", "Mechanism": 1}, {"Name": "v", "Mechanism": 1}], "Upsertions": []}
    yield "scram users left", "DescribeUserScramCredentials", 0, {"Users": None}

    for version in (1, 2, 3):
        yield f"acls v{version}", "DescribeAcls", version, acl_filter()
        yield f"acl create v{version}", "CreateAcls", version, {"Creations": [acl(), acl()]}
        yield f"acl delete v{version}", "DeleteAcls", version, {"Filters": [acl_filter(), acl_filter()]}
    yield "acls of any", "DescribeAcls", 3, acl_filter(ResourceType=1, ResourceName=None, ResourcePatternType=1, Principal=None, Host=None, Operation=1, PermissionType=1)
    for field, bad in (("ResourceType", (0, 1, 99)), ("ResourcePatternType", (0, 1, 2, 99)), ("Operation", (0, 1, 99)), ("PermissionType", (0, 1, 99)), ("Principal", ("", "bob")), ("ResourceName", ("",))):
        for value in bad:
            yield f"acl create {field} {value!r}", "CreateAcls", 3, {"Creations": [acl(**{field: value})]}
            yield f"acls {field} {value!r}", "DescribeAcls", 3, acl_filter(**{field: value})
            yield f"acl delete {field} {value!r}", "DeleteAcls", 3, {"Filters": [acl_filter(**{field: value})]}
    for pattern in (0, 1, 2, 3, 4):
        yield f"acls v1 pattern {pattern}", "DescribeAcls", 1, acl_filter(ResourcePatternType=pattern)
    yield "acl create none", "CreateAcls", 3, {"Creations": []}
    yield "acl delete none", "DeleteAcls", 3, {"Filters": []}

    for version in (1, 2, 3):
        yield f"tokens v{version}", "DescribeDelegationToken", version, {"Owners": None}
        yield f"token create v{version}", "CreateDelegationToken", version, {"Renewers": [], "MaxLifetimeMs": 1000}
    for version in (1, 2):
        yield f"token renew v{version}", "RenewDelegationToken", version, {"Hmac": b"x", "RenewPeriodMs": 1}
        yield f"token expire v{version}", "ExpireDelegationToken", version, {"Hmac": b"x", "ExpiryTimePeriodMs": 1}
    yield "token of an owner for another", "CreateDelegationToken", 3, {"OwnerPrincipalType": "User", "OwnerPrincipalName": "bob", "Renewers": [{"PrincipalType": "Nope", "PrincipalName": "x"}], "MaxLifetimeMs": 1000}
    for version in (0, 1):
        yield f"sasl handshake v{version}", "SaslHandshake", version, {"Mechanism": "PLAIN"}
    for version in (0, 1, 2):
        yield f"sasl authenticate v{version}", "SaslAuthenticate", version, {"AuthBytes": b"x"}
    for version in (0, 1, 2):
        kind = {} if version == 0 else {"EndpointType": 1}
        yield f"cluster v{version}", "DescribeCluster", version, {"IncludeClusterAuthorizedOperations": True, **kind}
    yield "cluster endpoint 2", "DescribeCluster", 1, {"EndpointType": 2}
    yield "cluster endpoint 9", "DescribeCluster", 1, {"EndpointType": 9}
    yield "cluster fenced", "DescribeCluster", 2, {"EndpointType": 1, "IncludeFencedBrokers": True}
    yield from config_cases()
    yield from metadata_cases(topic_id)


def config_cases():
    for version in (0, 1, 2):
        yield f"alter topic v{version}", "AlterConfigs", version, alter(TOPIC, "aa-t", ("retention.ms", "100000"))
    yield "alter topic, seen", "DescribeConfigs", 4, describe(TOPIC, "aa-t", ["retention.ms", "max.message.bytes"])
    yield "alter topic replaces", "AlterConfigs", 2, alter(TOPIC, "aa-t", ("max.message.bytes", "20000"))
    yield "alter topic replaced, seen", "DescribeConfigs", 4, describe(TOPIC, "aa-t", ["retention.ms", "max.message.bytes"])
    yield "alter topic only validated", "AlterConfigs", 2, alter(TOPIC, "aa-t", ("retention.ms", "1"), validate=True)
    for case, configs in (("unknown key", [("nope", "1")]), ("bad value", [("retention.ms", "x")]), ("null", [("retention.ms", None)]), ("nothing", []), ("key twice", [("retention.ms", "1"), ("retention.ms", "2")])):
        yield f"alter topic {case}", "AlterConfigs", 2, alter(TOPIC, "aa-t", *configs)
    yield "alter topic emptied, seen", "DescribeConfigs", 4, describe(TOPIC, "aa-t", ["retention.ms", "max.message.bytes"])
    yield "alter unknown topic", "AlterConfigs", 2, alter(TOPIC, "nope", ("retention.ms", "1"))
    yield "alter bad topic", "AlterConfigs", 2, alter(TOPIC, "a b", ("retention.ms", "1"))
    yield "alter topic twice", "AlterConfigs", 2, {"Resources": alter(TOPIC, "aa-t")["Resources"] * 2}
    for name in ("1", ""):
        yield f"alter broker {name!r}", "AlterConfigs", 2, alter(BROKER, name, ("log.cleaner.backoff.ms", "14000"))
        yield f"alter broker {name!r}, seen", "DescribeConfigs", 4, describe(BROKER, name, ["log.cleaner.backoff.ms"])
        yield f"alter broker {name!r} bad value", "AlterConfigs", 2, alter(BROKER, name, ("log.cleaner.backoff.ms", "x"))
        yield f"alter broker {name!r} read-only", "AlterConfigs", 2, alter(BROKER, name, ("broker.rack", "x"))
        yield f"alter broker {name!r} to nothing", "AlterConfigs", 2, alter(BROKER, name)
        yield f"alter broker {name!r} to nothing, seen", "DescribeConfigs", 4, describe(BROKER, name, ["log.cleaner.backoff.ms"])
        yield f"change broker {name!r}", "IncrementalAlterConfigs", 1, change(BROKER, name, ("log.cleaner.backoff.ms", 0, "14000"))
        yield f"change broker {name!r} read-only", "IncrementalAlterConfigs", 1, change(BROKER, name, ("broker.rack", 0, "x"))
        yield f"change broker {name!r} back", "IncrementalAlterConfigs", 1, change(BROKER, name, ("log.cleaner.backoff.ms", 1, None))
        yield f"change broker {name!r} null", "IncrementalAlterConfigs", 1, change(BROKER, name, ("log.cleaner.backoff.ms", 0, None))
    for name in ("2", "x", " 1"):
        yield f"alter broker {name!r}", "AlterConfigs", 2, alter(BROKER, name, ("log.cleaner.backoff.ms", "14000"))
        yield f"change broker {name!r}", "IncrementalAlterConfigs", 1, change(BROKER, name, ("log.cleaner.backoff.ms", 0, "14000"))
        yield f"describe broker {name!r}", "DescribeConfigs", 4, describe(BROKER, name, ["log.cleaner.backoff.ms"])
    for kind in (0, 1, 3, 99):
        yield f"alter type {kind}", "AlterConfigs", 2, alter(kind, "x", ("a", "b"))
        yield f"change type {kind}", "IncrementalAlterConfigs", 1, change(kind, "x", ("a", 0, "b"))
        yield f"describe type {kind}", "DescribeConfigs", 4, describe(kind, "x")
    for case, configs in (("append", [("cleanup.policy", 2, "compact")]), ("append again", [("cleanup.policy", 2, "compact")]), ("subtract", [("cleanup.policy", 3, "delete")]),
                          ("append to a number", [("retention.ms", 2, "1")]), ("subtract from a number", [("retention.ms", 3, "1")]), ("unset", [("cleanup.policy", 1, None), ("nope", 1, None)]),
                          ("operation 9", [("retention.ms", 9, "1")]), ("unknown", [("nope", 0, "1")]), ("null", [("retention.ms", 0, None)]), ("delete with a value", [("retention.ms", 1, "1")]),
                          ("key twice", [("retention.ms", 0, "1"), ("retention.ms", 1, None)]), ("nothing", []), ("list with blanks", [("cleanup.policy", 0, "delete, compact")])):
        yield f"change topic {case}", "IncrementalAlterConfigs", 1, change(TOPIC, "aa-t", *configs)
        yield f"change topic {case}, seen", "DescribeConfigs", 4, describe(TOPIC, "aa-t", ["cleanup.policy", "retention.ms"])
    yield "change topic back", "IncrementalAlterConfigs", 0, change(TOPIC, "aa-t", ("cleanup.policy", 1, None))
    yield "change unknown topic", "IncrementalAlterConfigs", 1, change(TOPIC, "nope", ("retention.ms", 0, "1"))

    yield "group described", "DescribeConfigs", 4, describe(GROUP, "aa-g", ["consumer.session.timeout.ms", "nope"])
    yield "group changed", "IncrementalAlterConfigs", 1, change(GROUP, "aa-g", ("consumer.session.timeout.ms", 0, "50000"))
    yield "group changed, seen", "DescribeConfigs", 4, describe(GROUP, "aa-g", ["consumer.session.timeout.ms", "consumer.heartbeat.interval.ms"])
    for case, configs in (("unknown", [("nope", 0, "1")]), ("too low", [("consumer.session.timeout.ms", 0, "1")]), ("no number", [("consumer.session.timeout.ms", 0, "x")]),
                          ("append", [("consumer.session.timeout.ms", 2, "1")]), ("unset", [("nope", 1, None)])):
        yield f"group changed {case}", "IncrementalAlterConfigs", 1, change(GROUP, "aa-g", *configs)
    yield "group without a name", "IncrementalAlterConfigs", 1, change(GROUP, "", ("consumer.session.timeout.ms", 0, "50000"))
    yield "group without a name described", "DescribeConfigs", 4, describe(GROUP, "")
    yield "groups listed", "ListConfigResources", 1, {"ResourceTypes": [GROUP]}
    yield "group altered", "AlterConfigs", 2, alter(GROUP, "aa-g", ("consumer.heartbeat.interval.ms", "6000"))
    yield "group altered, seen", "DescribeConfigs", 4, describe(GROUP, "aa-g", ["consumer.session.timeout.ms", "consumer.heartbeat.interval.ms"])
    yield "group emptied", "AlterConfigs", 2, alter(GROUP, "aa-g")
    yield "groups listed when emptied", "ListConfigResources", 1, {"ResourceTypes": [GROUP]}

    yield "metrics described", "DescribeConfigs", 4, describe(METRICS, "aa-m")
    yield "metrics changed", "IncrementalAlterConfigs", 1, change(METRICS, "aa-m", ("metrics", 0, "a.,b."), ("interval.ms", 0, "30000"), ("match", 0, "client_id=a.*"))
    yield "metrics changed, seen", "DescribeConfigs", 4, describe(METRICS, "aa-m")
    for case, configs in (("unknown", [("nope", 0, "1")]), ("interval", [("interval.ms", 0, "1")]), ("interval not a number", [("interval.ms", 0, "x")]), ("match", [("match", 0, "nope=1")]),
                          ("append", [("metrics", 2, "c.")]), ("subtract", [("metrics", 3, "a.")])):
        yield f"metrics changed {case}", "IncrementalAlterConfigs", 1, change(METRICS, "aa-m", *configs)
    yield "metrics changed again, seen", "DescribeConfigs", 4, describe(METRICS, "aa-m")
    yield "metrics without a name", "IncrementalAlterConfigs", 1, change(METRICS, "", ("interval.ms", 0, "30000"))
    yield "metrics without a name described", "DescribeConfigs", 4, describe(METRICS, "")
    yield "metrics listed v0", "ListConfigResources", 0, {}
    yield "metrics listed", "ListConfigResources", 1, {"ResourceTypes": [METRICS]}
    for types in ([], [TOPIC], [BROKER], [LOGGER], [GROUP, METRICS], [99], [0], [METRICS, METRICS]):
        yield f"resources {types}", "ListConfigResources", 1, {"ResourceTypes": types}
    yield "metrics unset", "IncrementalAlterConfigs", 1, change(METRICS, "aa-m", ("metrics", 1, None), ("interval.ms", 1, None), ("match", 1, None))
    yield "metrics listed when unset", "ListConfigResources", 0, {}

    for name in ("", "2", "x"):
        yield f"loggers of {name!r}", "DescribeConfigs", 4, describe(LOGGER, name)
        yield f"loggers changed of {name!r}", "IncrementalAlterConfigs", 1, change(LOGGER, name, ("root", 0, "INFO"))
    yield "loggers none described", "DescribeConfigs", 4, describe(LOGGER, "1", ["nope"])
    yield "logger root", "DescribeConfigs", 4, describe(LOGGER, "1", ["root"])
    for case, configs in (("unknown", [("nope", 0, "INFO")]), ("bad level", [("root", 0, "LOUD")]), ("null", [("root", 0, None)]), ("append", [("root", 2, "INFO")]), ("subtract", [("root", 3, "INFO")]),
                          ("delete root", [("root", 1, None)]), ("delete unknown", [("nope", 1, None)]), ("lower case", [("root", 0, "info")]), ("off", [("root", 0, "OFF")])):
        yield f"logger changed {case}", "IncrementalAlterConfigs", 1, change(LOGGER, "1", *configs, validate=True)
    yield "logger set", "IncrementalAlterConfigs", 1, change(LOGGER, "1", ("root", 0, "WARN"))
    yield "logger set, seen", "DescribeConfigs", 4, describe(LOGGER, "1", ["root"])
    yield "logger set back", "IncrementalAlterConfigs", 1, change(LOGGER, "1", ("root", 0, "INFO"))
    yield "loggers altered", "AlterConfigs", 2, alter(LOGGER, "1", ("root", "INFO"))


def metadata_cases(topic_id):
    topics = lambda *list: [{"Name": n, "TopicId": i} for n, i in list]
    for version in range(9, 14):
        fields = {"AllowAutoTopicCreation": False}
        yield f"metadata by name v{version}", "Metadata", version, {"Topics": [{"Name": "aa-t"}], **fields}
        yield f"metadata unknown v{version}", "Metadata", version, {"Topics": [{"Name": "nope"}, {"Name": "a b"}], **fields}
    for version in (10, 11, 12, 13):
        for case, wanted in (("id", (None, topic_id)), ("unknown id", (None, NOBODY)), ("zero id", (None, ZERO)), ("both", ("aa-t", topic_id)), ("other name", ("aa-u", topic_id))):
            yield f"metadata {case} v{version}", "Metadata", version, {"Topics": topics(wanted), "AllowAutoTopicCreation": False}
    yield "metadata ids and names", "Metadata", 12, {"Topics": topics((None, topic_id), ("aa-u", ZERO)), "AllowAutoTopicCreation": False}
    yield "metadata id twice", "Metadata", 12, {"Topics": topics((None, topic_id), (None, topic_id)), "AllowAutoTopicCreation": False}
    yield "metadata known and unknown ids", "Metadata", 12, {"Topics": topics((None, topic_id), (None, NOBODY)), "AllowAutoTopicCreation": False}


# Case (regular expression) -> why the answer differs, and what of it must still be equal: "all but FIELD ...".
DIFFERENT = {
    "quorum v2": "the controller answers on the listeners that clients use; there is none of its own",
    "transaction unknown": "Kafka's coordinator is not there before the first transaction; ours never knows any",
    r"alter quota (twice v\d|valid)": "quotas are not enforced, so none is accepted",
    "alter topic twice": "Kafka never answers (its bug)",
    "logger root": "the level in force when the broker starts",
}


ORDERED = False


def scrubbed(value, key=""):
    """The answer with what differs from run to run replaced by a word."""
    if isinstance(value, dict):
        return {k: scrubbed(v, k) for k, v in value.items() if k != "ThrottleTimeMs"}
    if isinstance(value, list):
        values = [scrubbed(v, key) for v in value]
        # Kafka goes through Java maps here; only pages and configurations have an order of their own.
        if key not in ("Configs", "Synonyms") and "Cursor" not in key and not ORDERED:
            values.sort(key=lambda v: json.dumps(v, sort_keys=True))
        return values
    if isinstance(value, bytes):
        return value.hex()
    words = {"ClusterId": "CLUSTER", "TotalBytes": "BYTES", "UsableBytes": "BYTES", "LogDir": "DIRECTORY", "Port": "PORT", "PartitionSize": "BYTES",
             "HighWatermark": "OFFSET", "LogEndOffset": "OFFSET", "LastFetchTimestamp": "TIME", "LastCaughtUpTimestamp": "TIME",
             "ReplicaDirectoryId": "ID", "LastTimestamp": "TIME", "LeaderEpoch": "EPOCH", "ProducerId": "PRODUCER"}
    if key in words and value not in (-1, None):
        return words[key]
    if key == "TopicId" and value not in (ZERO, NOBODY):
        return "ID"
    return value


LOG_DIRECTORY = ""


def make_topics(c):
    global LOG_DIRECTORY
    LOG_DIRECTORY = c.call("DescribeLogDirs", 4, {"Topics": []})["Results"][0]["LogDir"]
    for name in ("aa-t", "aa-u"):
        c.call("CreateTopics", 7, {"Topics": [{"Name": name, "NumPartitions": 4 if name == "aa-t" else 1, "ReplicationFactor": 1}], "timeoutMs": 9000})
    producer = c.call("InitProducerId", 4, {"TransactionalId": None, "TransactionTimeoutMs": 60000})
    while producer["ErrorCode"] == 14:
        producer = c.call("InitProducerId", 4, {"TransactionalId": None, "TransactionTimeoutMs": 60000})
    batch = kproto.batch([(b"k", b"v"), (b"k", b"w")], pid=producer["ProducerId"], epoch=producer["ProducerEpoch"], seq=0)
    c.call("Produce", 9, {"Acks": -1, "TimeoutMs": 9000, "TopicData": [{"Name": "aa-t", "PartitionData": [{"Index": 0, "Records": batch}]}]})
    topics = c.call("CreateTopics", 7, {"Topics": [{"Name": "aa-id", "NumPartitions": 1, "ReplicationFactor": 1}], "timeoutMs": 9000})["Topics"]
    return topics[0]["TopicId"]


def ask_all():
    c = kproto.Conn(HOST, int(PORT), 15)
    topic_id = make_topics(c)
    import time
    time.sleep(0.5)                          # real Kafka's brokers follow their controller a little later
    for case, api, version, body in cases(topic_id):
        if "seen" in case or "listed" in case:
            time.sleep(float(os.environ.get("PAUSE", "0")))
        global ORDERED
        ORDERED = api == "DescribeTopicPartitions"
        try:
            answer = scrubbed(c.call(api, version, body))
        except (kproto.Closed, kproto.NoAnswer, OSError) as e:
            answer = "connection closed" if isinstance(e, (kproto.Closed, OSError)) else "no answer"
            c.close()
            c = kproto.Conn(HOST, int(PORT), 15)
        yield {"case": case, "api": api, "version": version, "answer": answer}


def first_difference(want, got, path=""):
    if isinstance(want, dict) and isinstance(got, dict):
        for key in sorted(want.keys() | got.keys()):
            if (found := first_difference(want.get(key), got.get(key), f"{path}.{key}")):
                return found
        return None
    if isinstance(want, list) and isinstance(got, list) and len(want) == len(got):
        for i, (w, g) in enumerate(zip(want, got)):
            if (found := first_difference(w, g, f"{path}[{i}]")):
                return found
        return None
    return None if want == got else f"{path[1:]}: Kafka {json.dumps(want)[:160]}, here {json.dumps(got)[:160]}"


def main():
    if "--record" in sys.argv:
        with open(STORED, "w") as f:
            for line in ask_all():
                f.write(json.dumps(line) + "\n")
        return
    report = Report("admin-answers")
    with open(STORED) as f:
        stored = [json.loads(line) for line in f]
    argued = set()
    for want, got in zip(stored, ask_all(), strict=True):
        assert want["case"] == got["case"], (want["case"], got["case"])
        difference = first_difference(want["answer"], got["answer"])
        why = next((w for w in DIFFERENT if re.fullmatch(w, want["case"])), None)
        if difference and why:
            argued.add(why)
        elif difference:
            report.fail(f"{want['api']} v{want['version']}: {want['case']}", difference)
        else:
            report.passed += 1
    print(f"  {report.passed} of {len(stored)} as Kafka")
    for unused in DIFFERENT.keys() - argued:
        report.fail("DIFFERENT", f"{unused!r} does not differ any more")
    report.close()


main()
