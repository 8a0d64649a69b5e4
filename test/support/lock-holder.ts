import { Directory } from '../../src/host/directory.ts';
import { lockDirectory } from '../../src/host/lock-directory.ts';

// A process that locks the folder that it is given, says so, and stays until it is killed.
const directory = await Directory.open(process.argv[2] ?? '');
await lockDirectory(directory, AbortSignal.timeout(10_000));
console.log('locked');
setInterval(() => directory.fd, 1000);
