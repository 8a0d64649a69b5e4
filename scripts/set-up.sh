# Sourced by the scripts beside it: puts in place what they need on a fresh machine. Says what it does, does nothing twice.

loam_root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
export LOAM_CACHE=${LOAM_CACHE:-$loam_root/.cache}

say() { printf '%s\n' "$*" >&2; }

# npm's packages, and with them a current Node (the package `node`), first on the PATH.
set_up_npm() {
  # what npm notes of its last install; packages that are current are not touched, somebody else may be using them
  local installed=$loam_root/node_modules/.package-lock.json
  if [ ! -x "$loam_root/node_modules/.bin/node" ] || [ "$loam_root/package-lock.json" -nt "$installed" ]; then
    command -v npm >/dev/null || { say "npm is missing: install Node.js 20 or later (it brings npm) and try again"; exit 1; }
    say "installing npm packages…"
    (cd "$loam_root" && npm ci --no-audit --no-fund --loglevel=error) >&2
  elif [ ! -d "$loam_root/src/csi/generated" ] || [ "$loam_root/proto" -nt "$loam_root/src/csi/generated" ]; then
    (cd "$loam_root" && npm run --silent generate) >&2
  fi
  PATH=$loam_root/node_modules/.bin:$PATH
}

# Debian packages, as root only: set_up_apt <command to look for>=<package> …
set_up_apt() {
  local missing=() pair
  for pair in "$@"; do command -v "${pair%%=*}" >/dev/null || missing+=("${pair##*=}"); done
  [ ${#missing[@]} -gt 0 ] || return 0
  if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
    say "not installed, and not installable from here: ${missing[*]} (the suites that need them say so and skip)"
    return 0
  fi
  say "installing ${missing[*]}…"
  { apt-get update -q && DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends "${missing[@]}"; } >"$LOAM_CACHE/apt.log" 2>&1 ||
    say "apt-get failed, see $LOAM_CACHE/apt.log; the suites that need these packages say so and skip"
}

# node with what every entry point of the project needs: sources are TypeScript, run by stripping the types.
loam_node() { node --disable-warning=ExperimentalWarning "$@"; }
