import { describe, expect, it } from 'vitest';
import type { PersistentVolume, PersistentVolumeClaim } from '../../../src/kube/objects.ts';
import { decideExpansion } from '../../../src/provisioner/expansion/decide-expansion.ts';
import type { ResizeStatus } from '../../../src/provisioner/expansion/expansion-state.ts';
import { aClaim, aPersistentVolume } from '../../support/kube-objects.ts';
import { own as ownSide } from './own-side.ts';

interface Scene {
  readonly asks?: string;
  readonly has?: string;
  readonly volume?: string;
  readonly allocated?: string;
  readonly status?: ResizeStatus;
  readonly wasFinal?: boolean;
  readonly kubeletOnly?: boolean;
  readonly annotation?: string;
  readonly pending?: boolean;
  readonly claim?: Partial<PersistentVolumeClaim['metadata']>;
  readonly volumeSpec?: Partial<PersistentVolume['spec']>;
  readonly note?: string;
}

/** `expand 2Gi`, with `again` where the claim says so already; else the decision's kind. */
function decided(scene: Scene): string {
  const { asks = '2Gi', has = '1Gi', volume = '1Gi', allocated, status, claim = {}, volumeSpec = {} } = scene;
  const decision = decideExpansion({
    claim: aClaim({
      metadata: {
        ...claim,
        annotations:
          scene.annotation === undefined ? {} : { 'volume.kubernetes.io/storage-resizer': scene.annotation },
      },
      spec: { volumeName: 'pvc-uid-1', resources: { requests: { storage: asks } } },
      status: {
        phase: 'Bound',
        capacity: { storage: has },
        ...(allocated === undefined ? {} : { allocatedResources: { storage: allocated } }),
        ...(status === undefined ? {} : { allocatedResourceStatuses: { storage: status } }),
        ...(scene.pending === true
          ? { conditions: [{ type: 'FileSystemResizePending', status: 'True' }] }
          : {}),
      },
    }),
    volume: aPersistentVolume({
      metadata:
        scene.note === undefined
          ? {}
          : { annotations: { 'volume.alpha.kubernetes.io/pre-resize-capacity': scene.note } },
      spec: { capacity: { storage: volume }, ...volumeSpec },
    }),
    own: ownSide,
    lastErrorWasFinal: scene.wasFinal ?? false,
    controllerExpands: scene.kubeletOnly !== true,
  });
  if (decision.kind !== 'expand') return decision.kind;
  return `expand ${decision.target.text}${decision.isRecorded ? ' again' : ''}`;
}

const inProgress = 'ControllerResizeInProgress';
const infeasible = 'ControllerResizeInfeasible';

describe('whether a claim’s volume grows', () => {
  it.each<readonly [string, Scene, string]>([
    ['the claim has what it asks for', { asks: '1Gi' }, 'ignore'],
    ['the claim asks for the same in other words', { asks: '1024Mi' }, 'ignore'],
    ['the claim asks for more', {}, 'expand 2Gi'],
    ['the size is no whole suffix', { asks: '1500Mi' }, 'expand 1500Mi'],
    ['another resizer is named', { annotation: 'ebs.csi.aws.com' }, 'ignore'],
    ['we are named', { annotation: 'loam.dev' }, 'expand 2Gi'],
    ['the PV is of another claim', { claim: { uid: 'uid-2' } }, 'ignore'],
    ['the PV is of another driver', { volumeSpec: { csi: { driver: 'x', volumeHandle: 'v' } } }, 'ignore'],
    ['the PV is on another node', { volumeSpec: { nodeAffinity: {} } }, 'ignore'],
    ['the claim’s size is no size', { asks: 'much' }, 'ignore'],
    ['kubelet has finished', { asks: '2Gi', has: '2Gi', volume: '2Gi', note: '1Gi' }, 'tidy'],
    [
      'kubelet has not finished, though enough is there',
      { asks: '1Gi', volume: '2Gi', note: '1Gi' },
      'ignore',
    ],
  ])('%s', (_, scene, expected) => {
    expect(decided(scene)).toBe(expected);
  });
});

