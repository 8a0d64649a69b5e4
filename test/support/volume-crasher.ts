import { join } from 'node:path';
import { DirectoryBackend } from '../../src/backends/directory/backend.ts';
import { VolumeService } from '../../src/volumes/volume-service.ts';
import { openOnePool } from './open-one-pool.ts';

// A process to be killed: makes and deletes volumes and snapshots without end in the folder that it is given, and says on its
// output what it was answered: `+id` when a create was, `-id` when a delete is asked, `=id` when it was answered.
const root = process.argv[2];
if (root === undefined) throw new Error('which folder?');
const environment = await openOnePool(
  { poolPath: join(root, 'one'), runDir: join(root, 'run'), stateDir: join(root, 'state') },
  [new DirectoryBackend()],
);
const service = new VolumeService(environment, { name: 'loam.dev', vendorVersion: 'test' });
const call = { signal: new AbortController().signal };
const say = (line: string): boolean => process.stdout.write(`${line}\n`);

async function live(lane: number): Promise<void> {
  for (let round = 0; ; round += 1) {
    const name = `pvc-${process.pid}-${lane}-${round}`;
    const { volumeId } = await service.createVolume(
      {
        name,
        capacityRange: { requiredBytes: 1n << 20n, limitBytes: 0n },
        capabilities: [
          { accessMode: 'SINGLE_NODE_WRITER', access: { kind: 'mount', fsType: '', mountFlags: [] } },
        ],
        parameters: {
          backend: 'directory',
          limit: 'advisory',
          'csi.storage.k8s.io/pvc/name': name,
          'csi.storage.k8s.io/pvc/namespace': 'team',
        },
      },
      call,
    );
    say(`+${volumeId}`);
    if (round % 2 === 0) await snapshot(name, volumeId, round);
    if (round % 3 === 0) continue;
    say(`-${volumeId}`);
    await service.deleteVolume({ volumeId }, call);
    say(`=${volumeId}`);
  }
}

/** Every second snapshot is deleted again. */
async function snapshot(name: string, sourceVolumeId: string, round: number): Promise<void> {
  const { snapshotId } = await service.createSnapshot({ name, sourceVolumeId, parameters: {} }, call);
  say(`+${snapshotId}`);
  if (round % 4 === 0) return;
  say(`-${snapshotId}`);
  await service.deleteSnapshot(snapshotId, call);
  say(`=${snapshotId}`);
}

say('ready');
await Promise.all([0, 1, 2, 3].map(live));
