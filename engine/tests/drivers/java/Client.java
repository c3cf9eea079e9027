import java.time.Duration;
import java.util.*;
import java.util.concurrent.*;
import org.apache.kafka.clients.admin.*;
import org.apache.kafka.clients.consumer.*;
import org.apache.kafka.clients.producer.*;
import org.apache.kafka.common.*;
import org.apache.kafka.common.config.ConfigResource;
import org.apache.kafka.common.errors.*;
import org.apache.kafka.common.serialization.*;

/** The Java client (kafka-clients 4.3.1) against HOST:PORT. Run as a single source file. */
public class Client {
    interface Check { void run() throws Exception; }

    static final String TOPIC = "java-" + System.currentTimeMillis();
    /** Time of every topic's first record: recent enough for retention, in whole seconds. */
    static final long START = System.currentTimeMillis() / 1000 * 1000 - 3600000;
    static String address;
    static int passed, failed;

    static void run(String name, Check check) {
        try {
            check.run();
            passed++;
            System.out.println("ok " + name);
        } catch (Throwable e) {
            failed++;
            Throwable cause = e instanceof ExecutionException ? e.getCause() : e;
            System.out.println("FAIL " + name + " " + String.valueOf(cause).replaceAll("\\s+", " "));
        }
    }

    static void equal(Object got, Object want) {
        if (!Objects.equals(got, want)) throw new AssertionError(got + " instead of " + want);
    }

    static <T> T get(KafkaFuture<T> future) throws Exception { return future.get(30, TimeUnit.SECONDS); }

    /** Kafka applies changes to its metadata a little after the answer. */
    static void until(Callable<Boolean> holds) throws Exception {
        Exception last = null;
        for (int n = 0; n < 50; n++) {
            try {
                if (holds.call()) return;
            } catch (Exception e) { last = e; }
            Thread.sleep(200);
        }
        throw new AssertionError("did not become true, " + last);
    }

    static List<RecordMetadata> produce(String topic, int count, String... config) throws Exception {
        Properties p = new Properties();
        p.put("bootstrap.servers", address);
        p.put("delivery.timeout.ms", "30000");
        p.put("request.timeout.ms", "20000");
        p.put("linger.ms", "5");
        for (int i = 0; i < config.length; i += 2) p.put(config[i], config[i + 1]);
        List<Future<RecordMetadata>> sent = new ArrayList<>();
        List<RecordMetadata> out = new ArrayList<>();
        try (var producer = new KafkaProducer<>(p, new StringSerializer(), new StringSerializer())) {
            for (int n = 0; n < count; n++) {
                var record = new ProducerRecord<>(topic, 0, START + n * 1000L, "k" + n, "v" + n);
                record.headers().add("h", new byte[] {1});
                sent.add(producer.send(record));
            }
            for (var future : sent) out.add(future.get(40, TimeUnit.SECONDS));
        }
        return out;
    }

    static KafkaConsumer<String, String> consumer(String... config) {
        Properties p = new Properties();
        p.put("bootstrap.servers", address);
        p.put("enable.auto.commit", "false");
        p.put("auto.offset.reset", "none");
        for (int i = 0; i < config.length; i += 2) p.put(config[i], config[i + 1]);
        return new KafkaConsumer<>(p, new StringDeserializer(), new StringDeserializer());
    }

    static List<ConsumerRecord<String, String>> read(KafkaConsumer<String, String> c, int count) {
        List<ConsumerRecord<String, String>> out = new ArrayList<>();
        for (long end = System.currentTimeMillis() + 20000; out.size() < count && System.currentTimeMillis() < end;)
            c.poll(Duration.ofMillis(500)).forEach(out::add);
        if (out.size() < count) throw new AssertionError(out.size() + " of " + count + " records");
        return out;
    }

    static void codec(String name) throws Exception {
        String topic = TOPIC + "-" + name;
        var sent = produce(topic, 200, "compression.type", name);
        for (int n = 0; n < 200; n++) equal(sent.get(n).offset(), (long) n);
        try (var c = consumer()) {
            var tp = new TopicPartition(topic, 0);
            c.assign(List.of(tp));
            c.seekToBeginning(List.of(tp));
            var got = read(c, 200);
            for (int n = 0; n < 200; n++) {
                equal(got.get(n).key() + got.get(n).value(), "k" + n + "v" + n);
                equal(got.get(n).timestamp(), START + n * 1000L);
                equal(got.get(n).headers().toArray().length, 1);
            }
        }
    }

