# Loam's image, built without a registry, and its installation as people do it.

loam_image=loam.dev/loam:dev
image_cache=$LOAM_CACHE/image

make_loam_image() {
  [ -n "$(running_nodes)" ] || die "there is no node to give the image to; scripts/cluster up makes one"
  set_up_apt buildah=buildah mmdebstrap=mmdebstrap
  mkdir -p "$image_cache"
  (cd "$loam_root" && npm run --silent build >&2)
  local key archive=$image_cache/loam.tar
  make_base
  key=$({ find "$loam_root/dist" -type f | sort; echo "$loam_root/Dockerfile"; echo "$image_cache/base.tar.key"; } | xargs sha256sum | sha256sum | cut -d' ' -f1)
  if [ "$(cat "$archive.key" 2>/dev/null)" != "$key" ]; then
    step "building $loam_image from the Dockerfile"
    build_image "$archive" >"$image_cache/build.log" 2>&1 || { tail -20 "$image_cache/build.log" >&2; die "buildah failed"; }
    echo "$key" >"$archive.key"
  fi
  echo "$key" >"$data/loam-image"
  # shellcheck disable=SC2046
  at_once give_loam_image $(running_nodes)
}

# give_loam_image <node>
give_loam_image() {
  ! cmp -s "$data/loam-image" "$data/$1/loam-image" || return 0
  step "$1: $loam_image"
  ctr "$1" images import "$image_cache/loam.tar" >/dev/null
  cp "$data/loam-image" "$data/$1/loam-image"
}

# what node:22-bookworm-slim with the tools of the Dockerfile would be: Debian without its documentation, and Node
make_base() {
  local node key drop options=()
  node=$(readlink -f "$loam_root/node_modules/node/bin/node")
  key=$({ sha256sum <"$node"; declare -f make_base; } | sha256sum)
  [ "$(cat "$image_cache/base.tar.key" 2>/dev/null)" != "$key" ] || return 0
  step "making a Debian base (half a minute)"
  for drop in doc man info locale lintian bash-completion; do options+=("--dpkgopt=path-exclude=/usr/share/$drop/*"); done
  mmdebstrap --variant=minbase --hook-dir=/usr/share/mmdebstrap/hooks/merged-usr --aptopt='APT::Install-Recommends "false"' --include=usr-is-merged,e2fsprogs,xfsprogs,btrfs-progs,util-linux,mount,attr,ca-certificates "${options[@]}" \
    --customize-hook="upload $node /usr/local/bin/node" --customize-hook='chmod 755 "$1/usr/local/bin/node"' \
    bookworm "$image_cache/layer.tar" >"$image_cache/base.log" 2>&1 || { tail -20 "$image_cache/base.log" >&2; die "mmdebstrap failed"; }
  pack_image "$image_cache" '"Cmd": ["/bin/sh"]' localhost/loam-base:latest >"$image_cache/base.tar"
  rm "$image_cache"/{layer.tar,config.json,manifest.json}
  echo "$key" >"$image_cache/base.tar.key"
}

build_image() {
  local store=$data/buildah folder made=()
  # a lock and a cache that buildah keeps outside of what it is given
  for folder in /etc/cni /var/cache/containers /var/lib/containers; do [ -e "$folder" ] || made+=("$folder"); done
  # --isolation chroot and vfs: needs neither user namespaces nor overlays of overlays
  build() { buildah --storage-driver vfs --root "$store" --runroot "$run/buildah" "$@"; }
  build bud --isolation chroot --target prebuilt --build-arg BASE="docker-archive:$image_cache/base.tar" --tag "$loam_image" "$loam_root"
  rm -f "$1"
  build push "$loam_image" "docker-archive:$1:$loam_image"
  rm -rf "$store" "$run/buildah" "${made[@]}"
}

install_loam() {
  local workload node folder=$data/install
  step "kubectl apply -k deploy/kubernetes"
  mkdir -p "$folder"
  # the same tag may be another image than the one that runs
  cat >"$folder/kustomization.yaml" <<YAML
resources: ["$(realpath --relative-to "$folder" "$loam_root/deploy/kubernetes")"]
patches:
  # and who waits for a new pod here waits for its probe
  - target: { kind: DaemonSet|Deployment }
    patch: '[{ "op": "add", "path": "/spec/template/metadata/annotations/image", "value": "$(cat "$data/loam-image")" },
      { "op": "replace", "path": "/spec/template/spec/containers/0/readinessProbe/periodSeconds", "value": 1 }]'
  # tests take it from a node by that label: a change of the DaemonSet would replace the pods of all other nodes as well
  - target: { kind: DaemonSet }
    patch: '[{ "op": "add", "path": "/spec/template/spec/affinity", "value": { "nodeAffinity": { "requiredDuringSchedulingIgnoredDuringExecution": {
      "nodeSelectorTerms": [{ "matchExpressions": [{ "key": "loam.dev/absent", "operator": "DoesNotExist" }] }] } } } }]'
YAML
  kube apply -k "$folder" >&2
  for workload in $(kube -n loam-system get daemonsets,deployments -o name); do
    kube -n loam-system rollout status "$workload" --timeout 120s >&2
  done
  for node in $(running_nodes); do until_true 30 "the kubelet of $node to know the driver" driver_is_registered "$node"; done
}

driver_is_registered() { kube get csinode "$1" -o 'jsonpath={.spec.drivers[*].name}' | grep -w loam.dev >/dev/null; }
