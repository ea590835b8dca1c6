#!/usr/bin/env bash
# Every test there is, on a stack of its own: own ports, own directories, taken down at the end. Last line: N passed, N failed.
#
#   ./test_pipeline.sh             everything
#   ./test_pipeline.sh --unit      what needs no stack: format, lints, scripts, unit tests
#   ./test_pipeline.sh --quick     the same, and the first end-to-end test
#   ./test_pipeline.sh --latency   the latency table alone
#   ./test_pipeline.sh --faults [NAME...] [--seeds N]   the scenarios of faults (those whose names hold one of these), N seeds each (1), and the
#                                  table of what they came to; `--faults mutations` shows that they can fail
#   ./test_pipeline.sh --fuzz [M]  the fuzz targets with cargo-fuzz, M minutes each (5); installs cargo-fuzz when it is missing
#   ./test_pipeline.sh NAME...     the integration tests whose names hold one of these
#
# A part that fails counts as a failure and the others still run. Logs of the parts: .local/test-logs.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
ROOT=$PWD
export HIGHWATER_STACK=test
for file in say settings process tools; do
  # shellcheck source=/dev/null
  source "local-stack/$file.sh"
done

# Beside what the stack needs, in the same form.
DEBIAN_PACKAGES+="
chromium              command -v chromium
docker-compose        command -v docker-compose
python3-venv          python3 -m ensurepip --version
shellcheck            command -v shellcheck
"
INFRASTRUCTURE=(postgres kafka redis connect)
FIRST_TEST=the_shipped_select_is_exact_through_kills_of_connect_and_an_engine
FAULTS_SHORT=(an_engine_dies_at_each_point a_call_comes_late redis_is_killed connect_is_killed the_receiver_is_killed no_release_has_faults)
FAULT_SEEDS=1
LATENCY_SECONDS=${LATENCY_SECONDS:-20}
LOGS=$ROOT/.local/test-logs
passed=0 failed=0

USAGE="usage: ./test_pipeline.sh [--unit | --quick | --latency | --faults [NAME...] [--seeds N] | --fuzz [MINUTES] | NAME...]"

