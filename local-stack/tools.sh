# What the stack needs from the system and from Maven: found, checked, and for quick_start.sh and the tests installed. Sourced.

# The one list: Debian package, and a test that needs no package to succeed, so that a Java or a Maven from elsewhere serves as well.
DEBIAN_PACKAGES="
postgresql            postgres_bin
redis-server          command -v redis-server
default-jre-headless  command -v java
maven                 command -v mvn
curl                  command -v curl
iproute2              command -v ss
procps                command -v ps
pkg-config            command -v pkg-config
g++                   command -v g++
make                  command -v make
zlib1g-dev            compgen -G /usr/include/zlib.h
"
JARS=$CACHE/$(sha256sum <"$ROOT/local-stack/pom.xml" | cut -c1-12)

# Installs what is missing, without letting any of it start.
install_tools() {
  local package check missing=()
  while read -r package check; do
    [[ -z $package ]] || $check >/dev/null 2>&1 || missing+=("$package")
  done <<<"$DEBIAN_PACKAGES"
  if ((${#missing[@]})); then
    command -v apt-get >/dev/null || die "missing: ${missing[*]} (Debian's names)" "install them with this system's package manager, then repeat"
    ((EUID == 0)) || command -v sudo >/dev/null || die "missing: ${missing[*]}" "run as root: apt-get install ${missing[*]}"
    echo "  installing Debian packages (a minute or two): ${missing[*]}"
    as_root bash "$ROOT/local-stack/install-packages.sh" "${missing[@]}"
  fi
  command -v cargo >/dev/null || die "the Rust toolchain is missing" "get it from https://rustup.rs, open a new terminal, and repeat"
}

as_root() {
  if ((EUID == 0)); then "$@"; else sudo "$@"; fi
}

# What the parts need is there and new enough, or the remedy.
require_tools() { # "PART..."
  local part program
  for part in $1; do
    case $part in
      postgres) at_least PostgreSQL 15 "$(postgres_version)" ;;
      redis) at_least Redis 7 "$(redis-server --version 2>/dev/null | grep -o 'v=[0-9]*' | cut -c3-)" ;;
      kafka | connect)
        at_least Java 17 "$(java -version 2>&1 | grep -om1 'version "[0-9]*' | grep -o '[0-9]*$')"
        fetch_jars
        ;;
      *)
        program=$(program_of "$part")
        [[ -x $program ]] || die "$program is not built" "build it: ./quick_start.sh, or set HIGHWATER_BIN to the directory that holds it"
        ;;
    esac
  done
}

at_least() { # NAME MAJOR FOUND
  local remedy="./quick_start.sh installs it on Debian 12 and later; elsewhere install $1 $2 or later"
  [[ -n $3 ]] || die "$1 is missing" "$remedy"
  (($3 >= $2)) || die "$1 $3 is too old; version $2 or later is needed" "$remedy"
}

# The newest server's directory: Debian keeps it off the PATH.
postgres_bin() {
  local directory
  directory=$(compgen -G '/usr/lib/postgresql/*/bin/postgres' | sort -rV | head -n 1) || true
  directory=${directory:-$(command -v postgres)} && dirname "$directory"
}

postgres_version() {
  local directory
  directory=$(postgres_bin) && "$directory/postgres" --version | grep -om1 '[0-9]*' | head -n 1
}

# Kafka and Debezium, once per machine and pom.xml: every clone and every stack shares them. They appear whole or not at all.
fetch_jars() {
  [[ ! -d $JARS ]] || return 0
  command -v mvn >/dev/null || die "Maven is missing; it fetches Kafka and Debezium" "./quick_start.sh installs it, or: apt-get install maven"
  mkdir -p "$CACHE"
  (
    flock 8
    [[ ! -d $JARS ]] || exit 0
    echo "  fetching Kafka and Debezium with Maven (about 90 MB, once)"
    rm -rf "$JARS.part"
    mvn -B -q -ntp -f "$ROOT/local-stack/pom.xml" package -Doutput="$JARS.part" >"$CACHE/maven.log" 2>&1 || {
      tail -n 20 "$CACHE/maven.log" >&2
      die "Maven could not fetch Kafka and Debezium; its log: $CACHE/maven.log"
    }
    mv "$JARS.part" "$JARS"
  ) 8>"$CACHE/lock"
}
