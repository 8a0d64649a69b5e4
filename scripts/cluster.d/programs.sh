# Background programs: started once, found again by pid and moment of start, ended by that and never by name.

control_programs=(etcd kube-apiserver kube-controller-manager kube-scheduler snapshot-controller)
# of each node, named node-a/kubelet and so on
node_programs=(namespaces containerd kubelet)

# A pid is used again one day; a pid with its moment of start (in ticks since the boot) is not.
started_at() {
  local stat
  stat=$(cat "/proc/$1/stat" 2>/dev/null) || return 1
  # the second field is the name in parentheses, and may hold anything
  # shellcheck disable=SC2086
  set -- ${stat##*) }
  [ "$1" != Z ] && echo "${20}"
}

pid_of() { cut -d' ' -f1 "$run/$1.pid" 2>/dev/null; }

is_running() {
  local pid moment
  read -r pid moment 2>/dev/null <"$run/$1.pid" || return 1
  [ "$(started_at "$pid")" = "$moment" ]
}

# start_program <name> <command…>; its flags are kept for `start` and `restart`
start_program() {
  local name=$1
  shift
  ! is_running "$name" || return 0
  mkdir -p "$(dirname "$run/$name")" "$(dirname "$data/$name")"
  printf '%q ' "$@" >"$run/$name.command"
  setsid nohup "$@" >>"$data/$name.log" 2>&1 </dev/null 9>&- &
  echo "$! $(started_at $!)" >"$run/$name.pid"
}

# stop_program <name> <seconds until kill -9>
stop_program() {
  local name=$1 tenths=$(($2 * 10)) pid
  if is_running "$name"; then
    pid=$(pid_of "$name")
    kill "$pid" 2>/dev/null || true
    while [ $tenths -gt 0 ] && is_running "$name"; do sleep 0.1; tenths=$((tenths - 1)); done
    ! is_running "$name" || kill -9 "$pid" 2>/dev/null || true
    while is_running "$name"; do sleep 0.05; done
  fi
  rm -f "$run/$name.pid"
}

# full_name <program> [node]
full_name() {
  case ${1:-} in
    kubelet | containerd) is_node "${2:-node-a}"; echo "${2:-node-a}/$1" ;;
    *) [[ -n ${1:-} && " ${control_programs[*]} " == *" $1 "* ]] || die "which program? One of kubelet containerd ${control_programs[*]}"; echo "$1" ;;
  esac
}

stop_named() { local name; name=$(full_name "$@") || exit 1; stop_program "$name" 5; }
restart_named() { stop_named "$@"; start_named "$@"; }

start_named() {
  local name line
  name=$(full_name "$@") || exit 1
  line=$(cat "$run/$name.command" 2>/dev/null) || die "$name was not started by scripts/cluster"
  # written with %q by start_program, in a folder that only root can enter
  eval "start_program $name $line"
  case $name in
    kube-apiserver) until_true 60 kube-apiserver kube get --raw /readyz ;;
    */kubelet) until_node_serves "${name%/*}" ;;
    */containerd) until_true 30 "$name" ctr "${name%/*}" version ;;
  esac
}

# Debian's and Go's programs, in place once this has returned: find_programs <number of nodes> [program…]
find_programs() {
  local wanted=(kube-apiserver kube-controller-manager kube-scheduler kubectl "${@:2}") packages=(etcd=etcd-server openssl=openssl curl=curl ip=iproute2 iptables-legacy=iptables)
  if [ "$1" != 0 ]; then
    wanted+=(kubelet)
    packages+=(containerd=containerd runc=runc losetup=mount mkfs.ext4=e2fsprogs mkfs.xfs=xfsprogs mkfs.btrfs=btrfs-progs)
    [ -x /usr/lib/cni/bridge ] || packages+=(cni-bridge=containernetworking-plugins)
    [ -x /bin/busybox ] || packages+=(busybox-static=busybox-static)
  fi
  set_up_apt "${packages[@]}"
  step "looking for the Go programs, and building what is not there"
  local built
  built=$(loam_node "$loam_root/test/tools/build.ts" "${wanted[@]}")
  for built in $built; do ln -sfn "$built" "$data/$(basename "$built" | sed -E 's/-[0-9a-f]{12}$//')"; done
  for built in "${wanted[@]}"; do [ -x "$data/$built" ] || die "no $built: Go is needed"; done
}

program() { [ -x "$data/$1" ] || die "there is no cluster; scripts/cluster up makes one"; echo "$data/$1"; }
