import { renameSync, symlinkSync, unlinkSync } from 'node:fs';

// Swaps directories and files of a volume for links to outside and back as fast as it can, until it is killed or twenty seconds are over.
const [volume = '', outside = ''] = process.argv.slice(2);
const parts = ['/d0/d1/file', '/d0/d1', '/d0/file', '/d0', '/file', ''];
const end = Date.now() + 20_000;

function quietly(act: () => void): void {
  try {
    act();
  } catch {
    // the other one was faster
  }
}

process.stdout.write('ready\n');
while (Date.now() < end) {
  for (let index = 0; index < 20; index += 1) {
    for (const part of parts) {
      const path = `${volume}/s${index}${part}`;
      quietly(() => {
        renameSync(path, `${path}.aside`);
        symlinkSync(outside + part, path);
      });
    }
    for (const part of parts.toReversed()) {
      const path = `${volume}/s${index}${part}`;
      quietly(() => {
        unlinkSync(path);
        renameSync(`${path}.aside`, path);
      });
    }
  }
}
