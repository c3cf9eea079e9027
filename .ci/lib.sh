# Functions of .ci/run and .ci/full: installing what the checks need, and counting what they say.
# Sourced, with the repository root as working directory.
CACHE=${TIDELOG_CACHE:-$HOME/.cache/tidelog}
KAFKA=$CACHE/kafka-4.3.1
SHARED=${TIDELOG_SHARED:-$PWD/../shared}
RIGS=engine/tests/rigs
DRIVERS=engine/tests/drivers
WORK=$(mktemp -d "${TMPDIR:-/tmp}/tidelog-ci.XXXXXX")
export TIDELOG_CACHE=$CACHE TIDELOG_SHARED=$SHARED PYTHONPATH=$PWD/$RIGS PYTHONDONTWRITEBYTECODE=1
mkdir -p "$CACHE"
STEPS_OK=0 STEPS_FAILED=()
trap 'rm -rf "$WORK"' EXIT

# try COMMAND...: up to three times, for what goes over the network
try() {
  local n
  for n in 1 2 3; do timeout 600 "$@" && return 0; echo "try $n of 3 failed: $*" >&2; sleep 3; done
  return 1
}

# step NAME SECONDS COMMAND...: runs one check within its time (0: it bounds itself); its output stays visible
step() {
  local name=$1 limit=$2 begun=$SECONDS code out=$WORK/step.out; shift 2; : > "$out"
  printf '\n== %s\n' "$name"
  # Followed, not piped: a process that a step leaves behind would keep a pipe open.
  if [ "$limit" = 0 ]; then "$@"; else timeout -k 20 "$limit" "$@"; fi < /dev/null > "$out" 2>&1 &
  tail -n +1 -s 0.2 -f "$out" --pid=$! 2> /dev/null
  wait $!; code=$?
  if [ "$code" = 0 ]; then STEPS_OK=$((STEPS_OK + 1)); else STEPS_FAILED+=("$name"); remember "$name" "$out"; fi
  printf -- '-- %s: exit %s after %s s\n' "$name" "$code" $((SECONDS - begun))
  return $code
}

# remember NAME FILE: keeps what says why a step failed for the end, where it is found in a long output
remember() {
  { printf '\n== why "%s" failed\n' "$1"; grep -E '^(FAIL|LOST|SEED=[0-9]+:|error|test .*FAILED|Diff in|bad |stopped)|panicked at' "$2" | cut -c1-400 | head -40
    printf -- '-- its last lines\n'; tail -n 15 "$2" | cut -c1-400; } >> "$WORK/failures"
}

# The closing lines of the whole run.
finish() {
  [ ${#STEPS_FAILED[@]} = 0 ] || cat "$WORK/failures"
  [ ${#STEPS_FAILED[@]} = 0 ] || printf 'FAILED STEP %s\n' "${STEPS_FAILED[@]}"
  printf 'steps: %s passed, %s failed\n' "$STEPS_OK" ${#STEPS_FAILED[@]}
  [ ${#STEPS_FAILED[@]} = 0 ]
}

# apt_install PACKAGE...: only those that are missing
apt_install() {
  local p missing=()
  for p; do dpkg -s "$p" > /dev/null 2>&1 || missing+=("$p"); done
  [ ${#missing[@]} = 0 ] && return 0
  try apt-get -qq update && DEBIAN_FRONTEND=noninteractive try apt-get -qq -y --no-install-recommends install "${missing[@]}" > /dev/null
}

install_python() {
  local venv=$CACHE/venv
  if ! cmp -s $DRIVERS/python/requirements.txt "$venv/installed"; then
    python3 -m venv "$venv" && try "$venv/bin/pip" -q install -r $DRIVERS/python/requirements.txt &&
      cp $DRIVERS/python/requirements.txt "$venv/installed" || return 1
  fi
}

# Apache Kafka's own jars, the reference and the tools.
install_kafka() {
  cmp -s $DRIVERS/java/kafka-pom.xml "$KAFKA/installed" && return 0
  mkdir -p "$KAFKA/pom" && cp $DRIVERS/java/kafka-pom.xml "$KAFKA/pom/pom.xml" || return 1
  (cd "$KAFKA/pom" && try mvn -q -B dependency:copy-dependencies -DoutputDirectory=../libs) &&
    cp $DRIVERS/java/kafka-pom.xml "$KAFKA/installed"
}

install_go() { (cd $DRIVERS/go && try go build -o "$CACHE/go-clients" .); }

install_node() {
  mkdir -p "$CACHE/node" && cp $DRIVERS/node/{package.json,package-lock.json,.npmrc,kafkajs.js} "$CACHE/node/" &&
    (cd "$CACHE/node" && try npm ci --no-audit --no-fund --silent)
}


# Everything the outside checks need that a machine may lack.
install_all() {
  if [ "$(id -u)" = 0 ]; then
    apt_install kcat bc e2fsprogs xfsprogs fuse3 libfuse3-dev pkg-config gcc || return 1
  fi
  install_python && install_kafka && install_go && install_node
}

# librdkafka's own test programs, in the tree of its load generator.
install_librdkafka_tests() {
  install_generator && { [ -x "$CACHE/librdkafka/tests/test-runner" ] || make -C "$CACHE/librdkafka/tests" -j2 build > "$CACHE/librdkafka-tests.txt" 2>&1; }
}

# librdkafka's own load generator, from the sources that cargo has fetched for the rdkafka crate.
install_generator() {
  local at=$CACHE/librdkafka
  [ -x "$at/examples/rdkafka_performance" ] && return 0
  cargo fetch -q && rm -rf "$at" && cp -r "${CARGO_HOME:-$HOME/.cargo}"/registry/src/*/rdkafka-sys-4.10.0+2.12.1/librdkafka "$at" || return 1
  # The log must not be named configure.*: the configure script would load it as a module.
  (cd "$at" && chmod +x configure lds-gen.py mklove/* && ./configure --disable-ssl --disable-gssapi --disable-curl && make -j2 libs &&
    make -C examples rdkafka_performance) > "$CACHE/librdkafka-build.txt" 2>&1
}
