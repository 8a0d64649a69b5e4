import { parseAllDocuments } from 'yaml';
import type { StorageClass } from '../../src/kube/objects.ts';

export interface Manifest {
  readonly apiVersion: string;
  readonly kind: string;
  readonly metadata: { readonly name: string; readonly namespace?: string };
}

export interface PolicyRule {
  readonly apiGroups: readonly string[];
  readonly resources: readonly string[];
  readonly resourceNames?: readonly string[];
  readonly verbs: readonly string[];
}

interface ManifestKinds {
  Namespace: Manifest;
  ServiceAccount: Manifest;
  ClusterRole: Manifest & { readonly rules: readonly PolicyRule[] };
  ClusterRoleBinding: Binding;
  Role: Manifest & { readonly rules: readonly PolicyRule[] };
  RoleBinding: Binding;
  ValidatingAdmissionPolicy: Manifest & { readonly spec: AdmissionPolicySpec };
  ValidatingAdmissionPolicyBinding: Manifest & {
    readonly spec: { readonly policyName: string; readonly validationActions: readonly string[] };
  };
  CSIDriver: Manifest & { readonly spec: Readonly<Record<string, unknown>> };
  DaemonSet: Workload;
  Deployment: Workload;
  PodDisruptionBudget: Manifest;
  StorageClass: Manifest &
    Pick<StorageClass, 'provisioner' | 'parameters' | 'volumeBindingMode' | 'allowVolumeExpansion'>;
}

type Workload = Manifest & {
  readonly spec: {
    readonly replicas?: number;
    readonly template: { readonly metadata: object; readonly spec: PodSpec };
  };
};

type Binding = Manifest & {
  readonly roleRef: { readonly kind: string; readonly name: string };
  readonly subjects: readonly { readonly name: string; readonly namespace: string }[];
};

export interface AdmissionPolicySpec {
  readonly failurePolicy: string;
  readonly matchConstraints: {
    readonly resourceRules: readonly {
      readonly apiGroups: readonly string[];
      readonly resources: readonly string[];
      readonly operations: readonly string[];
    }[];
  };
  readonly validations: readonly { readonly expression: string; readonly messageExpression?: string }[];
}

interface PodSpec {
  readonly hostPID?: boolean;
  readonly serviceAccountName: string;
  readonly priorityClassName: string;
  readonly containers: readonly {
    readonly image: string;
    readonly args: readonly string[];
    readonly env?: readonly { readonly name: string }[];
    readonly securityContext?: object;
    readonly volumeMounts?: readonly {
      readonly name: string;
      readonly mountPath: string;
      readonly mountPropagation?: string;
    }[];
  }[];
  readonly volumes?: readonly {
    readonly name: string;
    readonly hostPath?: { readonly path: string; readonly type: string };
  }[];
}

/** The objects of a file of manifests. @throws where one of its documents is no YAML, or has a key twice */
export function parseManifests(text: string): readonly Manifest[] {
  const documents = parseAllDocuments(text, { strict: true, uniqueKeys: true });
  return (Array.isArray(documents) ? documents : []).map((document) => {
    const [problem] = [...document.errors, ...document.warnings];
    if (problem !== undefined) throw problem;
    return document.toJS() as Manifest;
  });
}

/** All objects of a kind: our own manifests, so their shape is known. */
export function ofKind<K extends keyof ManifestKinds>(
  manifests: readonly Manifest[],
  kind: K,
): readonly ManifestKinds[K][] {
  return manifests.filter((manifest): manifest is ManifestKinds[K] => manifest.kind === kind);
}
