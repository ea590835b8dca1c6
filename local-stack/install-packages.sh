#!/usr/bin/env bash
# Installs Debian packages without starting any service: install-packages.sh PACKAGE...  (as root)
#
# Debian's postgresql and redis-server start servers on their default ports when they are installed. For the installation alone, a
# policy-rc.d forbids starting services and createcluster.conf forbids a cluster; then both files are put back exactly as they were, also after a failure.
set -euo pipefail

policy=/usr/sbin/policy-rc.d
cluster=/etc/postgresql-common/createcluster.conf

# A file that was there waits beside its place; where there was none, a mark says so. Either is also found by the next run if this one was killed.
set_aside() { # FILE
  put_back "$1"
  if [[ -e $1 ]]; then mv "$1" "$1.before-highwater"; else : >"$1.absent-before-highwater"; fi
}

put_back() { # FILE
  if [[ -e $1.before-highwater ]]; then
    mv "$1.before-highwater" "$1"
  elif [[ -e $1.absent-before-highwater ]]; then
    rm -f "$1" "$1.absent-before-highwater"
  fi
}

listening() { # PORT
  (: <"/dev/tcp/127.0.0.1/$1") 2>/dev/null
}

install() { # PACKAGE...
  DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends "$@" </dev/null
}

trap 'put_back "$policy"; put_back "$cluster"' EXIT
trap 'exit 1' INT TERM HUP

quiet_before=()
for port in 5432 6379; do
  listening "$port" || quiet_before+=("$port")
done

set_aside "$policy"
printf '#!/bin/sh\nexit 101\n' >"$policy"
chmod 755 "$policy"

apt-get update -q
if [[ " $* " == *" postgresql "* ]]; then
  install postgresql-common # brings its own createcluster.conf, so it comes first
  set_aside "$cluster"
  echo 'create_main_cluster = false' >"$cluster"
fi
install "$@"

# The packages' own services would take the ports at the next boot.
if [[ " $* " == *" redis-server "* && -d /run/systemd/system ]]; then
  systemctl disable -q redis-server
fi

for port in ${quiet_before[@]+"${quiet_before[@]}"}; do
  if listening "$port"; then
    echo "error: installing opened port $port, which it must not" >&2
    exit 1
  fi
done
