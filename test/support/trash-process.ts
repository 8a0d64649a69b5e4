import { Directory } from '../../src/host/directory.ts';
import { createPace } from '../../src/host/pace.ts';
import { silentLog } from '../../src/model/log.ts';
import { noMetrics } from '../../src/model/metrics.ts';
import { systemClock } from '../../src/model/system-clock.ts';
import type { VolumeId } from '../../src/model/volume-id.ts';
import { Trash } from '../../src/volumes/trash/trash.ts';

/** Deletes every volume of a pool, slowly enough to be killed in the middle. Its end is the test's business. */
const poolPath = process.argv[2] ?? '';
const pool = await Directory.open(poolPath);
const volumes = await pool.openChild('volumes');
const { signal } = new AbortController();
const pace = createPace({ clock: systemClock, bytesPerSecond: 60_000_000n, filesPerSecond: 400, burstMs: 0 });
const trash = new Trash({ pool, pace, log: silentLog, metrics: noMetrics, clock: systemClock, signal });
await trash.load();
console.log('loaded');
for (const name of await volumes.names()) await trash.take(volumes, name as VolumeId);
for (const { id } of trash.entries()) await trash.whenRemoved(id, signal);
