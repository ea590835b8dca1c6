# How the scripts speak. Sourced.

die() { # LINE...
  printf 'error: %s\n' "$1" >&2
  shift
  (($# == 0)) || printf '       %s\n' "$@" >&2
  exit 1
}

tenths() { # MICROSECONDS -> seconds with one decimal
  printf '%d.%d' $(($1 / 1000000)) $(($1 / 100000 % 10))
}
