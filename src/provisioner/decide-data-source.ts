import type { PersistentVolumeClaim } from '../kube/objects.ts';
import type { ControllerCapability } from '../model/csi-driver.ts';
import { dataSourceOf } from '../claims/claim-facts.ts';

export type DataSourceDecision =
  | { readonly kind: 'empty' }
  | { readonly kind: 'populator'; readonly reason: string }
  | { readonly kind: 'refuse'; readonly reason: string };

const snapshotGroup = 'snapshot.storage.k8s.io';

/** What to do about the data that a claim wants to begin with. Restores and clones are not served yet. */
export function decideDataSource(
  claim: PersistentVolumeClaim,
  capabilities: ReadonlySet<ControllerCapability>,
): DataSourceDecision {
  const source = dataSourceOf(claim);
  if (source === undefined) return { kind: 'empty' };
  const group = source.apiGroup ?? '';
  const isSnapshot = source.kind === 'VolumeSnapshot' && group === snapshotGroup;
  const isClaim = source.kind === 'PersistentVolumeClaim' && group === '';
  if (!isSnapshot && !isClaim) {
    return { kind: 'populator', reason: 'Assuming an external populator will provision the volume' };
  }
  if (source.name === '') return refuse(`the data source of kind ${source.kind} has no name`);
  if (source.namespace !== undefined && source.namespace !== claim.metadata.namespace) {
    return refuse(
      `the data source ${source.namespace}/${source.name} is in another namespace; copy it into this one first`,
    );
  }
  return isSnapshot ? refuseRestore(source.name, capabilities) : refuseClone(source.name, capabilities);
}

function refuseRestore(name: string, capabilities: ReadonlySet<ControllerCapability>): DataSourceDecision {
  if (!capabilities.has('CREATE_DELETE_SNAPSHOT')) {
    return refuse(
      `the driver cannot restore snapshot ${name}; make the claim without dataSource and copy the data in from a pod`,
    );
  }
  return refuse(
    `this provisioner does not restore snapshots yet (${name}); make the claim without dataSource and copy the data in`,
  );
}

function refuseClone(name: string, capabilities: ReadonlySet<ControllerCapability>): DataSourceDecision {
  if (!capabilities.has('CLONE_VOLUME')) {
    return refuse(
      `the driver cannot clone claim ${name}; make the claim without dataSource and copy the data over from a pod`,
    );
  }
  return refuse(
    `this provisioner does not clone claims yet (${name}); make the claim without dataSource and copy the data over`,
  );
}

function refuse(reason: string): DataSourceDecision {
  return { kind: 'refuse', reason };
}
