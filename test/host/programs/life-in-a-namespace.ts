import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { DirectoryBackend } from '../../../src/backends/directory/backend.ts';
import { LoopbackBackend } from '../../../src/backends/loopback/backend.ts';
import { ensureUnmounted } from '../../../src/host/mounts.ts';
import { removeTarget } from '../../../src/host/targets.ts';
import { volumeIdOf } from '../../../src/model/volume-id.ts';

/** A directory volume's whole life below the path named as argument, and what the loopback backend says there. */
const base = process.argv[2] ?? '';
const call = { signal: AbortSignal.timeout(30_000) };
const backend = new DirectoryBackend();
const spec = {
  id: volumeIdOf('pvc-1'),
  backend: 'directory',
  accessType: 'mount',
  sizeBytes: 1n << 20n,
  provisioning: 'thin',
  limit: 'advisory',
} as const;
const place = { path: join(base, 'pool/volumes/pvc-1') };
const stagingPath = join(base, 'staging');
const target = { path: join(base, 'target'), readonly: true, mountFlags: ['noexec'] };
mkdirSync(place.path, { recursive: true });
await backend.create(place, spec, call);
await backend.stage(place, spec, { path: stagingPath, readonly: false, mountFlags: [] }, call);
await backend.publish(place, spec, stagingPath, target, call);
await backend.publish(place, spec, stagingPath, target, call);
writeFileSync(join(stagingPath, 'file'), 'written');
const read = readFileSync(join(target.path, 'file'), 'utf8');
let refusal = 'none';
try {
  writeFileSync(join(target.path, 'other'), '');
} catch (error) {
  refusal = String(error);
}
await ensureUnmounted(target.path, call.signal);
await removeTarget(target.path);
await backend.unstage(place, spec, stagingPath, call);
const users = await backend.users(place);
const scratch = { path: join(base, 'scratch') };
mkdirSync(scratch.path);
const loopback = await new LoopbackBackend().probe(scratch, call.signal);
process.stdout.write(JSON.stringify({ read, refusal, users, loopback }));
