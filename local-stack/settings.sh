# Where this clone's stack lives and on which ports. Sourced by stack.sh.
#
# Settings (ports, where the programs are, the secret) are in the clone, in .local/NAME, which git ignores. Data is there too, except for
# root: Postgres refuses to run as root, and its user `postgres` cannot enter a clone under /root, so root's data is in
# /var/lib/highwater-dev/CLONE/NAME, where CLONE is made from the clone's path.

STACK=${HIGHWATER_STACK:-dev}
[[ $STACK =~ ^[a-z0-9-]+$ ]] || die "HIGHWATER_STACK is '$STACK'; small letters, digits and hyphens only"
SETTINGS=$ROOT/.local/$STACK
SETTINGS_FILE=$SETTINGS/settings
SECRET_FILE=$SETTINGS/webhook-secret
if ((EUID == 0)); then
  STATE=/var/lib/highwater-dev/$(basename "$ROOT")-$(printf %s "$ROOT" | sha256sum | cut -c1-10)/$STACK
  CACHE=/var/lib/highwater-dev/cache
else
  STATE=$SETTINGS/data
  CACHE=${XDG_CACHE_HOME:-$HOME/.cache}/highwater
fi

declare -A PORT_OF=([postgres]=POSTGRES_PORT [redis]=REDIS_PORT [kafka]=KAFKA_PORT [connect]=CONNECT_PORT [receiver]=RECEIVER_PORT [engine]=ENGINE_PORT)
declare -A PORT_DEFAULT=([POSTGRES_PORT]=5432 [REDIS_PORT]=6379 [KAFKA_PORT]=9092 [CONNECT_PORT]=8083 [RECEIVER_PORT]=5001 [ENGINE_PORT]=9464)
declare -A CHOSEN=() REMEMBERED=()

# `up` decides: the caller's environment, then what is remembered, then the default. Every other command only follows what is remembered, so
# that a stray variable in another terminal cannot point it at another server.
load_settings() { # COMMAND
  local name value offset=0
  [[ $STACK == dev ]] || offset=10000
  if [[ -f $SETTINGS_FILE ]]; then
    while IFS='=' read -r name value; do
      REMEMBERED[$name]=$value
    done <"$SETTINGS_FILE"
  fi
  for name in "${!PORT_DEFAULT[@]}"; do
    if [[ $1 =~ ^(up|prepare)$ && -n ${!name:-} ]]; then
      if ! [[ ${!name} =~ ^[1-9][0-9]{0,4}$ ]] || ((${!name} > 65535)); then
        die "$name is '${!name}', which is no port"
      fi
      CHOSEN[$name]=${!name}
    fi
    printf -v "$name" %s "${CHOSEN[$name]:-${REMEMBERED[$name]:-$((PORT_DEFAULT[$name] + offset))}}"
  done
  BIN=$(realpath -m "${HIGHWATER_BIN:-${REMEMBERED[BIN]:-${CARGO_TARGET_DIR:-$ROOT/target}/release}}")
}

save_settings() {
  local name
  mkdir -p "$SETTINGS"
  {
    for name in "${!PORT_DEFAULT[@]}"; do
      echo "$name=${!name}"
    done | sort
    echo "BIN=$BIN"
  } >"$SETTINGS_FILE.new"
  mv "$SETTINGS_FILE.new" "$SETTINGS_FILE"
}

# The webhook's shared secret, in the form of Standard Webhooks: 32 random bytes in base64.
ensure_secret() {
  mkdir -p "$SETTINGS"
  [[ -s $SECRET_FILE ]] && return
  (
    umask 077
    printf 'whsec_%s\n' "$(head -c 32 /dev/urandom | base64 -w0)" >"$SECRET_FILE.new"
  )
  mv "$SECRET_FILE.new" "$SECRET_FILE"
}

# Before anything starts, every port that is needed is free, or all that are not are reported at once with the command that avoids them.
# A second stack simply takes the next free one, unless the caller named the port.
settle_ports() { # "PART..."
  local part name wanted taken=() remedy="" twice
  for name in "${!CHOSEN[@]}"; do
    if [[ ${CHOSEN[$name]} != "${REMEMBERED[$name]:-${CHOSEN[$name]}}" ]] && any_running; then
      die "this stack is running with $name=${REMEMBERED[$name]}" "stop it first: ./stack.sh down"
    fi
  done
  twice=$(for name in "${PORT_OF[@]}"; do echo "${!name}"; done | sort | uniq -d)
  [[ -z $twice ]] || die "port $twice is chosen for two parts" "$(for name in "${PORT_OF[@]}"; do printf '%s=%s ' "$name" "${!name}"; done)"

  for part in $1; do
    name=${PORT_OF[$part]:-}
    if [[ -z $name ]] || running "$part" || ! listening "${!name}"; then
      continue
    fi
    wanted=${!name}
    if [[ -n ${REMEMBERED[$name]:-} ]] && any_running; then
      # Others were told this port already: its last owner may be going, and nothing else will do.
      for _ in {1..200}; do
        sleep 0.1
        listening "$wanted" || continue 2
      done
      taken+=("port $wanted ($part) is taken by $(port_owner "$wanted")")
      continue
    fi
    printf -v "$name" %s "$(free_port $((wanted + 1)))"
    if [[ $STACK == dev || -n ${CHOSEN[$name]:-} ]]; then
      taken+=("port $wanted ($part) is taken by $(port_owner "$wanted")")
      CHOSEN[$name]=${!name}
    fi
  done
  if ((${#taken[@]})); then
    [[ $STACK == dev ]] || remedy="HIGHWATER_STACK=$STACK "
    for name in "${!CHOSEN[@]}"; do
      remedy+="$name=${CHOSEN[$name]} "
    done
    die "${taken[@]}" "stop its owner, or choose another: $remedy$HIGHWATER_COMMAND"
  fi
}

listening() { # PORT
  (: <"/dev/tcp/127.0.0.1/$1") 2>/dev/null
}

# The first port from FIRST upwards that nobody listens on and that no part of this stack is to have.
free_port() { # FIRST
  local port=$1 name ours=" "
  for name in "${!PORT_DEFAULT[@]}"; do
    ours+="${!name} "
  done
  while [[ $ours == *" $port "* ]] || listening "$port"; do
    port=$((port + 1))
  done
  echo "$port"
}

port_owner() { # PORT
  local pid
  pid=$(ss -ltnpH "sport = :$1" 2>/dev/null | grep -om1 'pid=[0-9]*' | cut -d= -f2) || true
  if [[ -n $pid ]]; then
    ps -o comm=,user= -p "$pid" | awk -v pid="$pid" '{ printf "%s (pid %s, user %s)", $1, pid, $2 }'
  else
    printf "another user's process (sudo ss -ltnp 'sport = :%s' names it)" "$1"
  fi
}