case ${1:-} in
  -h | --help) sed -n '2,/^set /{/^#/s/^# \{0,1\}//p}' "$0" && exit ;;
  --unit | --quick | --latency) (($# == 1)) || die "$USAGE" ;;
  --faults)
    wanted=() FAULT_SEEDS=1
    for ((n = 2; n <= $#; n++)); do
      case ${!n} in
        --seeds)
          n=$((n + 1))
          FAULT_SEEDS=${!n:-}
          [[ $FAULT_SEEDS =~ ^[1-9][0-9]*$ ]] || die "--seeds wants a number"
          ;;
        -*) die "$USAGE" ;;
        *) wanted+=("${!n}") ;;
      esac
    done
    ;;
  --fuzz) [[ $# -le 2 && ${2:-5} =~ ^[1-9][0-9]*$ ]] || die "$USAGE" ;;
  -*) die "$USAGE" ;;
esac

# Runs a part, shows it, and adds up: the tests that cargo counted, or the part itself as one.
part() { # NAME COMMAND...
  local name=$1 log=$LOGS/${1// /-}.log began=$SECONDS status=0 ok=0 bad=0
  shift
  echo
  echo "== $name"
  set +e
  "$@" 2>&1 8>&- | tee "$log"
  status=${PIPESTATUS[0]}
  set -e
  read -r ok bad < <(awk '/^test result:/ { ok += $4; bad += $6 } END { print ok + 0, bad + 0 }' "$log")
  if ((status != 0 && bad == 0)); then
    bad=1
  elif ((status == 0 && ok == 0)); then
    ok=1
  fi
  passed=$((passed + ok)) failed=$((failed + bad))
  echo "== $name: $ok passed, $bad failed, $((SECONDS - began)) s"
  return 0
}

lint_scripts() {
  local scripts
  mapfile -t scripts < <({ git ls-files '*.sh' && git grep -lIE '^#!.*\bbash$'; } | sort -u)
  shellcheck "${scripts[@]}"
}

# The pinned packages of the checks by independent libraries.
python_packages() {
  local wanted
  wanted=$(sha256sum <tests/interop/requirements.txt)
  [[ $(cat .local/python/wanted 2>/dev/null) != "$wanted" ]] || return 0
  rm -rf .local/python
  python3 -m venv .local/python &&
    .local/python/bin/pip install -q --disable-pip-version-check --no-deps -r tests/interop/requirements.txt &&
    echo "$wanted" >.local/python/wanted
}

# Installing packages must not have started their servers.
default_ports_stay_closed() {
  local port
  for port in "${closed_before[@]}"; do
    if listening "$port"; then
      echo "port $port is open and was not before"
      return 1
    fi
  done
}

without_stack() {
  part "format" cargo fmt --all --check
  part "lints" cargo clippy --workspace --all-targets --locked -- -D warnings
  part "scripts" lint_scripts
  part "compose file" docker-compose -f docker-compose.yml config -q
  part "python packages" python_packages
  export HIGHWATER_TEST_PYTHON=$ROOT/.local/python/bin/python
  part "unit tests" cargo test --workspace --locked --no-fail-fast
}

programs_and_stack() {
  stack_in_use=yes
  ./stack.sh reset >"$LOGS/stack-reset.log" 2>&1 8>&- # of a run that was cut off
  part "build" cargo build --release --locked --package highwater --package webhook-receiver --package datagen
  [[ -z ${with_faults:-} ]] ||
    part "build with faults" cargo build --release --locked --package highwater --features faults --bin highwater-faults
  part "stack" ./stack.sh up "${INFRASTRUCTURE[@]}"
  # shellcheck source=/dev/null
  source <(./stack.sh env)
}

integration() { # [NAME...]
  part "integration tests" cargo test --locked --package highwater --test main -- --ignored --test-threads=1 --skip faults:: "$@"
}

# Every run of a scenario is a line of figures; the table comes last.
faults() { # NAME...
  local known wanted=() name
  known=$(cargo test -q --locked --package highwater --test main -- --ignored --list | sed -n 's/^\(faults::.*\): test$/\1/p')
  for name in "$@"; do
    mapfile -t -O "${#wanted[@]}" wanted < <(grep -F -- "$name" <<<"$known")
  done
  ((${#wanted[@]})) || die "no scenario's name holds '$*'; there are:" "$known"
  rm -f "$LOGS/faults.tsv"
  part "faults" env HIGHWATER_FAULT_SEEDS="$FAULT_SEEDS" \
    cargo test --locked --package highwater --test main -- --ignored --test-threads=1 --nocapture --exact "${wanted[@]}"
  [[ -f $LOGS/faults.tsv ]] || return 0
  echo
  awk -F '\t' 'BEGIN { form = "%-24s %5s %8s %8s %9s %6s %11s %8s %9s\n"
      printf form, "scenario", "seed", "changes", "records", "delivered", "again", "recovery/s", "gap/s", "peak/MiB" }
    { printf form, $1, $2, $3, $4, $5, $6, $7, $8, $9 }' "$LOGS/faults.tsv"
}

latency() {
  part "latency" cargo bench --locked --package highwater --bench latency -- --seconds "$LATENCY_SECONDS"
}

# What a target finds is in fuzz/artifacts; a line of sql/tests/fuzz/found.txt keeps it fixed.
fuzz() { # MINUTES
  local target
  cargo fuzz --version >/dev/null 2>&1 || part "cargo-fuzz" cargo install --locked cargo-fuzz
  part "fuzz corpus" cargo test --locked --package highwater-sql --test fuzz -- --ignored write_the_corpus
  for target in envelope value select schema; do
    # Without a sanitizer a stable toolchain will do.
    part "fuzz $target" cargo fuzz run -s none "$target" -- -max_total_time=$(($1 * 60)) -timeout=10 -rss_limit_mb=2048 -max_len=20000 -print_final_stats=1
  done
}

clean_up() {
  local status=$?
  trap - EXIT INT TERM
  if [[ -n ${stack_in_use:-} ]]; then
    echo
    HIGHWATER_COMMAND=./test_pipeline.sh ./stack.sh reset >"$LOGS/stack-reset.log" 2>&1 || cat "$LOGS/stack-reset.log"
    default_ports_stay_closed || failed=$((failed + 1))
  fi
  echo "$passed passed, $failed failed"
  ((status == 0 && failed == 0 && passed > 0)) || exit 1
}

mkdir -p "$LOGS"
exec 8>"$ROOT/.local/test-lock"
flock -n 8 || die "another ./test_pipeline.sh of this clone is at work"

closed_before=()
for port in 5432 6379; do
  listening "$port" || closed_before+=("$port")
done
trap clean_up EXIT
trap 'failed=$((failed + 1)) && exit 130' INT TERM # cut off: what was not run has not passed
install_tools

case ${1:-} in
  --unit)
    without_stack
    ;;
  --fuzz)
    fuzz "${2:-5}"
    ;;
  --quick)
    without_stack
    programs_and_stack
    integration "$FIRST_TEST"
    ;;
  --latency)
    programs_and_stack
    latency
    ;;
  --faults)
    with_faults=yes
    programs_and_stack
    # Mutations only when asked for: each waits for a scenario to fail.
    if ((${#wanted[@]})); then
      faults "${wanted[@]}"
    else
      faults faults::engines faults::redis faults::connect faults::receiver no_release
    fi
    ;;
  "")
    with_faults=yes
    without_stack
    programs_and_stack
    integration
    faults "${FAULTS_SHORT[@]}"
    latency
    ;;
  *)
    programs_and_stack
    integration "$@"
    ;;
esac
