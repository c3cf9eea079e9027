#!/bin/bash
# Kafka 4.3.1's own command line tools against HOST:PORT.
B=$1; OK=0; BAD=0; T=tools-$RANDOM$RANDOM; OUT=$(mktemp); trap 'rm -f "$OUT"' EXIT
LIBS=${TIDELOG_CACHE:-$HOME/.cache/tidelog}/kafka-4.3.1/libs
tool() { timeout 90 java -Xmx256m -XX:+UseSerialGC -XX:TieredStopAtLevel=1 -Xshare:auto -cp "$LIBS/*" "$@"; }
# check NAME 'CONDITION': the condition sees what the command before it left in $OUT, and its exit status as $status
check() {
  local status=$?
  if eval "$2"; then OK=$((OK + 1)); echo "ok $1"; else BAD=$((BAD + 1)); echo "FAIL $1 $(tail -c 400 "$OUT" | tr '\n' ' ')"; fi
}
topics() { tool org.apache.kafka.tools.TopicCommand --bootstrap-server "$B" "$@" > "$OUT" 2>&1; }
configs() { tool kafka.admin.ConfigCommand --bootstrap-server "$B" "$@" > "$OUT" 2>&1; }
offsets() { tool org.apache.kafka.tools.GetOffsetShell --bootstrap-server "$B" "$@" > "$OUT" 2>&1; }
consume() { tool org.apache.kafka.tools.consumer.ConsoleConsumer --bootstrap-server "$B" "$@" > "$OUT" 2>&1; }
topics --create --topic "$T" --partitions 2 --replication-factor 1 --config retention.ms=3600000; check topics-create 'grep -q "Created topic $T" "$OUT"'
topics --create --topic "$T" --if-not-exists; check topics-create-if-not-exists '[ $status = 0 ] && ! grep -qi error "$OUT"'
topics --list; check topics-list 'grep -qx "$T" "$OUT"'
topics --describe --topic "$T"; check topics-describe 'grep -q "PartitionCount: 2" "$OUT" && grep -q "retention.ms=3600000" "$OUT" && grep -q "Partition: 1.*Leader: .*Isr: " "$OUT"'
topics --alter --topic "$T" --partitions 3; topics --describe --topic "$T"; check topics-alter 'grep -q "PartitionCount: 3" "$OUT"'
configs --alter --entity-type topics --entity-name "$T" --add-config segment.bytes=2097152; check configs-alter 'grep -q "Completed updating" "$OUT"'
configs --describe --entity-type topics --entity-name "$T"; check configs-describe 'grep -q "segment.bytes=2097152" "$OUT"'
configs --describe --all --entity-type topics --entity-name "$T"; check configs-describe-all '[ "$(wc -l < "$OUT")" -gt 25 ] && grep -q "cleanup.policy=delete" "$OUT"'
configs --alter --entity-type topics --entity-name "$T" --delete-config segment.bytes; configs --describe --entity-type topics --entity-name "$T"; check configs-delete '[ $status = 0 ] && ! grep -q "segment.bytes=2097152" "$OUT"'
configs --alter --entity-type topics --entity-name "$T" --add-config retention.ms=soon; check configs-refused 'grep -qi "invalid" "$OUT"'
seq 1 200 | tool org.apache.kafka.tools.ConsoleProducer --bootstrap-server "$B" --topic "$T" --compression-codec zstd > "$OUT" 2>&1; check console-producer '[ $status = 0 ] && ! grep -qi error "$OUT"'
offsets --topic "$T" --time latest; check offsets-latest '[ "$(cut -d: -f3 "$OUT" | paste -sd+ | bc)" = 200 ]'
offsets --topic "$T" --time earliest; check offsets-earliest '[ "$(cut -d: -f3 "$OUT" | paste -sd+ | bc)" = 0 ]'
offsets --topic "$T" --time latest; P=$(awk -F: '$3 > 3 {print $2; exit}' "$OUT"); N=$(awk -F: -v p="$P" '$2 == p {print $3}' "$OUT")
offsets --topic-partitions "$T:$P" --time $(($(date +%s) * 1000 - 600000)); check offsets-by-time 'grep -q "^$T:$P:0" "$OUT"'
consume --topic "$T" --partition "$P" --offset earliest --max-messages "$N" --timeout-ms 20000; check console-consumer-earliest 'grep -q "Processed a total of $N messages" "$OUT"'
consume --topic "$T" --partition "$P" --offset 3 --max-messages $((N - 3)) --timeout-ms 20000; check console-consumer-offset 'grep -q "Processed a total of $((N - 3)) messages" "$OUT"'
perf() { tool org.apache.kafka.tools.ProducerPerformance --bootstrap-server "$B" --topic "$T" --num-records 20000 --record-size 500 --throughput -1 --command-property "$@" > "$OUT" 2>&1; }
for acks in 0 1 all; do perf acks=$acks $([ $acks = all ] || echo enable.idempotence=false); check producer-performance-acks-$acks 'grep -q "20000 records sent" "$OUT"'; done
offsets --topic "$T" --time latest; check all-of-it-arrived '[ "$(cut -d: -f3 "$OUT" | paste -sd+ | bc)" = 60200 ]'
cat > "$OUT.json" <<J
{"partitions":[{"topic":"$T","partition":$P,"offset":2}],"version":1}
J
tool org.apache.kafka.tools.DeleteRecordsCommand --bootstrap-server "$B" --offset-json-file "$OUT.json" > "$OUT" 2>&1; rm -f "$OUT.json"; check delete-records 'grep -q "low_watermark: 2" "$OUT"'
groups() { tool org.apache.kafka.tools.consumer.group.ConsumerGroupCommand --bootstrap-server "$B" "$@" > "$OUT" 2>&1; }
seq 1 30 | tool org.apache.kafka.tools.ConsoleProducer --bootstrap-server "$B" --topic "$T-g" > "$OUT" 2>&1
consume --topic "$T-g" --group "$T-g" --from-beginning --max-messages 30 --timeout-ms 30000; check console-consumer-group 'grep -q "Processed a total of 30 messages" "$OUT"'
groups --list; check groups-list 'grep -qx "$T-g" "$OUT"'
groups --describe --group "$T-g"; check groups-describe '[ "$(grep -c "^$T-g " "$OUT")" -ge 1 ] && awk -v g="$T-g" "\$1 == g {n += \$4} END {exit n != 30}" "$OUT"'
groups --describe --group "$T-g" --state; check groups-describe-state 'grep -q "Empty" "$OUT"'
groups --reset-offsets --group "$T-g" --topic "$T-g" --to-earliest --execute; check groups-reset 'grep -q "^$T-g " "$OUT"'
consume --topic "$T-g" --group "$T-g" --max-messages 30 --timeout-ms 30000; check groups-read-again 'grep -q "Processed a total of 30 messages" "$OUT"'
groups --delete-offsets --group "$T-g" --topic "$T-g"; check groups-delete-offsets 'grep -qi "success" "$OUT"'
groups --delete --group "$T-g"; groups --list; check groups-delete '[ $status = 0 ] && ! grep -qx "$T-g" "$OUT"'
tool org.apache.kafka.tools.BrokerApiVersionsCommand --bootstrap-server "$B" > "$OUT" 2>&1; check api-versions 'grep -q "Produce(0): 0 to 13 .usable: 13" "$OUT" && grep -q "Fetch(1): 4 to 18 .usable: 18" "$OUT" && grep -q "Metadata(3): 0 to 13 .usable: 13" "$OUT" && grep -q "ListOffsets(2): 1 to 11 .usable: 11" "$OUT"'
for time in max-timestamp earliest-local; do offsets --topic-partitions "$T:$P" --time $time; check offsets-$time 'grep -q "^$T:$P:[0-9]" "$OUT"'; done
offsets --topic-partitions "$T:$P" --time latest-tiered; check offsets-latest-tiered '[ $status = 0 ] && ! grep -qi "error" "$OUT"'
admin() { local name=$1 pattern=$2 class=$3; shift 3; tool "$class" --bootstrap-server "$B" "$@" > "$OUT" 2>&1; check "$name" 'grep -q -- "$pattern" "$OUT"'; }
TOOLS=org.apache.kafka.tools
admin log-dirs "\"partition\":\"$T-0\"" $TOOLS.LogDirsCommand --describe --topic-list "$T"
admin quorum-status "LeaderId: *1" $TOOLS.MetadataQuorumCommand describe --status
admin quorum-replication "Leader" $TOOLS.MetadataQuorumCommand describe --replication
admin features "metadata.version.*FinalizedVersionLevel" $TOOLS.FeatureCommand describe
tool $TOOLS.ClusterTool cluster-id --bootstrap-server "$B" > "$OUT" 2>&1; check cluster-id 'grep -q "Cluster ID: " "$OUT"'
admin leader-election "Valid replica already elected" $TOOLS.LeaderElectionCommand --election-type PREFERRED --topic "$T" --partition 0
admin reassign-list "No partition reassignments found" $TOOLS.reassign.ReassignPartitionsCommand --list
admin describe-producers "ProducerId" $TOOLS.TransactionsCommand describe-producers --topic "$T" --partition "$P"
admin client-metrics-alter "Altered client metrics config" $TOOLS.ClientMetricsCommand --alter --name "$T" --metrics org.apache.kafka. --interval 30000
admin client-metrics-list "$T" $TOOLS.ClientMetricsCommand --list
admin client-metrics-delete "Deleted client metrics config" $TOOLS.ClientMetricsCommand --delete --name "$T"
admin acls-disabled "SecurityDisabled" $TOOLS.AclCommand --list
configs --alter --entity-type broker-loggers --entity-name 1 --add-config engine.api=DEBUG; configs --describe --entity-type broker-loggers --entity-name 1; check broker-loggers 'grep -q "engine.api=DEBUG" "$OUT"'
configs --alter --entity-type broker-loggers --entity-name 1 --delete-config engine.api; check broker-loggers-back 'grep -q "Completed updating" "$OUT"'
configs --alter --entity-type users --entity-name "$T" --add-config 'SCRAM-SHA-512=[iterations=8192,password=pw]'; configs --describe --entity-type users --entity-name "$T"; check scram-users 'grep -q "SCRAM-SHA-512=iterations=8192" "$OUT"'
configs --alter --entity-type groups --entity-name "$T" --add-config consumer.session.timeout.ms=50000; check group-configs 'grep -q "Completed updating" "$OUT"'
topics --delete --topic "$T"; topics --list; check topics-delete '[ $status = 0 ] && ! grep -qx "$T" "$OUT"'
echo "kafka-tools: $OK passed, $BAD failed"; [ $BAD = 0 ]
