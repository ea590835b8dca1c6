# Kafka: one node, KRaft, broker and controller in one process. Sourced by stack.sh.

# A broker tells its clients where to come, so a proxy before it needs a listener of its own. Stacks for tests have eight, for as many tests at a
# time, at KAFKA_PORT + 1000, + 1100 and so on: each tells its clients to come to the port 1000 above it, where a test listens and passes on to it.
kafka_listeners() { # PREFIX PORT: before each, and of the first
  local proxy
  for proxy in {0..7}; do
    printf '%s127.0.0.1:%d\n' "${1//N/$proxy}" $(($2 + 100 * proxy))
  done | paste -sd,
}
kafka_proxied() { kafka_listeners "${1:-}" $((KAFKA_PORT + 1000)); }
kafka_proxies() { kafka_listeners "${1:-}" $((KAFKA_PORT + 2000)); }

kafka_prepare() {
  local PROXIED="" PROXIES="" # as they stand in the file
  if [[ $STACK != dev ]]; then
    PROXIED=,$(kafka_proxied PROXIEDN://)
    PROXIES=,$(kafka_proxies PROXIEDN://)
  fi
  # The controller's port is nobody else's business: any free one will do, at every start anew.
  CONTROLLER_PORT=$(free_port $((KAFKA_PORT + 1)))
  mkdir -p "$STATE/kafka"
  render "$ROOT/local-stack/broker.properties" KAFKA_PORT CONTROLLER_PORT PROXIED PROXIES STATE >"$STATE/kafka/broker.properties"
  if [[ ! -f $STATE/kafka/data/meta.properties ]]; then
    kafka_tool kafka.tools.StorageTool format --ignore-formatted -c "$STATE/kafka/broker.properties" \
      -t "$(kafka_tool kafka.tools.StorageTool random-uuid)" >"$STATE/log/kafka-format.log" 2>&1 ||
      { tail -n 5 "$STATE/log/kafka-format.log" >&2; die "formatting the broker's storage failed"; }
  fi
}

kafka_start() {
  launch kafka java -Xms256m -Xmx512m -XX:+UseG1GC -Dlog4j2.configurationFile="$ROOT/local-stack/log4j2.properties" \
    -cp "$JARS/libs/*" kafka.Kafka "$STATE/kafka/broker.properties"
}

# The broker opens its port before it takes requests, and its log says when it does.
kafka_ready() {
  grep -q 'Kafka Server started' "$STATE/log/kafka.log" && listening "$KAFKA_PORT"
}

kafka_complete() { :; }

kafka_outdated() { return 1; }

kafka_address() { echo "127.0.0.1:$KAFKA_PORT"; }

# Short-lived JVMs: most of their time is start-up, which these options shorten.
kafka_tool() { # CLASS ARG...
  java -XX:TieredStopAtLevel=1 -XX:+UseSerialGC -Dlog4j2.configurationFile="$ROOT/local-stack/log4j2-tools.properties" -cp "$JARS/libs/*" "$@"
}

# The groups with their lag, or Kafka's own group tool.
kafka_groups() {
  (($#)) || set -- --describe --all-groups
  kafka_tool org.apache.kafka.tools.consumer.group.ConsumerGroupCommand --bootstrap-server "127.0.0.1:$KAFKA_PORT" "$@"
}

kafka_topics() {
  if (($#)); then
    kafka_tool org.apache.kafka.tools.TopicCommand --bootstrap-server "127.0.0.1:$KAFKA_PORT" "$@"
  else
    kafka_tool org.apache.kafka.tools.GetOffsetShell --bootstrap-server "127.0.0.1:$KAFKA_PORT" | awk -F: '
      { partitions[$1]++; end[$1] += $3 }
      END { for (topic in end) printf "%-50s %2d partitions %12d offsets written\n", topic, partitions[topic], end[topic] | "sort" }'
  fi
}
