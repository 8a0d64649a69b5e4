# Loop devices, which belong to the whole machine.

# Those over files of the cluster or of file systems that only its nodes have mounted, and kubelet's over those, which it
# holds for raw block volumes; these first. By device and inode: the path is one of another mount namespace, or of none any more.
# loops_of <folder of it> <node…>
loops_of() {
  [ -d "$1" ] || return 0
  { find "$1" -xdev -type f -printf 'file %D:%i\n' 2>/dev/null || true
    awk '{ print "machine", $3 }' /proc/self/mountinfo
    for node in "${@:2}"; do
      ! is_running "$node/namespaces" || awk '{ print "mounted", $3 }' "/proc/$(pid_of "$node/namespaces")/mountinfo"
    done
    stat --format 'node %n %d:%i' /dev/loop[0-9]* 2>/dev/null
    losetup --all | sed -nE 's|^(/dev/loop[0-9]+): \[0*([0-9]+)\]:([0-9]+) .*|loop \1 \2:\3|p'; } |
    awk '$1 == "file" { ours[$2] } $1 == "node" { node[$2] = $3 } $1 == "loop" { over[$2] = $3 } $1 == "machine" { machine[$2] }
      # a number of a device as stat says it
      $1 == "mounted" && !($2 in machine) { split($2, n, ":"); device[n[1] * 256 + n[2] % 256 + (n[2] - n[2] % 256) * 4096] }
      END { do { more = 0
          for (name in over) { split(over[name], at, ":")
            if ((over[name] in ours || at[1] in device) && !(name in found)) { found[name]; list = name " " list; ours[node[name]]; more = 1 } }
        } while (more)
        print list }'
}

# shellcheck disable=SC2046
loops_of_cluster() { loops_of "$data" $(nodes_of_cluster); }
