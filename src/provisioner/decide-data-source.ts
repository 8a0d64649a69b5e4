import type { PersistentVolumeClaim } from '../kube/objects.ts';
import type { ControllerCapability } from '../model/csi-driver.ts';
import { readDataSource, type SourceRef } from '../claims/data-source.ts';

export type DataSourceDecision =
  | { readonly kind: 'empty' }
  | { readonly kind: 'populator'; readonly reason: string }
  | { readonly kind: 'refuse'; readonly reason: string }
  /** to be copied, if it is there and fits: src/claims/find-source.ts */
  | SourceRef;

/** What to do about the data that a claim wants to begin with, before anything is looked up. */
export function decideDataSource(
  claim: PersistentVolumeClaim,
  capabilities: ReadonlySet<ControllerCapability>,
): DataSourceDecision {
  const source = readDataSource(claim);
  switch (source.kind) {
    case 'empty':
      return source;
    case 'populator':
      return { kind: 'populator', reason: 'Assuming an external populator will provision the volume' };
    case 'unusable':
      return refuse(source.reason);
    case 'snapshot':
      if (capabilities.has('CREATE_DELETE_SNAPSHOT')) return source;
      return refuse(
        `the driver cannot restore snapshot ${source.name}; make the claim without dataSource and copy the data in from a pod`,
      );
    case 'claim':
      if (capabilities.has('CLONE_VOLUME')) return source;
      return refuse(
        `the driver cannot clone claim ${source.name}; make the claim without dataSource and copy the data over from a pod`,
      );
  }
}

function refuse(reason: string): DataSourceDecision {
  return { kind: 'refuse', reason };
}
