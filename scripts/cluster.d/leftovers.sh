# What of the cluster is still on the machine, a line each; asked when it ought to be nothing.

leftovers() {
  local name devices=("$bridge")
  for name in "${node_names[@]}"; do devices+=("$(node_device "$name")"); done
  for name in $(pod_processes ''); do echo "process of a pod $name"; done
  for name in $(processes_in ''); do echo "process with a node's mounts $name"; done
  for name in $(find "$run" -name '*.pid' -printf '%P\n' 2>/dev/null | sed 's/\.pid$//'); do ! is_running "$name" || echo "$name, pid $(pid_of "$name")"; done
  awk -v data="$data" -v run="$run" '$5 == data || index($5, data "/") == 1 || index($5, run "/") == 1 { print "mount " $5 }' /proc/self/mountinfo
  for name in $(loops_of_cluster); do echo "loop device $name"; done
  for name in $(cgroup_folders); do echo "cgroup $name"; done
  for name in "${devices[@]}"; do
    ! ip link show "$name" >/dev/null 2>&1 || echo "network device $name"
  done
}

# a mount namespace ends after its last process, and a loop device after its last mount
until_nothing_is_left() {
  local tries
  for ((tries = 0; tries < 50; tries++)); do [ -n "$(leftovers)" ] || return 0; sleep 0.1; done
  return 1
}
