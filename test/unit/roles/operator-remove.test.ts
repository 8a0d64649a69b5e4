import { describe, expect, it } from 'vitest';
import type { DoomedEntry } from '../../../src/model/disk-inventory.ts';
import { StorageError } from '../../../src/model/errors.ts';
import { operatorPorts, type OperatorParts } from '../../../src/roles/operator-ports.ts';
import { partsWith } from './operator-parts.ts';

const { signal } = new AbortController();
const gone = new StorageError('volume-not-found', 'pvc-1 is nowhere');

/** The operator's verbs over a disk on which nothing is left but what the trash has. */
function ports(doomed: readonly DoomedEntry[]) {
  return operatorPorts(partsOf(doomed));
}

function partsOf(doomed: readonly DoomedEntry[]): OperatorParts {
  const refuse = (): Promise<never> => Promise.reject(gone);
  return partsWith({
    disk: { removeArchived: refuse },
    inventory: { doomed: () => doomed, broken: () => [] },
    orphans: { look: refuse },
    adoption: { adopt: refuse },
  });
}

const entry: DoomedEntry = { id: 'pvc-1', poolName: 'p', method: 'delete', sinceMs: 0, sizeBytes: 1n };

describe.each(['remove', 'removeArchived'] as const)('a %s whose answer was lost, asked again', (verb) => {
  it('is answered as the first one was while its bytes are going', async () => {
    await expect(ports([entry])[verb]('pvc-1', signal)).resolves.toMatchObject({
      outcome: 'removing',
      message: expect.stringContaining('is in the trash; its bytes go in the background') as unknown,
    });
  });

  it('says what keeps the bytes from going', async () => {
    const failing = { ...entry, failure: 'the disk is read-only' };
    await expect(ports([failing])[verb]('pvc-1', signal)).rejects.toMatchObject({
      code: 'FAILED_PRECONDITION',
      message: expect.stringMatching(/goes by itself.*the disk is read-only/) as unknown,
    });
  });

  it('says that they do not go by themselves where the disk is away', async () => {
    const stuck = { on: 'unusable disk', mountPoint: '/p/discovery/sdb' } as const;
    const failing = { ...entry, failure: 'not mounted; loam gc --forget pvc-1 gives it up', stuck };
    await expect(ports([failing])[verb]('pvc-1', signal)).rejects.toMatchObject({
      code: 'FAILED_PRECONDITION',
      message: expect.stringMatching(/does not go by itself.*--forget pvc-1/) as unknown,
    });
  });

  it('says that there is no such thing once they are gone', async () => {
    await expect(ports([])[verb]('pvc-1', signal)).rejects.toBe(gone);
    await expect(ports([{ ...entry, id: 'pvc-2' }])[verb]('pvc-1', signal)).rejects.toBe(gone);
  });
});

describe('the plan', () => {
  it('is made also where mounts and devices cannot be looked at, and says so', async () => {
    const made = operatorPorts({
      ...partsOf([entry]),
      unowned: () => 'none',
      inventory: {
        ...partsOf([entry]).inventory,
        litter: () => Promise.resolve([]),
        forgotten: () => [],
        strays: () => Promise.reject(new Error('EIO: i/o error')),
      },
    });
    const plan = await made.plan(signal);
    expect(plan.findings).toMatchObject([{ kind: 'trash', id: 'pvc-1' }]);
    expect(plan.warnings.at(-1)).toMatch(/mounted and attached could not be looked at: EIO/);
  });
});

describe('the adoption of a volume that is nowhere', () => {
  const request = { volumeId: 'pvc-1', policy: 'Retain', apply: false } as const;

  it('says that it was deleted, while its bytes are going', async () => {
    await expect(ports([entry]).adopt(request, signal)).rejects.toMatchObject({
      code: 'FAILED_PRECONDITION',
      message: expect.stringContaining('pvc-1 was deleted and is in the trash') as unknown,
    });
  });

  it('says that it is nowhere once they are gone', async () => {
    await expect(ports([]).adopt(request, signal)).rejects.toBe(gone);
  });
});
