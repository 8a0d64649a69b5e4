# Folders of the machine that kubelet and Loam use under their real names while their data lies with the cluster's.

host_folders=(/var/lib/kubelet /var/lib/loam /run/loam)

# the folder in the root of whose mount stands there: the last field names the file system, the fourth the folder of it
is_ours() { awk -v at="$1" -v of="$data/host$1" '$5 == at { found = $4 } END { exit !(found != "" && substr(of, length(of) - length(found) + 1) == found) }' /proc/self/mountinfo; }

bind_folders() {
  local folder
  for folder in "${host_folders[@]}"; do
    ! is_ours "$folder" || continue
    [ -z "$(ls -A "$folder" 2>/dev/null)" ] || die "$folder is in use on this machine: nothing is started over it"
    [ -d "$folder" ] || { mkdir -p "$folder"; touch "$run/made${folder//\//-}"; }
    mkdir -p "$data/host$folder"
    mount --bind "$data/host$folder" "$folder"
    # shared, as kubelet wants it, but only with itself: else every mount would stand in two places
    mount --make-private "$folder"
    mount --make-shared "$folder"
  done
}

# mounts that are the cluster's, innermost last: paths
mounts_of_cluster() {
  local folder below=("$data" "$run")
  for folder in "${host_folders[@]}"; do ! is_ours "$folder" || below+=("$folder"); done
  awk -v list="${below[*]}" 'BEGIN { n = split(list, roots, " ") }
    { for (i = 1; i <= n; i++) if ($5 == roots[i] || index($5, roots[i] "/") == 1) { print $5; break } }' /proc/self/mountinfo
}

# Loop devices over files of the cluster, and kubelet's over those, which it holds for raw block volumes; these first.
# By device and inode: the path is one of another mount namespace, or of none any more.
loops_of_cluster() {
  [ -d "$data" ] || return 0
  { find "$data" -xdev -type f -printf 'file %D:%i\n' 2>/dev/null
    stat --format 'node %n %d:%i' /dev/loop[0-9]* 2>/dev/null
    losetup --all | sed -nE 's|^(/dev/loop[0-9]+): \[0*([0-9]+)\]:([0-9]+) .*|loop \1 \2:\3|p'; } |
    awk '$1 == "file" { ours[$2] } $1 == "node" { node[$2] = $3 } $1 == "loop" { over[$2] = $3 }
      END { do { more = 0
          for (name in over) if (over[name] in ours && !(name in found)) { found[name]; list = name " " list; ours[node[name]]; more = 1 }
        } while (more)
        print list }'
}

# every mount and loop device but the folders' own
clear_mounts() {
  local path pass
  for pass in 1 2 3; do
    for path in $(mounts_of_cluster | tac); do
      case " ${host_folders[*]} " in *" $path "*) continue ;; esac
      umount "$path" 2>/dev/null || [ $pass -lt 3 ] || umount --lazy "$path" 2>/dev/null || true
    done
  done
  for path in $(loops_of_cluster); do losetup --detach "$path" || true; done
}

clear_folders() {
  local folder
  clear_mounts
  for folder in "${host_folders[@]}"; do
    if is_ours "$folder"; then umount "$folder" || umount --lazy "$folder"; fi
    [ ! -f "$run/made${folder//\//-}" ] || rmdir "$folder" || true
  done
}
