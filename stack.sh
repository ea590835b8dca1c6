#!/usr/bin/env bash
# The native stack of this clone: Postgres, Kafka, Kafka Connect with Debezium, Redis, the engine, the webhook receiver and the
# data generator, on loopback, without containers.
#
#   ./stack.sh up [PART...]      start everything, or only the parts named, and wait until they are ready
#   ./stack.sh down [PART...]    stop; the data stays
#   ./stack.sh status            what runs, where, under which pid
#   ./stack.sh reset             stop, and delete the data; lists what it deletes
#   ./stack.sh env               the exports that `highwater` needs in a second terminal (holds the webhook's secret)
#   ./stack.sh logs PART [ARG...]    the end of a part's log; further arguments go to tail, such as -f
#   ./stack.sh psql [ARG...]     psql as the demo's role
#   ./stack.sh redis-cli [ARG...]
#   ./stack.sh topics [ARG...]   topics with their partitions and records; with arguments, Kafka's own topic tool
#   ./stack.sh groups [ARG...]   consumer groups with their lag; with arguments, Kafka's own group tool
#   ./stack.sh prepare [PART...]     see that the ports are free, and install the Debian packages and Maven artifacts that are missing
#
# Parts: postgres kafka redis connect receiver engine generator.
# Ports: POSTGRES_PORT REDIS_PORT KAFKA_PORT CONNECT_PORT RECEIVER_PORT ENGINE_PORT, read by `up` and remembered for every later
# command of this clone.
# HIGHWATER_STACK=NAME is a second stack, wholly apart: its own directory, and its own ports from the defaults plus 10000 upwards,
# passing over those that are taken. The tests use HIGHWATER_STACK=test.
# HIGHWATER_BIN is the directory of the built programs, remembered as well; GENERATOR_RATE the generator's events a second (2, so that a row of your own stays in sight);
# READY_SECONDS_MAX how long `up` waits for a part (120).
set -euo pipefail
umask 022 # as root, Postgres' user must be able to enter what is created here

if ((BASH_VERSINFO[0] < 5)) || [[ ! -r /proc/self/stat ]]; then
  echo "error: the native stack needs Linux and bash 5; elsewhere use containers: docker compose up --build" >&2
  exit 1
fi
ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd -P)
for file in say settings process tools postgres kafka redis connect programs; do
  # shellcheck source=/dev/null
  source "$ROOT/local-stack/$file.sh"
done

# In the order in which they are started; the parts of a stage start side by side.
STAGES=("postgres kafka redis receiver" "connect" "engine" "generator")
PARTS="${STAGES[*]}"

# What takes minutes comes later; what would make it futile is found first.
prepare() {
  local parts="${*:-$PARTS}"
  known_parts "$parts"
  settle_ports "$parts"
  install_tools
  fetch_jars
}

up() {
  local parts="${*:-$PARTS}" stage part starting pid failed
  known_parts "$parts"
  require_tools "$parts"
  take_lock
  settle_ports "$parts"
  save_settings
  trap 'kill $(jobs -p) 2>/dev/null; exit 130' INT TERM # what has started stays; ./stack.sh down stops it
  for part in $parts; do
    running "$part" && "${part}_outdated" && stop "$part"
  done
  for stage in "${STAGES[@]}"; do
    starting=() failed=0
    for part in $stage; do
      if [[ " $parts " == *" $part "* ]]; then
        bring_up "$part" &
        starting+=($!)
      fi
    done
    for pid in ${starting[@]+"${starting[@]}"}; do
      wait "$pid" || failed=1
    done
    ((failed == 0)) || exit 1
  done
}

# One part from nothing to ready: what it needs on disk, the process, the wait, and what can only be done while it runs.
bring_up() { # PART
  local part=$1 began=${EPOCHREALTIME/[.,]/} state="was running"
  if ! running "$part"; then
    "${part}_prepare"
    "${part}_start"
    state=""
  fi
  wait_ready "$part" # also what an interrupted `up` left behind
  state=${state:-"ready in $(tenths $((${EPOCHREALTIME/[.,]/} - began))) s"}
  "${part}_complete"
  printf '  %-10s %-18s %s\n' "$part" "$state" "$("${part}_address")"
}