    static void consumerChecks() {
        var tp = new TopicPartition(TOPIC + "-lz4", 0);
        run("seek", () -> {
            try (var c = consumer()) {
                c.assign(List.of(tp));
                c.seek(tp, 150);
                equal(read(c, 50).get(0).offset(), 150L);
                c.seek(tp, 7);
                equal(read(c, 1).get(0).offset(), 7L);
                equal(c.position(tp) > 7, true);
            }
        });
        run("offsets", () -> {
            try (var c = consumer()) {
                equal(c.beginningOffsets(List.of(tp)), Map.of(tp, 0L));
                equal(c.endOffsets(List.of(tp)), Map.of(tp, 200L));
                equal(c.offsetsForTimes(Map.of(tp, START + 33000L)).get(tp).offset(), 33L);
                equal(c.offsetsForTimes(Map.of(tp, 4102444800000L)).get(tp), null);
                equal(c.partitionsFor(TOPIC).size(), 2);
                equal(c.listTopics().containsKey(TOPIC), true);
            }
        });
        run("read-committed", () -> {
            try (var c = consumer("isolation.level", "read_committed")) {
                c.assign(List.of(tp));
                c.seek(tp, 0);
                equal(read(c, 200).size(), 200);
            }
        });
        run("small-fetches", () -> {
            try (var c = consumer("max.partition.fetch.bytes", "100", "fetch.max.bytes", "100", "max.poll.records", "3")) {
                c.assign(List.of(tp));
                c.seek(tp, 0);
                equal(read(c, 200).get(199).offset(), 199L);
            }
        });
        run("out-of-range", () -> {
            try (var c = consumer()) {
                c.assign(List.of(tp));
                c.seek(tp, 5000);
                read(c, 1);
                throw new AssertionError("no error");
            } catch (org.apache.kafka.clients.consumer.OffsetOutOfRangeException e) { /* as it must be */ }
        });
    }

    static KafkaConsumer<String, String> member(String group, String topic, String... config) {
        String[] all = Arrays.copyOf(config, config.length + 8);
        System.arraycopy(new String[] {"group.id", group, "auto.offset.reset", "earliest", "session.timeout.ms", "6000", "heartbeat.interval.ms", "500"}, 0, all, config.length, 8);
        var c = consumer(all);
        c.subscribe(List.of(topic));
        return c;
    }

    static void waitFor(Callable<Boolean> holds, List<KafkaConsumer<String, String>> members) throws Exception {
        for (long end = System.currentTimeMillis() + 40000; !holds.call();) {
            if (System.currentTimeMillis() > end) throw new AssertionError("did not become true");
            for (var c : members) c.poll(Duration.ofMillis(100));
        }
    }

