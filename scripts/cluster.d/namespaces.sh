# A node's mount and network namespaces. A process that sleeps holds them; they end with the last process in them, and the mounts
# in them end too, so that nothing that kubelet, containerd or Loam mounts is ever to be seen on the machine.

# Runs in the new namespaces; <folder of the node> <the cache of this project> <file that says that all is done>
hold_namespaces() {
  set -eu
  cd "$2"
  # containers and kubelet keep many things below /var, and not all of them can be told to keep them elsewhere
  mount --bind "$1/var" /var
  mount -t tmpfs -o mode=755 tmpfs /run
  mkdir -p /run/lock
  # where the project itself lies below one of the two; by the directory that is still open, its path leads elsewhere now
  [ -d "$2/cluster" ] || { mkdir -p "$2"; mount --no-canonicalize --bind . "$2"; }
  # shared, as kubelet wants it, after private: each with nobody but copies of itself
  mount --make-rprivate /
  mount --make-rshared /
  cd /
  : >"$3"
  exec sleep infinity
}

# start_namespaces <node>
start_namespaces() {
  local folder=$data/$1 ready=$data/$1/namespaces-ready
  mkdir -p "$folder"/var/{cache,lib/kubelet,lib/loam,log,tmp}
  chmod 1777 "$folder/var/tmp"
  ln -sfn /run "$folder/var/run"
  ln -sfn /run/lock "$folder/var/lock"
  rm -f "$ready"
  start_program "$1/namespaces" unshare --mount --net --propagation private \
    bash -c "$(declare -f hold_namespaces); hold_namespaces \"\$@\"" bash "$folder" "$LOAM_CACHE" "$ready"
  until_true 10 "the namespaces of $1" test -f "$ready"
}

# enter <node> [command…]: in its namespaces
enter() {
  local pid
  pid=$(pid_of "$1/namespaces")
  shift
  # by the process's files and not by --all: neither its root nor its cgroup is meant
  nsenter --mount="/proc/$pid/ns/mnt" --net="/proc/$pid/ns/net" -- "${@:-bash}"
}

# processes_in <node>, or of any node, wherever their own namespaces are: whoever sees its folder mounted. Not the one that
# holds the namespaces, so that they can be looked at until the others are gone.
processes_in() {
  local path holder
  [ -d "$data" ] || return 0
  # as the kernel writes it: below the root of its file system
  path=$(realpath "$data")
  path=${path#"$(stat --format %m "$path")"}/${1:-node-}
  holder=$(pid_of "${1:-none}/namespaces") || true
  grep -lF "$path" /proc/[0-9]*/mountinfo 2>/dev/null | cut -d/ -f3 | grep -vx "${holder:-none}" || true
}
