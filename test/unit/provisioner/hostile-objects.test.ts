import * as fc from 'fast-check';
import { afterEach, describe, expect, it } from 'vitest';
import * as annotations from '../../../src/claims/annotations.ts';
import type { PersistentVolume, PersistentVolumeClaim, StorageClass } from '../../../src/kube/objects.ts';
import { knownParameters } from '../../../src/model/class-parameters.ts';
import { mutableKeys } from '../../../src/model/mutable-parameters.ts';
import { controlCharacters, hostileText, hostileTexts } from '../../support/hostile-texts.ts';
import { aClaim, aPersistentVolume, aStorageClass } from '../../support/kube-objects.ts';
import { SnapshotWorld } from './snapshot-world.ts';

const everyAnnotation = Object.values(annotations).filter((value) => /[./]/.test(value));
/** What somebody may put a text into, by the object that holds it. */
const sinks = {
  claimAnnotations: everyAnnotation,
  claimLabels: [annotations.nodeLabel],
  volumeAnnotations: everyAnnotation,
  volumeLabels: [annotations.nodeLabel],
  volumeAttributes: ['loam.dev/pool-uuid', 'loam.dev/backend', annotations.provisionerIdentity],
  classParameters: [...knownParameters, 'fstype', 'csi.storage.k8s.io/pvc/name', 'loam.dev/claim-uid'],
  snapshotClassParameters: ['consistency', 'csi.storage.k8s.io/volumesnapshot/name'],
  attributesClassParameters: mutableKeys,
  contentAnnotations: [annotations.allowModeChange, annotations.nodeLabel],
};
type Sink =
  | keyof typeof sinks
  | 'claimSize'
  | 'claimClass'
  | 'volumeHandle'
  | 'volumeSize'
  | 'contentHandle'
  | 'mountOption'
  | 'selector'
  | 'dataSource'
  | 'affinity';
interface Change {
  readonly sink: Sink;
  readonly key: string;
  readonly text: string;
}

const known = Object.entries(sinks).flatMap(([sink, keys]) =>
  keys.map((key) => ({ sink: sink as Sink, key })),
);
const fields: readonly { readonly sink: Sink; readonly key: string }[] = (
  [
    'claimSize',
    'claimClass',
    'volumeHandle',
    'volumeSize',
    'contentHandle',
    'mountOption',
    'selector',
    'dataSource',
    'affinity',
  ] as const
).map((sink) => ({ sink, key: '' }));
const places = [...known, ...fields];

function valuesFor(changes: readonly Change[], sink: Sink): Record<string, string> {
  // a plain assignment of __proto__ would not make a key of it
  return Object.fromEntries(
    changes.filter((change) => change.sink === sink).map(({ key, text }) => [key, text]),
  );
}

function valueFor(changes: readonly Change[], sink: Sink): string | undefined {
  return changes.find((change) => change.sink === sink)?.text;
}

function hostileClaim(changes: readonly Change[]): PersistentVolumeClaim {
  const size = valueFor(changes, 'claimSize');
  const className = valueFor(changes, 'claimClass');
  const selector = valueFor(changes, 'selector');
  const source = valueFor(changes, 'dataSource');
  return aClaim({
    metadata: {
      name: 'hostile',
      uid: 'uid-2',
      annotations: { [annotations.selectedNode]: 'node-a', ...valuesFor(changes, 'claimAnnotations') },
      labels: valuesFor(changes, 'claimLabels'),
    },
    spec: {
      storageClassName: className ?? 'odd',
      volumeAttributesClassName: 'changed',
      ...(size === undefined ? {} : { resources: { requests: { storage: size } } }),
      ...(selector === undefined ? {} : { selector: { matchLabels: { [selector]: selector } } }),
      ...(source === undefined ? {} : { dataSource: { kind: 'PersistentVolumeClaim', name: source } }),
    },
  });
}

function hostileVolume(changes: readonly Change[]): PersistentVolume {
  const affinity = valueFor(changes, 'affinity');
  const sound = aPersistentVolume();
  return aPersistentVolume({
    metadata: {
      name: 'hostile',
      uid: 'pv-uid-2',
      annotations: valuesFor(changes, 'volumeAnnotations'),
      labels: valuesFor(changes, 'volumeLabels'),
      finalizers: [annotations.provisionerFinalizer],
    },
    spec: {
      capacity: { storage: valueFor(changes, 'volumeSize') ?? '1Gi' },
      claimRef: { namespace: 'shop', name: 'left', uid: 'uid-3' },
      csi: {
        driver: 'loam.dev',
        volumeHandle: valueFor(changes, 'volumeHandle') ?? 'pvc-uid-3',
        volumeAttributes: { 'loam.dev/pool-uuid': 'pool-1', ...valuesFor(changes, 'volumeAttributes') },
      },
      ...(affinity === undefined
        ? {}
        : {
            nodeAffinity: {
              required: {
                nodeSelectorTerms: [
                  { matchExpressions: [{ key: affinity, operator: affinity, values: [affinity] }] },
                ],
              },
            },
          }),
      ...(affinity === undefined && sound.spec.nodeAffinity !== undefined
        ? { nodeAffinity: sound.spec.nodeAffinity }
        : {}),
    },
    status: { phase: 'Released' },
  });
}

