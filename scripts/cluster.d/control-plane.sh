# etcd, kube-apiserver, kube-controller-manager and kube-scheduler.

start_control_plane() {
  write_identities
  step "etcd and kube-apiserver"
  start_program etcd etcd --data-dir="$data/etcd" --unsafe-no-fsync \
    --listen-client-urls=http://127.0.0.1:23790 --advertise-client-urls=http://127.0.0.1:23790 \
    --listen-peer-urls=http://127.0.0.1:23800 --initial-advertise-peer-urls=http://127.0.0.1:23800 --initial-cluster=default=http://127.0.0.1:23800
  until_true 30 etcd curl -fs http://127.0.0.1:23790/health
  start_program kube-apiserver "$data/kube-apiserver" --etcd-servers=http://127.0.0.1:23790 \
    --bind-address="$api_address" --advertise-address="$api_address" --secure-port=6443 \
    --service-cluster-ip-range=10.96.0.0/16 --cert-dir="$data/pki/api" --token-auth-file="$data/pki/tokens.csv" \
    --authorization-mode=Node,RBAC --enable-admission-plugins=NodeRestriction --allow-privileged=true \
    --service-account-key-file="$data/pki/sa.pub" --service-account-signing-key-file="$data/pki/sa.key" \
    --service-account-issuer=https://kubernetes.default.svc --kubelet-preferred-address-types=InternalIP \
    --kubelet-client-certificate="$data/pki/to-kubelet.crt" --kubelet-client-key="$data/pki/to-kubelet.key"
  until_true 60 kube-apiserver kube get --raw /readyz
  let_nodes_read
  step "kube-controller-manager and kube-scheduler"
  # half of what it is elsewhere, with kubelets that say twice as often that they are there
  start_program kube-controller-manager "$data/kube-controller-manager" --node-monitor-grace-period=25s --kubeconfig="$data/controller-manager.kubeconfig" \
    --service-account-private-key-file="$data/pki/sa.key" --root-ca-file="$data/pki/api/apiserver.crt" \
    --use-service-account-credentials=true --leader-elect=false --secure-port=0
  start_program kube-scheduler "$data/kube-scheduler" --kubeconfig="$data/scheduler.kubeconfig" --leader-elect=false --secure-port=0
  until_true 60 'the default service account' kube get serviceaccount default
}

# The Node authorizer learns of a pod a moment after its kubelet; a kubelet that is refused once waits 10 to 15 seconds before it
# tries that pod again. What it may read of its own pods it may read of all here; it writes and has tokens as elsewhere.
let_nodes_read() {
  kube apply -f - >/dev/null <<'YAML'
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: { name: loam-cluster-nodes }
rules: [{ apiGroups: [''], resources: [pods, persistentvolumeclaims, persistentvolumes], verbs: [get] }]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: { name: loam-cluster-nodes }
roleRef: { apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: loam-cluster-nodes }
subjects: [{ apiGroup: rbac.authorization.k8s.io, kind: Group, name: 'system:nodes' }]
YAML
}

crd_module=github.com/kubernetes-csi/external-snapshotter/client/v8

# external-snapshotter's half of snapshots, which a cluster has once for all its drivers
start_snapshots() {
  local folder
  step "the kinds of snapshots and snapshot-controller"
  folder=$(cd "$loam_root/test/tools/snapshotter" && go mod download "$crd_module" && go list -m -f '{{.Dir}}' "$crd_module")
  kube apply -k "$folder/config/crd" >&2
  until_true 30 'the kinds of snapshots' kube get volumesnapshotclasses,volumesnapshotcontents,volumesnapshots
  start_program snapshot-controller "$data/snapshot-controller" --kubeconfig="$data/admin.kubeconfig"
}

# it takes a minute to stop by itself, and there is nothing that it would have to save
end_control_plane() {
  local name
  for name in snapshot-controller kube-scheduler kube-controller-manager kube-apiserver etcd; do stop_program "$name" 1; done
}

# A token for each program, so that RBAC and NodeRestriction hold as in a real cluster.
write_identities() {
  [ ! -f "$data/pki/complete" ] || return 0
  mkdir -p "$data/pki"
  { openssl genrsa -out "$data/pki/sa.key" 2048
    openssl rsa -in "$data/pki/sa.key" -pubout -out "$data/pki/sa.pub"
    # for logs and exec: kubelet trusts this one certificate
    openssl req -x509 -newkey rsa:2048 -nodes -days 3650 -subj /O=system:masters/CN=kube-apiserver \
      -keyout "$data/pki/to-kubelet.key" -out "$data/pki/to-kubelet.crt"; } 2>/dev/null
  : >"$data/pki/tokens.csv"
  identity admin admin system:masters
  identity controller-manager system:kube-controller-manager
  identity scheduler system:kube-scheduler
  # kube-apiserver reads them once: those of nodes that are to come as well
  local node
  for node in "${node_names[@]}"; do identity "$node" "system:node:$node" system:nodes; done
  touch "$data/pki/complete"
}

# identity <file name> <user> [group]
identity() {
  local token
  token=$(openssl rand -hex 16)
  echo "$token,$2,$2${3:+,\"$3\"}" >>"$data/pki/tokens.csv"
  cat >"$data/$1.kubeconfig" <<JSON
{ "apiVersion": "v1", "kind": "Config", "current-context": "loam-cluster",
  "clusters": [{ "name": "loam-cluster", "cluster": { "server": "https://$api_address:6443", "certificate-authority": "$data/pki/api/apiserver.crt" } }],
  "users": [{ "name": "$1", "user": { "token": "$token" } }],
  "contexts": [{ "name": "loam-cluster", "context": { "cluster": "loam-cluster", "user": "$1" } }] }
JSON
}