    static void groupChecks(Admin admin) {
        for (String assignor : List.of("Range", "RoundRobin", "Sticky", "CooperativeSticky")) run("group-" + assignor, () -> {
            String topic = TOPIC + "-" + assignor, group = topic + "-g";
            String[] how = {"partition.assignment.strategy", "org.apache.kafka.clients.consumer." + assignor + "Assignor"};
            get(admin.createTopics(List.of(new NewTopic(topic, 4, (short) 1))).all());
            try (var producer = new KafkaProducer<>(Map.of("bootstrap.servers", (Object) address), new StringSerializer(), new StringSerializer())) {
                for (int n = 0; n < 80; n++) producer.send(new ProducerRecord<>(topic, n % 4, "k" + n, "v" + n));
            }
            try (var first = member(group, topic, how)) {
                equal(read(first, 80).stream().map(ConsumerRecord::value).distinct().count(), 80L);
                first.commitSync();
                try (var second = member(group, topic, how)) {
                    waitFor(() -> first.assignment().size() == 2 && second.assignment().size() == 2, List.of(first, second));
                    var both = new HashSet<>(first.assignment());
                    both.addAll(second.assignment());
                    equal(both.size(), 4);
                }
                waitFor(() -> first.assignment().size() == 4, List.of(first));
            }
            try (var again = member(group, topic, how)) {
                waitFor(() -> again.assignment().size() == 4, List.of(again));
                equal(again.poll(Duration.ofSeconds(1)).count(), 0);
                equal(again.committed(Set.of(new TopicPartition(topic, 2))).get(new TopicPartition(topic, 2)).offset(), 20L);
            }
        });
        run("group-consumer-protocol", () -> {
            String topic = TOPIC + "-modern", group = topic + "-g";
            String[] how = {"group.id", group, "group.protocol", "consumer", "auto.offset.reset", "earliest"};
            get(admin.createTopics(List.of(new NewTopic(topic, 4, (short) 1))).all());
            produce(topic, 20);
            try (var first = consumer(how); var second = consumer(how)) {
                first.subscribe(List.of(topic));
                equal(read(first, 20).stream().map(ConsumerRecord::value).distinct().count(), 20L);
                first.commitSync();
                // The server resolves the pattern.
                second.subscribe(new SubscriptionPattern(topic + ".*"));
                waitFor(() -> first.assignment().size() == 2 && second.assignment().size() == 2, List.of(first, second));
                var both = new HashSet<>(first.assignment());
                both.addAll(second.assignment());
                equal(both.size(), 4);
                var found = get(admin.describeConsumerGroups(List.of(group)).all()).get(group);
                equal(found.type() + " " + found.groupState() + " " + found.members().size(), "Consumer Stable 2");
                // A member of the classic protocol joins the same group.
                try (var classic = member(group, topic, "partition.assignment.strategy", CooperativeStickyAssignor.class.getName())) {
                    waitFor(() -> classic.assignment().size() == 1, List.of(first, second, classic));
                }
                waitFor(() -> first.assignment().size() + second.assignment().size() == 4, List.of(first, second));
            }
            equal(get(admin.listConsumerGroupOffsets(group).partitionsToOffsetAndMetadata()).get(new TopicPartition(topic, 0)).offset(), 20L);
            equal(get(admin.listGroups(new ListGroupsOptions().withTypes(Set.of(GroupType.CONSUMER))).all()).stream().anyMatch(g -> g.groupId().equals(group)), true);
            get(admin.deleteConsumerGroups(List.of(group)).all());
        });
        run("group-static-member", () -> {
            String topic = TOPIC + "-Range", group = TOPIC + "-static";
            String[] how = {"group.instance.id", "one"};
            try (var c = member(group, topic, how)) { waitFor(() -> c.assignment().size() == 4, List.of(c)); }
            equal(get(admin.describeClassicGroups(List.of(group)).all()).get(group).members().size(), 1);
            try (var c = member(group, topic, how)) {
                waitFor(() -> c.assignment().size() == 4, List.of(c));
                var gone = new RemoveMembersFromConsumerGroupOptions(List.of(new MemberToRemove("one")));
                get(admin.removeMembersFromConsumerGroup(group, gone).all());
                equal(get(admin.describeClassicGroups(List.of(group)).all()).get(group).members().size(), 0);
            }
        });
        run("group-admin", () -> {
            String topic = TOPIC + "-Range", group = topic + "-g";
            var tp = new TopicPartition(topic, 1);
            equal(get(admin.listGroups(ListGroupsOptions.forConsumerGroups()).all()).stream().anyMatch(g -> g.groupId().equals(group)), true);
            var classic = new ListGroupsOptions().withTypes(Set.of(GroupType.CLASSIC)).inGroupStates(Set.of(GroupState.EMPTY));
            equal(get(admin.listGroups(classic).all()).stream().anyMatch(g -> g.groupId().equals(group)), true);
            var stable = new ListGroupsOptions().inGroupStates(Set.of(GroupState.STABLE));
            equal(get(admin.listGroups(stable).all()).stream().anyMatch(g -> g.groupId().equals(group)), false);
            equal(get(admin.describeConsumerGroups(List.of(group)).all()).get(group).groupState(), GroupState.EMPTY);
            equal(get(admin.listConsumerGroupOffsets(group).partitionsToOffsetAndMetadata()).size(), 4);
            var two = Map.of(group, new ListConsumerGroupOffsetsSpec(), TOPIC + "-Sticky-g", new ListConsumerGroupOffsetsSpec());
            equal(get(admin.listConsumerGroupOffsets(two).all()).size(), 2);
            get(admin.alterConsumerGroupOffsets(group, Map.of(tp, new OffsetAndMetadata(7, Optional.of(0), "by hand"))).all());
            var found = get(admin.listConsumerGroupOffsets(group).partitionsToOffsetAndMetadata()).get(tp);
            equal(found.offset() + found.metadata(), "7by hand");
            get(admin.deleteConsumerGroupOffsets(group, Set.of(tp)).all());
            equal(get(admin.listConsumerGroupOffsets(group).partitionsToOffsetAndMetadata()).size(), 3);
            get(admin.deleteConsumerGroups(List.of(group)).all());
            try {
                get(admin.describeConsumerGroups(List.of(group)).all());
                throw new AssertionError("it is still there");
            } catch (ExecutionException e) { equal(e.getCause().getClass(), GroupIdNotFoundException.class); }
        });
    }

