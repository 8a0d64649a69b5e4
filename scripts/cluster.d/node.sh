# The node: containerd and kubelet, and everything that pods leave on the machine.

cgroup=loam-cluster
ctr() { command ctr --address "$run/containerd.sock" --namespace k8s.io "$@"; }

start_node() {
  bind_folders
  make_cgroups
  write_pod_network
  write_containerd_config
  write_kubelet_config
  step "containerd"
  start_program containerd containerd --config "$data/containerd.toml"
  until_true 30 containerd ctr version
  make_test_images
  step "kubelet"
  start_program kubelet "$data/kubelet" --config="$data/kubelet.yaml" --kubeconfig="$data/$node_name.kubeconfig" \
    --hostname-override="$node_name" --node-ip="$api_address" --root-dir=/var/lib/kubelet --cert-dir="$data/pki/kubelet"
  until_true 90 "node $node_name Ready" node_is_ready
}

node_is_ready() { kube get node "$node_name" | grep ' Ready ' >/dev/null; }

end_node() {
  stop_program kubelet 3
  kill_pods
  stop_program containerd 3
  kill_shims
  local hierarchy
  for hierarchy in $(cgroup_folders); do find "$hierarchy" -depth -type d -exec rmdir {} + 2>/dev/null || true; done
  # what container programs keep outside the folders that they are given
  find /var/log/containers -lname "$data/*" -delete 2>/dev/null || true
  local sandbox
  for sandbox in $(find /var/lib/cni/results -name 'loam-cluster-*' -printf '%f\n' 2>/dev/null | cut -d- -f3); do
    rm -f /var/lib/cni/results/*"-$sandbox-"*
  done
  rmdir /var/log/containers /var/lib/cni/results /var/lib/cni /run/containerd/s /run/containerd 2>/dev/null || true
}

# every hierarchy of cgroup v1, or the one of v2
cgroup_folders() { find /sys/fs/cgroup -maxdepth 2 -type d -name "$cgroup" 2>/dev/null; }

make_cgroups() {
  local parent file
  [ ! -f /sys/fs/cgroup/cgroup.controllers ] || { mkdir -p "/sys/fs/cgroup/$cgroup"; return; }
  for parent in $(awk '$(NF-2) == "cgroup" { print $5 }' /proc/self/mountinfo); do
    mkdir -p "$parent/$cgroup"
    for file in cpuset.cpus cpuset.mems; do [ ! -f "$parent/$file" ] || cat "$parent/$file" >"$parent/$cgroup/$file"; done
  done
}

# kubelet was told to put all pods into that cgroup, and nothing else is there
pod_processes() { local folder; for folder in $(cgroup_folders); do find "$folder" -name cgroup.procs -exec cat {} + 2>/dev/null || true; done | sort -u; }
# they name our containerd's socket
shims() { grep -slzxF "$run/containerd.sock" /proc/[0-9]*/cmdline 2>/dev/null | while IFS=/ read -r _ _ pid _; do grep -sqa containerd-shim "/proc/$pid/cmdline" && echo "$pid"; done || true; }

kill_pods() {
  local end=$((SECONDS + 15)) pids
  while pids=$(pod_processes) && [ -n "$pids" ] && [ $SECONDS -lt $end ]; do
    # shellcheck disable=SC2086
    kill -9 $pids 2>/dev/null || true
    sleep 0.1
  done
}

kill_shims() {
  local pids file
  pids=$(shims)
  # shellcheck disable=SC2086
  [ -z "$pids" ] || kill -9 $pids 2>/dev/null || true
  # their sockets lie where all containerds of a machine have them
  for file in "$run"/containerd/io.containerd.runtime.v2.task/k8s.io/*/address; do
    [ ! -f "$file" ] || rm -f "$(sed 's|^unix://||' "$file")"
  done
}

# restrict_oom_score_adj: where even root may not lower it, no container would start
write_containerd_config() {
  cat >"$data/containerd.toml" <<TOML
version = 2
root = "$data/containerd"
state = "$run/containerd"
[grpc]
  address = "$run/containerd.sock"
[plugins."io.containerd.internal.v1.opt"]
  path = "$data/containerd-opt"
[plugins."io.containerd.grpc.v1.cri"]
  restrict_oom_score_adj = true
  netns_mounts_under_state_dir = true
  sandbox_image = "$pause_image"
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/usr/lib/cni"
    conf_dir = "$data/cni"
  [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"
  [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
    Root = "$run/runc"
TOML
}

write_kubelet_config() {
  cat >"$data/kubelet.yaml" <<YAML
apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
address: $api_address
healthzPort: 0
readOnlyPort: 0
authentication: { anonymous: { enabled: false }, webhook: { enabled: false }, x509: { clientCAFile: $data/pki/to-kubelet.crt } }
authorization: { mode: AlwaysAllow }
containerRuntimeEndpoint: unix://$run/containerd.sock
cgroupDriver: cgroupfs
cgroupRoot: /$cgroup
failCgroupV1: false
failSwapOn: false
enforceNodeAllocatable: []
evictionHard: { nodefs.available: 1%, imagefs.available: 1% }
imageGCHighThresholdPercent: 100
podLogsDir: $data/pod-logs
volumePluginDir: $data/volume-plugins
volumeStatsAggPeriod: 10s
YAML
}
