# A node: its namespaces, containerd and kubelet, and everything that pods leave on the machine.

cgroup=loam-cluster
ctr() { local node=$1; shift; enter "$node" ctr --namespace k8s.io "$@"; }

# those that have ever been started
nodes_of_cluster() { local node; for node in "${node_names[@]}"; do [ ! -d "$data/$node" ] || echo "$node"; done; }
running_nodes() { local node; for node in "${node_names[@]}"; do ! is_running "$node/namespaces" || echo "$node"; done; }
is_node() { is_running "$1/namespaces" || die "there is no node ${1:-without a name}; there are: $(running_nodes | xargs)"; }

# start_runtime <node>: all that a node has before it knows of a cluster
start_runtime() {
  local node=$1
  # a node that lost its namespaces, or was killed in the middle of getting them, begins anew
  if ! is_running "$node/namespaces" || ! is_connected "$node"; then
    end_node "$node"
    start_namespaces "$node"
    connect_node "$node"
  fi
  ! is_running "$node/containerd" || return 0
  step "$node: containerd and the test images"
  make_cgroups "$node"
  write_pod_network "$node"
  write_containerd_config "$node"
  # images are unpacked below the folder for temporary files first
  start_inside "$node" containerd env TMPDIR=/var/tmp containerd --config "$data/$node/containerd.toml"
  until_true 30 "containerd of $node" ctr "$node" version
  give_test_images "$node"
}

start_kubelet() {
  local node=$1
  ! is_running "$node/kubelet" || return 0
  step "$node: kubelet"
  write_kubelet_config "$node"
  start_inside "$node" kubelet "$data/kubelet" --config="$data/$node/kubelet.yaml" --kubeconfig="$data/$node.kubeconfig" \
    --hostname-override="$node" --node-ip="$(node_address "$node")" --root-dir=/var/lib/kubelet
  until_node_serves "$node"
}

# Ready is for a while what the kubelet before said; that it wants to know who asks is an answer too
until_node_serves() {
  until_true 60 "$1/kubelet" curl -sk "https://$(node_address "$1"):10250/healthz"
  until_true 90 "node $1 Ready" node_is_ready "$1"
}

# start_inside <node> <name> <command…>
start_inside() {
  local node=$1 name=$2 pid
  shift 2
  pid=$(pid_of "$node/namespaces")
  start_program "$node/$name" nsenter --mount="/proc/$pid/ns/mnt" --net="/proc/$pid/ns/net" -- "$@"
}

node_is_ready() { kube get node "$1" | grep ' Ready ' >/dev/null; }

end_node() {
  local node=$1 loops path
  stop_program "$node/kubelet" 3
  kill_all pod_processes "$node"
  stop_program "$node/containerd" 3
  kill_all processes_in "$node"
  # after the namespaces nobody could tell those any more that lie on other file systems than the node's
  loops=$(loops_of "$data/$node" "$node")
  stop_program "$node/namespaces" 0
  for path in $loops; do losetup --detach "$path" 2>/dev/null || true; done
  disconnect_node "$node"
  remove_cgroups "$node"
}

# cgroup_folders [node]: in every hierarchy of cgroup v1, or the one of v2
cgroup_folders() {
  local folder
  for folder in /sys/fs/cgroup/"$cgroup" /sys/fs/cgroup/*/"$cgroup"; do
    [ ! -d "$folder${1:+/$1}" ] || echo "$folder${1:+/$1}"
  done
}

make_cgroups() {
  local parent file path
  if [ -f /sys/fs/cgroup/cgroup.controllers ]; then mkdir -p "/sys/fs/cgroup/$cgroup/$1"; return; fi
  for parent in $(awk '$(NF-2) == "cgroup" { print $5 }' /proc/self/mountinfo); do
    mkdir -p "$parent/$cgroup/$1"
    for file in cpuset.cpus cpuset.mems; do
      for path in "$parent/$cgroup" "$parent/$cgroup/$1"; do [ ! -f "$parent/$file" ] || cat "$parent/$file" >"$path/$file"; done
    done
  done
}

# remove_cgroups [node]
remove_cgroups() {
  local folder
  for folder in $(cgroup_folders "$@"); do find "$folder" -depth -type d -exec rmdir {} + 2>/dev/null || true; done
}

# kubelet was told to put all pods into that cgroup, and nothing else is there
pod_processes() { local folder; for folder in $(cgroup_folders "$1"); do find "$folder" -name cgroup.procs -exec cat {} + 2>/dev/null || true; done | sort -u; }

# kill_all <function that lists pids> <its argument>
kill_all() {
  local end=$((SECONDS + 15)) pids
  while pids=$("$1" "$2") && [ -n "$pids" ] && [ $SECONDS -lt $end ]; do
    # shellcheck disable=SC2086
    kill -9 $pids 2>/dev/null || true
    sleep 0.1
  done
}

# restrict_oom_score_adj: where even root may not lower it, no container would start
write_containerd_config() {
  cat >"$data/$1/containerd.toml" <<TOML
version = 2
[plugins."io.containerd.internal.v1.opt"]
  path = "/var/lib/containerd/opt"
[plugins."io.containerd.grpc.v1.cri"]
  restrict_oom_score_adj = true
  netns_mounts_under_state_dir = true
  sandbox_image = "$pause_image"
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/usr/lib/cni"
    conf_dir = "$data/$1/cni"
TOML
}

# no resolver: nothing that it could name can be reached from a node
write_kubelet_config() {
  cat >"$data/$1/kubelet.yaml" <<YAML
apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
address: $(node_address "$1")
healthzPort: 0
readOnlyPort: 0
authentication: { anonymous: { enabled: false }, webhook: { enabled: false }, x509: { clientCAFile: $data/pki/to-kubelet.crt } }
authorization: { mode: AlwaysAllow }
containerRuntimeEndpoint: unix:///run/containerd/containerd.sock
cgroupDriver: cgroupfs
cgroupRoot: /$cgroup/$1
failCgroupV1: false
failSwapOn: false
enforceNodeAllocatable: []
evictionHard: { nodefs.available: 1%, imagefs.available: 1% }
imageGCHighThresholdPercent: 100
resolvConf: ""
volumePluginDir: /var/lib/kubelet/volume-plugins
volumeStatsAggPeriod: 10s
nodeLeaseDurationSeconds: 20
YAML
}