function hostileClass(changes: readonly Change[]): StorageClass {
  const option = valueFor(changes, 'mountOption');
  return aStorageClass({
    metadata: { name: 'odd', uid: 'class-9' },
    parameters: { backend: 'directory', limit: 'advisory', ...valuesFor(changes, 'classParameters') },
    ...(option === undefined ? {} : { mountOptions: [option] }),
  });
}

/** A claim that lives and has its volume and data, and beside it objects that somebody has made to do harm. */
class HostileWorld extends SnapshotWorld {
  async meet(changes: readonly Change[]): Promise<void> {
    await this.start({ snapshots: true, expansion: true, modification: true });
    this.claim({
      spec: { volumeName: 'pvc-uid-1' },
      status: { phase: 'Bound', capacity: { storage: '1Gi' } },
    });
    await this.pass(0);
    this.api.put('StorageClass', hostileClass(changes));
    this.api.put('VolumeAttributesClass', {
      metadata: { name: 'changed', uid: 'class-5' },
      driverName: 'loam.dev',
      parameters: { onDelete: 'delete', ...valuesFor(changes, 'attributesClassParameters') },
    });
    this.api.edit('VolumeSnapshotClass', 'daily', (found) => {
      found.parameters = { ...found.parameters, ...valuesFor(changes, 'snapshotClassParameters') };
    });
    this.api.put('PersistentVolumeClaim', hostileClaim(changes));
    this.api.put('PersistentVolume', hostileVolume(changes));
    const handle = valueFor(changes, 'contentHandle');
    this.put({
      metadata: { annotations: valuesFor(changes, 'contentAnnotations') },
      spec: { source: handle === undefined ? { volumeHandle: 'pvc-uid-1' } : { snapshotHandle: handle } },
    });
    for (let turn = 0; turn < 4; turn += 1) await this.pass(1000);
    this.bind();
    await this.pass(60_000);
  }

  /** Whether the loops still do their work, and what they said can be read. */
  async expectUnharmed(): Promise<void> {
    expect(this.driver.volumes.has('pvc-uid-1')).toBe(true);
    expect(this.driver.deletes.map(({ volumeId }) => volumeId)).not.toContain('pvc-uid-1');
    expect(this.volume()?.metadata.deletionTimestamp).toBeUndefined();
    for (const { message = '', metadata } of this.api.all('Event')) expectTold(message, metadata.name);
    for (const claim of this.api.all('PersistentVolumeClaim')) {
      for (const { message = '' } of claim.status?.conditions ?? []) expectTold(message, claim.metadata.name);
    }
    expectTold(this.content()?.status?.error?.message ?? '', 'content');
    this.api.put('PersistentVolumeClaim', aClaim({ metadata: { name: 'later', uid: 'uid-7' } }));
    await this.pass(1000);
    expect(this.volume('pvc-uid-7')).toBeDefined();
  }
}

function expectTold(message: string, about: string): void {
  expect(message.length, about).toBeLessThanOrEqual(1024);
  expect(controlCharacters.test(message), `${about}: ${JSON.stringify(message)}`).toBe(false);
  expect(message.isWellFormed()).toBe(true);
}

const worlds: HostileWorld[] = [];
afterEach(async () => {
  for (const world of worlds.splice(0)) await world.end();
});

async function tryOut(changes: readonly Change[]): Promise<void> {
  const world = new HostileWorld();
  worlds.push(world);
  await world.meet(changes);
  await world.expectUnharmed();
  await world.end();
  worlds.length = 0;
}

describe('a hostile text in the API', () => {
  it.each(Object.keys(sinks) as (keyof typeof sinks)[])(
    'among %s destroys nothing, stops no loop and is told in one short line',
    async (sink) => {
      for (const [index, key] of sinks[sink].entries()) {
        const texts = hostileTexts.filter((_text, at) => (at + index) % 4 === 0);
        for (const text of texts) await tryOut([{ sink, key, text }]);
      }
      await tryOut(hostileTexts.map((text) => ({ sink, key: text, text })));
    },
    60_000,
  );

  it.each(fields)(
    'as $sink destroys nothing, stops no loop and is told in one short line',
    async ({ sink, key }) => {
      for (const text of hostileTexts) await tryOut([{ sink, key, text }]);
    },
    60_000,
  );

  it('in several places at once, chosen at random, does no more', async () => {
    const change = fc
      .tuple(fc.constantFrom(...places), hostileText)
      .map(([place, text]) => ({ ...place, text }));
    await fc.assert(fc.asyncProperty(fc.array(change, { minLength: 1, maxLength: 6 }), tryOut), {
      numRuns: 150,
    });
  }, 60_000);
});
