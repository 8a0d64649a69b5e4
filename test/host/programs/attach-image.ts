import { existsSync } from 'node:fs';
import { attach, detach, devicesOf } from '../../../src/host/loop-devices.ts';

/** Attaches the image named as argument and says where, for tests that prepare a special /dev around it. */
const signal = AbortSignal.timeout(30_000);
const image = process.argv[2] ?? '';
const device = await attach(image, { directIo: true, readonly: false, signal });
const isThere = existsSync(device.path);
await detach(device.path, signal);
const left = await devicesOf(image, signal);
process.stdout.write(JSON.stringify({ path: device.path, isThere, left: left.length }));