# Downstream first: what writes stops before what it writes to, so that each drains into something that still runs.
down() {
  local parts="${*:-$PARTS}" index part pids
  known_parts "$parts"
  take_lock
  for ((index = ${#STAGES[@]} - 1; index >= 0; index--)); do
    pids=()
    for part in ${STAGES[index]}; do
      if [[ " $parts " == *" $part "* ]]; then
        stop "$part" &
        pids+=($!)
      fi
    done
    for part in ${pids[@]+"${pids[@]}"}; do
      wait "$part"
    done
  done
}

status() {
  local part state pid any=1
  printf '%-10s %-8s %-8s %s\n' PART STATE PID ADDRESS
  for part in $PARTS; do
    state=stopped pid=-
    if running "$part"; then
      state=starting pid=$(pid_of "$part") any=0
      "${part}_ready" && state=ready
    fi
    printf '%-10s %-8s %-8s %s\n' "$part" "$state" "$pid" "$("${part}_address")"
  done
  echo "data: $STATE"
  return $any
}

reset() {
  local entry
  down
  take_lock
  echo "deleting the data of stack '$STACK' in $STATE:"
  for entry in "$STATE"/*/; do
    [[ -d $entry ]] && printf '  %-8s %s\n' "$(du -sh "$entry" | cut -f1)" "$entry"
  done
  rm -rf "$STATE"
  rmdir --ignore-fail-on-non-empty "$(dirname "$STATE")"
  if [[ -f $SECRET_FILE ]]; then
    echo "  the webhook's secret in $SECRET_FILE"
    rm -f "$SECRET_FILE"
  fi
  if [[ $STACK == dev ]]; then
    echo "kept: the ports in $SETTINGS_FILE, the built programs, and the downloads in $CACHE"
  else
    rm -rf "$SETTINGS"
  fi
}

env_exports() {
  ensure_secret
  cat <<EXPORTS
export DATABASE_URL=postgres://user:password@127.0.0.1:$POSTGRES_PORT/streaming_db
export KAFKA_BROKERS=127.0.0.1:$KAFKA_PORT
export CONNECT_URL=http://127.0.0.1:$CONNECT_PORT
export REDIS_URL=redis://127.0.0.1:$REDIS_PORT
export WEBHOOK_URL=http://127.0.0.1:$RECEIVER_PORT/webhook
export WEBHOOK_SECRET=$(<"$SECRET_FILE")
export ENGINE_URL=http://127.0.0.1:$ENGINE_PORT
# A second engine beside the stack's own needs an address of its own, such as
# export HIGHWATER_LISTEN=127.0.0.1:$((ENGINE_PORT + 1))
EXPORTS
  [[ $STACK == dev ]] || printf 'export KAFKA_PROXIED=%s KAFKA_PROXIES=%s\n' "$(kafka_proxied)" "$(kafka_proxies)"
}

logs() {
  local part=${1:-}
  known_parts "$part"
  [[ -n $part ]] || die "which part's log? one of: $PARTS"
  [[ -f $STATE/log/$part.log ]] || die "$part has not run yet: no $STATE/log/$part.log"
  shift
  exec tail "${@:--n100}" "$STATE/log/$part.log"
}

known_parts() { # "PART..."
  local part
  for part in $1; do
    [[ " $PARTS " == *" $part "* ]] || die "no part is called '$part'; there are: $PARTS"
  done
}

command=${1:-help}
(($# == 0)) || shift
HIGHWATER_COMMAND=${HIGHWATER_COMMAND:-./stack.sh $command${*:+ $*}} # what a remedy tells the user to repeat
load_settings "$command"
case $command in
  up) up "$@" ;;
  down) down "$@" ;;
  status) status ;;
  reset) reset ;;
  prepare) prepare "$@" ;;
  env) env_exports ;;
  logs) logs "$@" ;;
  psql) postgres_client "$@" ;;
  redis-cli) exec redis-cli -p "$REDIS_PORT" "$@" ;;
  topics) kafka_topics "$@" ;;
  groups) kafka_groups "$@" ;;
  help | -h | --help) sed -n '2,/^set /{/^#/s/^# \{0,1\}//p}' "$ROOT/stack.sh" ;;
  *) die "no command is called '$command'; ./stack.sh help lists them" ;;
esac
