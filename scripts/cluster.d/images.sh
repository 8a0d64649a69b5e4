# Images without a registry: busybox as what tests run, and as what holds a pod's namespaces.

pause_image=registry.k8s.io/pause:3.10
test_images=(docker.io/library/busybox:1.36 docker.io/library/busybox:latest)

# archives of both, made before the first node asks
pack_test_images() {
  local root=$data/busybox name
  [ ! -f "$data/busybox.tar" ] || return 0
  mkdir -p "$root"/{bin,etc,root,tmp,var/log}
  chmod 1777 "$root/tmp"
  cp /bin/busybox "$root/bin/"
  for name in $(/bin/busybox --list); do [ "$name" = busybox ] || ln -sf busybox "$root/bin/$name"; done
  echo 'root:x:0:0:root:/root:/bin/sh' >"$root/etc/passwd"
  echo 'root:x:0:' >"$root/etc/group"
  pack_folder "$root" '"Entrypoint": ["/bin/sleep", "2147483647"]' "$pause_image" >"$data/pause.tar"
  pack_folder "$root" '"Cmd": ["/bin/sh"]' "${test_images[@]}" >"$data/busybox.tar.new"
  mv "$data/busybox.tar.new" "$data/busybox.tar"
}

# give_test_images <node>
give_test_images() {
  local archive
  ! ctr "$1" images list --quiet | grep -xF "${test_images[0]}" >/dev/null || return 0
  for archive in pause busybox; do ctr "$1" images import "$data/$archive.tar" >/dev/null; done
}

# pack_folder <folder> <JSON of its configuration> <image name…>
pack_folder() {
  local work
  work=$(mktemp -d -p "$data")
  tar --sort=name --owner=0 --group=0 --numeric-owner --mtime=@0 -C "$1" -cf "$work/layer.tar" .
  pack_image "$work" "${@:2}"
  rm -rf "$work"
}

# pack_image <folder with layer.tar> <JSON of its configuration> <image name…>: an image of that layer, in docker's archive format
pack_image() {
  cat >"$1/config.json" <<JSON
{ "architecture": "$(dpkg --print-architecture)", "os": "linux",
  "config": { "Env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"], $2 },
  "rootfs": { "type": "layers", "diff_ids": ["sha256:$(sha256sum "$1/layer.tar" | cut -d' ' -f1)"] },
  "history": [{ "created": "1970-01-01T00:00:00Z" }] }
JSON
  echo "[{ \"Config\": \"config.json\", \"RepoTags\": [$(printf '"%s",' "${@:3}" | sed 's/,$//')], \"Layers\": [\"layer.tar\"] }]" >"$1/manifest.json"
  tar -C "$1" -cf - manifest.json config.json layer.tar
}
