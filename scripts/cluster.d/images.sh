# Images without a registry: busybox as what tests run, and as what holds a pod's namespaces.

pause_image=registry.k8s.io/pause:3.10
test_images=(docker.io/library/busybox:1.36 docker.io/library/busybox:latest)

make_test_images() {
  ! ctr images list --quiet | grep -xF "${test_images[0]}" >/dev/null || return 0
  local root=$data/busybox name
  mkdir -p "$root"/{bin,etc,root,tmp,var/log}
  chmod 1777 "$root/tmp"
  cp /bin/busybox "$root/bin/"
  for name in $(/bin/busybox --list); do [ "$name" = busybox ] || ln -sf busybox "$root/bin/$name"; done
  echo 'root:x:0:0:root:/root:/bin/sh' >"$root/etc/passwd"
  echo 'root:x:0:' >"$root/etc/group"
  import_folder "$root" "$pause_image" '"Entrypoint": ["/bin/sleep", "2147483647"]'
  for name in "${test_images[@]}"; do import_folder "$root" "$name" '"Cmd": ["/bin/sh"]'; done
}

# import_folder <folder> <image name> <JSON of its configuration>
import_folder() {
  local work
  work=$(mktemp -d -p "$data")
  tar --sort=name --owner=0 --group=0 --numeric-owner --mtime=@0 -C "$1" -cf "$work/layer.tar" .
  pack_image "$work" "$2" "$3" | ctr images import - >/dev/null
  rm -rf "$work"
}

# pack_image <folder with layer.tar> <image name> <JSON of its configuration>: an image of that layer, in docker's archive format
pack_image() {
  cat >"$1/config.json" <<JSON
{ "architecture": "$(dpkg --print-architecture)", "os": "linux",
  "config": { "Env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"], $3 },
  "rootfs": { "type": "layers", "diff_ids": ["sha256:$(sha256sum "$1/layer.tar" | cut -d' ' -f1)"] },
  "history": [{ "created": "1970-01-01T00:00:00Z" }] }
JSON
  echo "[{ \"Config\": \"config.json\", \"RepoTags\": [\"$2\"], \"Layers\": [\"layer.tar\"] }]" >"$1/manifest.json"
  tar -C "$1" -cf - manifest.json config.json layer.tar
}
