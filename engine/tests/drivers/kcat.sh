#!/bin/bash
# kcat 1.7.1 against HOST:PORT: list, produce and consume with every codec and acks, by offset, by timestamp, -Q.
B=$1; OK=0; BAD=0; T=kcat-$RANDOM$RANDOM; OUT=$(mktemp); trap 'rm -f "$OUT"' EXIT
kc() { timeout 30 kcat -b "$B" -X broker.address.family=v4 "$@"; }
# check NAME 'CONDITION': the condition sees what the command before it left in $OUT
check() {
  if eval "$2"; then OK=$((OK + 1)); echo "ok $1"; else BAD=$((BAD + 1)); echo "FAIL $1 $(head -c 300 "$OUT" | tr '\n' ' ')"; fi
}
kc -L > "$OUT" 2>&1; check list 'grep -q "1 brokers" "$OUT"'
kc -L -J > "$OUT" 2>&1; check list-json 'python3 -c "import json,sys; assert json.load(open(sys.argv[1]))[\"brokers\"]" "$OUT" 2>/dev/null'
for codec in none gzip snappy lz4 zstd; do
  for acks in 0 1 all; do
    t=$T-$codec-$acks
    for n in 1 2; do seq 1 50 | sed "s/.*/k&:round-$n-&-aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa/" | kc -P -t "$t" -p 0 -K: -z $codec -X acks=$acks -H a=b > "$OUT" 2>&1 || break; done
    want=$(for n in 1 2; do seq 1 50 | sed "s/.*/k& round-$n-&-aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa a=b/"; done | md5sum)
    for try in 1 2 3 4 5 6; do        # acks=0 promises nothing about when
      kc -C -t "$t" -p 0 -o beginning -e -q -f '%k %s %h\n' > "$OUT" 2>&1
      [ "$(md5sum < "$OUT")" = "$want" ] && break; sleep 0.3
    done
    check "produce-consume-$codec-acks-$acks" '[ "$(md5sum < "$OUT")" = "$want" ]'
  done
done
t=$T-zstd-1
kc -C -t "$t" -p 0 -o 70 -e -q -f '%o\n' > "$OUT" 2>&1; check by-offset '[ "$(head -1 "$OUT")" = 70 ] && [ "$(wc -l < "$OUT")" = 30 ]'
kc -C -t "$t" -p 0 -o -5 -e -q -f '%o\n' > "$OUT" 2>&1; check from-the-end '[ "$(head -1 "$OUT")" = 95 ] && [ "$(wc -l < "$OUT")" = 5 ]'
kc -C -t "$t" -p 0 -o 10 -c 7 -q -f '%o\n' > "$OUT" 2>&1; check by-count '[ "$(tr "\n" , < "$OUT")" = 10,11,12,13,14,15,16, ]'
echo first | kc -P -t "$T-time" -p 0; sleep 1.2; TS=$(date +%s%3N); sleep 0.2; echo second | kc -P -t "$T-time" -p 0
kc -C -t "$T-time" -p 0 -o s@"$TS" -e -q -f '%o %s\n' > "$OUT" 2>&1; check by-timestamp '[ "$(cat "$OUT")" = "1 second" ]'
kc -Q -t "$T-time:0:$TS" > "$OUT" 2>&1; check query-by-time 'grep -q "offset 1$" "$OUT"'
kc -Q -t "$T-time:0:-1" > "$OUT" 2>&1; check query-latest 'grep -q "offset 2$" "$OUT"'
kc -Q -t "$T-time:0:-2" > "$OUT" 2>&1; check query-earliest 'grep -q "offset 0$" "$OUT"'
kc -C -t "$T-time" -p 0 -o 99 -e -q -X auto.offset.reset=error > "$OUT" 2>&1; check out-of-range-is-an-error '[ $? != 0 ] || grep -qi "out of range" "$OUT"'
echo idem | kc -P -t "$T-idem" -p 0 -X enable.idempotence=true > "$OUT" 2>&1; kc -C -t "$T-idem" -p 0 -o beginning -e -q > "$OUT" 2>&1; check idempotent '[ "$(cat "$OUT")" = idem ]'
head -c 900000 /dev/zero | tr '\0' x > "$OUT.big"; kc -P -t "$T-big" -p 0 "$OUT.big" > "$OUT" 2>&1
kc -C -t "$T-big" -p 0 -o beginning -e -q -f '%S\n' > "$OUT" 2>&1; check large-record '[ "$(cat "$OUT")" = 900000 ]'; rm -f "$OUT.big"
kc -L -t "$T-none-1" > "$OUT" 2>&1; check list-topic 'grep -q "partition 0, leader" "$OUT"'
g="$T-group"; seq 1 40 | kc -P -t "$T-g" -p 0
join() { kc -G "$g" -X auto.offset.reset=earliest -X session.timeout.ms=6000 -e -q "$@" "$T-g" > "$OUT" 2>&1; }
join; check group-reads-all '[ "$(grep -cx "[0-9]*" "$OUT")" = 40 ]'
join; check group-goes-on-where-it-was '[ "$(grep -cx "[0-9]*" "$OUT")" = 0 ]'
echo 41 | kc -P -t "$T-g" -p 0; join; check group-reads-what-is-new '[ "$(grep -x "[0-9]*" "$OUT")" = 41 ]'
join -X group.instance.id=one; echo 42 | kc -P -t "$T-g" -p 0; join -X group.instance.id=one; check group-static-member '[ "$(grep -x "[0-9]*" "$OUT")" = 42 ]'
g="$g-coop"; join -X partition.assignment.strategy=cooperative-sticky; check group-cooperative '[ "$(grep -cx "[0-9]*" "$OUT")" = 42 ]'
echo "kcat: $OK passed, $BAD failed"; [ $BAD = 0 ]
