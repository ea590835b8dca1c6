#!/usr/bin/env bash
# The tests, on a stack of their own: own ports, own directories, taken down at the end. Last line: N passed, N failed.
#
#   ./test_pipeline.sh             every test, and a short form of --faults and --simulation
#   ./test_pipeline.sh --unit      what needs no stack: format, lints, scripts, unit tests
#   ./test_pipeline.sh --quick     the same, and the first end-to-end test
#   ./test_pipeline.sh --latency   the latency table alone
#   ./test_pipeline.sh --faults [NAME...] [--seeds N] [--first-seed S] [--jobs J] [--share K] [--minutes M]
#                                  the scenarios of faults (those whose names hold one of these), N seeds each (1) from S (1) on, on J stacks (1),
#                                  K at a time on each (1, at most 8) unless they take its servers away, and the table of what they came to;
#                                  `soak` goes on for M minutes; `without_` shows that they can fail
#   ./test_pipeline.sh --simulation [SEEDS]   the ranking's decisions against a real Redis in a simulated world (100000), on all cores
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
FAULTS_SHORT=(an_engine_dies_at_each_point a_call_comes_late redis_is_killed connect_dies_before the_receiver_dies_between no_release_has_faults)
# Those that take a server of the stack away, measure times, or fill it.
FAULTS_ALONE='connect_is_killed|connect_dies_before|the_broker_|postgres_is_killed|everything_at_random|two_million|does_not_delay|mutations::'
FAULT_SEEDS=1 FIRST_SEED=1 JOBS=1 SHARE=1
RUN_SECONDS_MAX=1200
LATENCY_SECONDS=${LATENCY_SECONDS:-20}
LOGS=$ROOT/.local/test-logs
passed=0 failed=0

USAGE="usage: ./test_pipeline.sh [--unit | --quick | --latency | --faults [NAME...] [--seeds N] [--first-seed S] [--jobs J] [--share K] [--minutes M] |
       --simulation [SEEDS] | --fuzz [MINUTES] | NAME...]"