describe('the size, where the PV has less than the claim asks for', () => {
  it.each<readonly [string, Scene, string]>([
    ['the same is under way', { allocated: '2Gi', status: inProgress }, 'expand 2Gi again'],
    ['less may be under way', { asks: '3Gi', allocated: '2Gi', status: inProgress }, 'expand 2Gi again'],
    ['more may be under way', { asks: '2Gi', allocated: '9Gi', status: inProgress }, 'expand 9Gi again'],
    [
      'more has failed for good',
      { asks: '2Gi', allocated: '9Gi', status: inProgress, wasFinal: true },
      'expand 2Gi',
    ],
    ['what is said to be under way is there', { allocated: '1Gi', status: inProgress }, 'expand 2Gi'],
    ['more was infeasible', { asks: '2Gi', allocated: '9Gi', status: infeasible }, 'expand 2Gi'],
    ['the same was infeasible', { allocated: '2Gi', status: infeasible }, 'expand 2Gi again'],
    [
      'kubelet is at an earlier size',
      { asks: '3Gi', volume: '2Gi', allocated: '2Gi', status: 'NodeResizePending' },
      'ignore',
    ],
    [
      'kubelet is at a size that the PV does not say',
      { asks: '3Gi', allocated: '2Gi', status: 'NodeResizeInProgress' },
      'expand 2Gi again',
    ],
    [
      'kubelet failed for good at an earlier size',
      { asks: '3Gi', volume: '2Gi', allocated: '2Gi', status: 'NodeResizeInfeasible' },
      'expand 3Gi',
    ],
    [
      'kubelet failed for good, and only kubelet grows volumes',
      { asks: '3Gi', volume: '2Gi', allocated: '2Gi', status: 'NodeResizeInfeasible', kubeletOnly: true },
      'expand 2Gi again',
    ],
  ])('%s', (_, scene, expected) => {
    expect(decided(scene)).toBe(expected);
  });
});

describe('the size, where the PV has enough and the claim does not say so', () => {
  const grown = { volume: '2Gi' } as const;
  it.each<readonly [string, Scene, string]>([
    [
      'the process died before its last write',
      { ...grown, allocated: '2Gi', status: inProgress },
      'expand 2Gi again',
    ],
    [
      'the user asks for less by now',
      { ...grown, asks: '1500Mi', allocated: '2Gi', status: infeasible },
      'expand 2Gi again',
    ],
    ['kubelet has it', { ...grown, allocated: '2Gi', status: 'NodeResizePending' }, 'ignore'],
    ['kubelet is at it', { ...grown, allocated: '2Gi', status: 'NodeResizeInProgress' }, 'ignore'],
    [
      'kubelet failed for good',
      { ...grown, allocated: '2Gi', status: 'NodeResizeInfeasible' },
      'expand 2Gi again',
    ],
    ['a size without a status is left', { ...grown, allocated: '2Gi' }, 'expand 2Gi again'],
    ['there is nothing but a condition', { ...grown, pending: true }, 'ignore'],
    ['there is nothing at all', { ...grown }, 'expand 2Gi'],
  ])('%s', (_, scene, expected) => {
    expect(decided(scene)).toBe(expected);
  });
});

describe('a claim that is not ready', () => {
  it('is left alone while it is not bound, or its PV is not known', () => {
    const parts = { own: ownSide, lastErrorWasFinal: false, controllerExpands: true };
    const claim = aClaim({ spec: { resources: { requests: { storage: '2Gi' } } } });
    expect(decideExpansion({ ...parts, claim, volume: aPersistentVolume() }).kind).toBe('ignore');
    const bound = aClaim({ spec: { volumeName: 'pvc-uid-1' }, status: { phase: 'Bound' } });
    expect(decideExpansion({ ...parts, claim: bound, volume: undefined }).kind).toBe('ignore');
    // bound a moment ago, and kube-controller-manager has not written the size yet
    expect(decideExpansion({ ...parts, claim: bound, volume: aPersistentVolume() }).kind).toBe('ignore');
  });
});
