/** Freezes the file system at a path, says so and holds it until it is killed. usage: node hold-freeze.ts <mount path> */
import { whileFrozen } from '../../../src/host/freeze.ts';

const [mountPath = ''] = process.argv.slice(2);
const never = new Promise<void>(() => {});
setInterval(() => {}, 60_000);
await whileFrozen(
  mountPath,
  async () => {
    console.log('holding');
    await never;
  },
  { signal: AbortSignal.timeout(60_000), holdWithinMs: 60_000 },
);
