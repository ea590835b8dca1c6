# Kafka Connect with the Debezium connector. Sourced by stack.sh.

CONNECTOR=engagement-events-connector
CAPTURED_TOPICS="streaming.public.engagement_events streaming.public.content"

connect_prepare() {
  # The tests make it longer than a scenario, so that a crash has everything sent again.
  local OFFSET_FLUSH_MS=${OFFSET_FLUSH_MS:-1000}
  mkdir -p "$STATE/connect"
  render "$ROOT/local-stack/connect.properties" KAFKA_PORT CONNECT_PORT JARS OFFSET_FLUSH_MS >"$STATE/connect/connect.properties"
}

connect_start() {
  launch connect env POSTGRES_HOST=127.0.0.1 POSTGRES_PORT="$POSTGRES_PORT" \
    java -Xms256m -Xmx512m -Dlog4j2.configurationFile="$ROOT/local-stack/log4j2.properties" \
    -cp "$JARS/libs/*" org.apache.kafka.connect.cli.ConnectDistributed "$STATE/connect/connect.properties"
}

connect_ready() {
  curl -sf -m 5 -o /dev/null "http://127.0.0.1:$CONNECT_PORT/connectors"
}

# Topics first: Debezium creates one at its first record, and the engine wants them, with four partitions, before that.
connect_complete() {
  local topic pids=()
  for topic in $CAPTURED_TOPICS; do
    kafka_topics --create --if-not-exists --topic "$topic" --partitions 4 --config cleanup.policy=delete --config retention.ms=604800000 \
      >>"$STATE/log/topics.log" 2>&1 &
    pids+=($!)
  done
  for topic in "${pids[@]}"; do
    wait "$topic" || die "creating topics failed: $(tail -n 1 "$STATE/log/topics.log")"
  done
  register_connector
}

register_connector() {
  local url=http://127.0.0.1:$CONNECT_PORT/connectors/$CONNECTOR status deadline=$((SECONDS + 60)) restarted=0
  # Creates or changes, so it may be repeated. 409 means that the worker is rebalancing.
  curl -sS --fail-with-body -m 60 --retry 10 --retry-all-errors --retry-delay 1 -X PUT -H 'Content-Type: application/json' \
    --data @"$ROOT/connectors/$CONNECTOR.json" "$url/config" >"$STATE/log/connector.json" ||
    die "Connect refused the connector: $(<"$STATE/log/connector.json")"
  while ((SECONDS < deadline)); do
    status=$(curl -s -m 5 "$url/status") || status=""
    [[ $status != *'"tasks":[{"id":0,"state":"RUNNING"'* ]] || return 0
    if [[ $status == *'"state":"FAILED"'* ]] && ((restarted == 0)); then
      restarted=1
      curl -s -m 10 -X POST "$url/restart?includeTasks=true&onlyFailed=true" >/dev/null || true
    fi
    sleep 0.2
  done
  die "the connector $CONNECTOR is not running after 60 s: ${status:0:600}" "its log: ./stack.sh logs connect"
}

connect_outdated() { return 1; }

connect_address() { echo "http://127.0.0.1:$CONNECT_PORT"; }