    static void adminChecks(Admin admin) {
        var topic = new ConfigResource(ConfigResource.Type.TOPIC, TOPIC);
        run("describe-cluster", () -> equal(get(admin.describeCluster().nodes()).size(), 1));
        run("describe-topics", () -> equal(get(admin.describeTopics(List.of(TOPIC)).allTopicNames()).get(TOPIC).partitions().size(), 2));
        run("create-partitions", () -> {
            get(admin.createPartitions(Map.of(TOPIC, NewPartitions.increaseTo(4))).all());
            until(() -> get(admin.describeTopics(List.of(TOPIC)).allTopicNames()).get(TOPIC).partitions().size() == 4);
        });
        run("alter-configs", () -> {
            var op = new AlterConfigOp(new ConfigEntry("retention.ms", "7200000"), AlterConfigOp.OpType.SET);
            get(admin.incrementalAlterConfigs(Map.of(topic, List.of(op))).all());
            until(() -> get(admin.describeConfigs(List.of(topic)).all()).get(topic).get("retention.ms").value().equals("7200000"));
            var undo = new AlterConfigOp(new ConfigEntry("retention.ms", null), AlterConfigOp.OpType.DELETE);
            get(admin.incrementalAlterConfigs(Map.of(topic, List.of(undo))).all());
            until(() -> get(admin.describeConfigs(List.of(topic)).all()).get(topic).get("retention.ms").isDefault());
        });
        run("alter-configs-refused", () -> {
            try {
                var op = new AlterConfigOp(new ConfigEntry("no.such.config", "1"), AlterConfigOp.OpType.SET);
                get(admin.incrementalAlterConfigs(Map.of(topic, List.of(op))).all());
                throw new AssertionError("accepted");
            } catch (ExecutionException e) { equal(e.getCause().getClass(), InvalidConfigurationException.class); }
        });
        run("list-offsets", () -> {
            var tp = new TopicPartition(TOPIC + "-gzip", 0);
            equal(get(admin.listOffsets(Map.of(tp, OffsetSpec.latest())).partitionResult(tp)).offset(), 200L);
            equal(get(admin.listOffsets(Map.of(tp, OffsetSpec.forTimestamp(START + 12000L))).partitionResult(tp)).offset(), 12L);
        });
        run("delete-records", () -> {
            var tp = new TopicPartition(TOPIC + "-snappy", 0);
            equal(get(admin.deleteRecords(Map.of(tp, RecordsToDelete.beforeOffset(60))).lowWatermarks().get(tp)).lowWatermark(), 60L);
            equal(get(admin.listOffsets(Map.of(tp, OffsetSpec.earliest())).partitionResult(tp)).offset(), 60L);
        });
        run("delete-topics", () -> {
            get(admin.deleteTopics(List.of(TOPIC)).all());
            until(() -> !get(admin.listTopics().names()).contains(TOPIC));
        });
    }

    public static void main(String[] words) throws Exception {
        address = words[0];
        Properties p = new Properties();
        p.put("bootstrap.servers", address);
        p.put("default.api.timeout.ms", "30000");
        p.put("request.timeout.ms", "20000");
        try (Admin admin = Admin.create(p)) {
            run("create-topics", () -> {
                List<NewTopic> topics = new ArrayList<>(List.of(new NewTopic(TOPIC, 2, (short) 1).configs(Map.of("segment.bytes", "1048576"))));
                for (String c : List.of("none", "gzip", "snappy", "lz4", "zstd")) topics.add(new NewTopic(TOPIC + "-" + c, 1, (short) 1));
                get(admin.createTopics(topics).all());
                until(() -> get(admin.listTopics().names()).contains(TOPIC + "-zstd"));
                try {
                    get(admin.createTopics(topics).all());
                    throw new AssertionError("created twice");
                } catch (ExecutionException e) { equal(e.getCause().getClass(), TopicExistsException.class); }
            });
            for (String c : List.of("none", "gzip", "snappy", "lz4", "zstd")) run("codec-" + c, () -> codec(c));
            for (String acks : List.of("0", "1", "all"))
                run("acks-" + acks, () -> produce(TOPIC, 20, "acks", acks, "enable.idempotence", "false"));
            run("idempotent", () -> {
                var sent = produce(TOPIC, 300, "enable.idempotence", "true", "batch.size", "300");
                for (int n = 1; n < 300; n++) equal(sent.get(n).offset(), sent.get(n - 1).offset() + 1);
            });
            run("too-large", () -> {
                try (var producer = new KafkaProducer<>(Map.of("bootstrap.servers", (Object) address, "max.request.size", "3000000", "buffer.memory", "9000000"),
                        new StringSerializer(), new StringSerializer())) {
                    producer.send(new ProducerRecord<>(TOPIC, 0, "k", "x".repeat(2000000))).get(30, TimeUnit.SECONDS);
                    throw new AssertionError("accepted");
                } catch (ExecutionException e) { equal(e.getCause().getClass(), RecordTooLargeException.class); }
            });
            consumerChecks();
            groupChecks(admin);
            adminChecks(admin);
        }
        System.out.println("java: " + passed + " passed, " + failed + " failed");
        System.exit(failed > 0 ? 1 : 0);
    }
}
