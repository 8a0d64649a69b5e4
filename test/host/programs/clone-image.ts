/** Makes a volume from a mounted one, to be killed meanwhile. usage: node clone-image.ts <source place> <place> <spec as JSON> */
import { LoopbackBackend } from '../../../src/backends/loopback/backend.ts';
import type { VolumeSpec } from '../../../src/model/volume.ts';

const [sourcePath = '', path = '', json = ''] = process.argv.slice(2);
// what a test has written there
const { sizeBytes, ...rest } = JSON.parse(json) as Omit<VolumeSpec, 'sizeBytes'> & { sizeBytes: string };
const spec: VolumeSpec = { ...rest, sizeBytes: BigInt(sizeBytes) };
const source = { place: { path: sourcePath }, spec, isLive: true };
console.log('begun');
await new LoopbackBackend().createFrom(
  source,
  { path },
  spec,
  { allowsLoose: false },
  { signal: AbortSignal.timeout(60_000) },
);
console.log('done');
