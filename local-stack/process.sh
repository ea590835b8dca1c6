# One process per part, in its own session, logging to a file. Sourced by stack.sh.
#
# Only processes started here are ever signalled: a pid file holds the pid and the process's birth (boot and start tick), so a pid that
# belongs to a stranger after a reboot or a wrap-around is recognised, and the file is as good as absent.

# Two commands on one stack take turns. Children do not inherit the lock (launch closes it).
take_lock() {
  mkdir -p "$STATE/log" "$STATE/run"
  exec 9>"$STATE/run/lock"
  if ! flock -n 9; then
    echo "another ./stack.sh of this stack is at work; waiting for it"
    flock -w 600 9 || die "it did not end within 600 s; see: fuser -v $STATE/run/lock"
  fi
}

birth() { # PID
  local stat
  { read -r stat <"/proc/$1/stat"; } 2>/dev/null || return 1
  # The command name may hold anything; what follows its last parenthesis is regular. State is the first field there, start time the 20th.
  read -ra stat <<<"${stat##*) }"
  [[ ${stat[0]} != Z ]] || return 1
  echo "$(</proc/sys/kernel/random/boot_id):${stat[19]}"
}

pid_of() { # PART -> the pid, if the process of that pid file lives
  local pid born
  { read -r pid born <"$STATE/run/$1.pid"; } 2>/dev/null || return 1
  [[ $born == "$(birth "$pid")" ]] && echo "$pid"
}

running() { # PART
  pid_of "$1" >/dev/null
}

any_running() {
  local part
  for part in $PARTS; do
    ! running "$part" || return 0
  done
  return 1
}

launch() { # PART COMMAND...
  local part=$1 log=$STATE/log/$1.log pid
  shift
  [[ ! -f $log ]] || mv "$log" "$log.1"
  setsid "$@" >"$log" 2>&1 </dev/null 9>&- &
  pid=$!
  echo "$pid $(birth "$pid" || true)" >"$STATE/run/$part.pid"
}

wait_ready() { # PART
  local part=$1 deadline=$((SECONDS + ${READY_SECONDS_MAX:-120}))
  until "${part}_ready"; do
    running "$part" || failed_to_start "$part" "$part ended while starting"
    ((SECONDS < deadline)) || failed_to_start "$part" "$part is not ready after ${READY_SECONDS_MAX:-120} s"
    sleep 0.1
  done
}

failed_to_start() { # PART LINE
  tail -n 15 "$STATE/log/$1.log" | sed "s/^/  $1 | /" >&2
  die "$2" "its log: ./stack.sh logs $1"
}

# Asks, waits, and only then kills. The engine drains, Postgres and the broker write out what they hold.
stop() { # PART
  local part=$1 pid signal=TERM deadline=$((SECONDS + 60)) began=${EPOCHREALTIME/[.,]/}
  pid=$(pid_of "$part") || { rm -f "$STATE/run/$part.pid"; return 0; }
  [[ $part != postgres ]] || signal=INT # fast shutdown: does not wait for clients
  kill -s "$signal" "$pid" 2>/dev/null || true
  while running "$part"; do
    if ((SECONDS >= deadline)); then
      echo "  $part did not end within 60 s of SIG$signal and is killed" >&2
      kill -s KILL "$pid" 2>/dev/null || true
      sleep 0.5
    fi
    sleep 0.05
  done
  rm -f "$STATE/run/$part.pid"
  printf '  %-10s stopped in %s s\n' "$part" "$(tenths $((${EPOCHREALTIME/[.,]/} - began)))"
}

# A template with @NAME@ for each variable named, on standard output.
render() { # FILE NAME...
  local text name
  text=$(<"$1")
  shift
  for name in "$@"; do
    text=${text//"@$name@"/"${!name}"}
  done
  printf '%s\n' "$text"
}
