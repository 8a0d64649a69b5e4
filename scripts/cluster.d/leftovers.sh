# What of the cluster is still on the machine, a line each; asked when it ought to be nothing.

leftovers() {
  local name chain folder
  for name in $(pod_processes); do echo "process of a pod $name"; done
  for name in $(shims); do echo "containerd shim $name"; done
  for name in "${program_names[@]}"; do ! is_running "$name" || echo "$name, pid $(pid_of "$name")"; done
  for name in $(mounts_of_cluster); do echo "mount $name"; done
  for name in $(loops_of_cluster); do echo "loop device $name"; done
  for folder in $(cgroup_folders); do echo "cgroup $folder"; done
  ! has_address || echo "address $api_address"
  ! ip link show "$bridge" >/dev/null 2>&1 || echo "network device $bridge"
  # shellcheck disable=SC2046
  for chain in OUTPUT PREROUTING; do ! iptables-legacy -t nat -C $(api_rule $chain) 2>/dev/null || echo "rule of nat $chain"; done
}