case ${1:-} in
  -h | --help) sed -n '2,/^set /{/^#/s/^# \{0,1\}//p}' "$0" && exit ;;
  --unit | --quick | --latency) (($# == 1)) || die "$USAGE" ;;
  --faults)
    shift
    wanted=()
    while (($#)); do
      case $1 in
        --seeds | --first-seed | --jobs | --share | --minutes)
          [[ ${2:-} =~ ^[1-9][0-9]*$ ]] || die "$1 wants a number"
          case $1 in
            --seeds) FAULT_SEEDS=$2 ;;
            --first-seed) FIRST_SEED=$2 ;;
            --jobs) JOBS=$2 ;;
            --share) SHARE=$(($2 < 8 ? $2 : 8)) ;;
            --minutes)
              export HIGHWATER_SOAK_MINUTES=$2
              RUN_SECONDS_MAX=$((RUN_SECONDS_MAX + 60 * $2))
              ;;
          esac
          shift
          ;;
        -*) die "$USAGE" ;;
        *) wanted+=("$1") ;;
      esac
      shift
    done
    set -- --faults
    ;;
  --simulation | --fuzz) [[ $# -le 2 && ${2:-5} =~ ^[1-9][0-9]*$ ]] || die "$USAGE" ;;
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
  reset_stacks 8>&- # of a run that was cut off
  part "build" cargo build --release --locked --package highwater --package webhook-receiver --package datagen
  [[ -z ${with_faults:-} ]] ||
    part "build with faults" cargo build --release --locked --package highwater --features faults --bin highwater-faults
  local job
  for ((job = 1; job <= JOBS; job++)); do
    part "stack $job" env HIGHWATER_STACK="$(stack_of_job "$job")" ./stack.sh up "${INFRASTRUCTURE[@]}"
  done
  # shellcheck source=/dev/null
  source <(./stack.sh env)
}

integration() { # [NAME...]
  part "integration tests" cargo test --locked --package highwater --test main -- --ignored --test-threads=1 --skip faults:: "$@"
}

# Builds the tests of one target and says where they are; the programs that they need are built too, and are not in deps/.
test_binary() { # TARGET...
  cargo test --locked --package highwater "$@" --no-run -q --message-format json |
    sed -n 's/.*"executable":"\([^"]*\/deps\/[^"]*\)".*/\1/p' | tail -1
}

# Takes runs from a queue until it is empty: one scenario with one seed, in a process of its own, on the stack of this job.
faults_job() { # QUEUE STACK
  local run scenario seed log began word
  export HIGHWATER_STACK=$2
  # shellcheck source=/dev/null
  source <(./stack.sh env)
  while run=$(next_run "$1"); do
    read -r scenario seed <<<"$run"
    log=$LOGS/faults/${scenario//::/-}-$seed.log began=$SECONDS word=ok
    HIGHWATER_FAULT_SEED=$seed HIGHWATER_FAULT_SEEDS=1 timeout "$RUN_SECONDS_MAX" \
      "$FAULTS_BINARY" --ignored --test-threads=1 --nocapture --exact "$scenario" >"$log" 2>&1 || word=FAILED
    grep -q '^test result: ok. 1 passed' "$log" || word=FAILED
    [[ $word == FAILED ]] || ! grep -q '^ *skipped: ' "$log" || word=skipped
    printf '%-7s %-70s seed %3d %5d s\n' "$word" "${scenario#faults::}" "$seed" $((SECONDS - began))
    [[ $word != FAILED ]] || sed -n '/panicked at/,$p' "$log" | grep -vE '^ +([0-9]+: |at )' | cut -c1-500 | head -20
  done
}

# The first line of a queue, taken away.
next_run() { # QUEUE
  (
    flock 9
    head -1 "$1" | grep . && sed -i 1d "$1"
  ) 9>"$1.lock"
}

# The scenarios whose names hold one of these, every seed of each; then the table with one line of figures for each run.
faults() { # NAME...
  local known wanted=() scenario seed job name log=$LOGS/faults.log queue=$LOGS/faults/queue began=$SECONDS ok bad skipped runs
  FAULTS_BINARY=$(test_binary --test main)
  known=$("$FAULTS_BINARY" --ignored --list | sed -n 's/^\(faults::.*\): test$/\1/p')
  for name in "$@"; do
    # Mutations only when asked for: each waits for a scenario to fail.
    mapfile -t -O "${#wanted[@]}" wanted < <(grep -F -- "$name" <<<"$known" | if [[ -n $name ]]; then cat; else grep -v ::without_; fi)
  done
  ((${#wanted[@]})) || die "no scenario's name holds '$*'; there are:" "$known"
  rm -rf "$LOGS/faults" "$LOGS/faults.tsv"
  mkdir -p "$LOGS/faults"
  for ((seed = FIRST_SEED; seed < FIRST_SEED + FAULT_SEEDS; seed++)); do
    for scenario in "${wanted[@]}"; do
      # What takes no seed runs once.
      [[ $scenario == *::mutations::* && $seed -gt $FIRST_SEED ]] || echo "$scenario $seed"
    done
  done | awk '!seen[$0]++' >"$queue"
  runs=$(wc -l <"$queue")
  grep -E "$FAULTS_ALONE" "$queue" >"$queue-alone" || true
  grep -vE "$FAULTS_ALONE" "$queue" >"$queue-shared" || true

  echo
  echo "== faults: $runs runs on $JOBS stack$( ((JOBS == 1)) || echo s), $SHARE at a time on each"
  : >"$log"
  for ((job = 0; job < JOBS; job++)); do
    faults_job "$queue-alone" "$(stack_of_job $((job + 1)))" 8>&- | tee -a "$log" &
  done
  wait
  ((SHARE == 1)) || export HIGHWATER_TEST_POLL_MS=50
  for ((job = 0; job < JOBS * SHARE; job++)); do
    faults_job "$queue-shared" "$(stack_of_job $((job % JOBS + 1)))" 8>&- | tee -a "$log" &
  done
  wait
  ok=$(grep -c '^ok ' "$log") || true
  skipped=$(grep -c '^skipped ' "$log") || true
  bad=$((runs - ok - skipped)) # one that was cut off has not passed
  passed=$((passed + ok)) failed=$((failed + bad))
  echo "== faults: $ok passed, $bad failed$( ((skipped == 0)) || echo ", $skipped skipped"), $((SECONDS - began)) s"
  [[ -f $LOGS/faults.tsv ]] || return 0
  echo
  sort -t $'\t' -k1,1 -k2,2n "$LOGS/faults.tsv" | awk -F '\t' 'BEGIN { form = "%-28s %5s %8s %8s %9s %6s %11s %8s %9s\n"
      printf form, "scenario", "seed", "changes", "records", "delivered", "again", "recovery/s", "gap/s", "peak/MiB" }
    { printf form, $1, $2, $3, $4, $5, $6, $7, $8, $9 }'
}

# The first job has the stack that all other tests have.
stack_of_job() { # JOB
  if (($1 == 1)); then echo test; else echo "test-$1"; fi
}

# Seeds of the simulation, shared out to as many processes as there are cores.
simulation() { # SEEDS
  local cores binary each job pids=() pid status=0
  cores=$(nproc) each=$((($1 + cores - 1) / cores))
  binary=$(test_binary --lib)
  for ((job = 0; job < cores; job++)); do
    HIGHWATER_ATTACK_FIRST=$((job * each)) HIGHWATER_ATTACK_SEEDS=$each \
      "$binary" --nocapture --exact sink::ranking::tests::attack::readers_see_the_truth_whatever_goes_wrong &
    pids+=($!)
  done
  for pid in "${pids[@]}"; do
    wait "$pid" || status=1
  done
  return $status
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

reset_stacks() {
  local job
  for ((job = 1; job <= JOBS; job++)); do
    HIGHWATER_STACK=$(stack_of_job "$job") HIGHWATER_COMMAND=./test_pipeline.sh ./stack.sh reset >"$LOGS/stack-reset.log" 2>&1 ||
      cat "$LOGS/stack-reset.log"
  done
}

clean_up() {
  local status=$? job
  trap - EXIT INT TERM
  # Cut off: what runs beside this, and the runs that it is at.
  for job in $(jobs -p); do
    kill "$job" $(pgrep -P "$job") 2>/dev/null || true
  done
  if [[ -n ${stack_in_use:-} ]]; then
    echo
    reset_stacks
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
  --simulation)
    part "simulation" simulation "${2:-100000}"
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
    faults "${wanted[@]:-}"
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
