// Where test/conformance/proto.test.ts finds the contracts to compare ours with. Apart from ../csi, whose csi-sanity
// requires a later CSI.
module loam.dev/test/tools/proto

go 1.25.0

require (
	github.com/container-storage-interface/spec v1.12.0
	k8s.io/kubelet v0.36.3
)
