#!/usr/bin/env node
// Makes what src/csi and src/kubelet import from their `generated` folders: TypeScript types of the messages, and the
// protos as one module of data, so that a bundle needs no .proto files beside it. Does nothing when they are up to date.
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { basename, dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const project = join(dirname(fileURLToPath(import.meta.url)), '..');
const require = createRequire(join(project, 'package.json'));

const protos = [
  { source: 'proto/csi/csi.proto', target: 'src/csi/generated' },
  { source: 'proto/pluginregistration/registration.proto', target: 'src/kubelet/generated' },
];

// The options of src/csi/wire.ts and src/kubelet/wire.ts, or the types would lie about what the loader makes.
const flags = [
  '--longs=String',
  '--enums=String',
  '--oneofs',
  '--arrays',
  '--objects',
  '--grpcLib=@grpc/grpc-js',
  '--importFileExtension=.ts',
  '--includeComments',
  '--inputTemplate=%sInit',
  '--outputTemplate=%s',
];

if (process.argv.includes('--help')) {
  console.log(
    'usage: scripts/generate-csi-types.mjs [--force]\n\nMakes src/csi/generated and src/kubelet/generated from proto/.',
  );
} else {
  for (const proto of protos) generate(proto, process.argv.includes('--force'));
}

function generate({ source, target }, force) {
  const proto = join(project, source);
  const folder = join(project, target);
  const stamp = stampOf(proto);
  if (!force && readIfPresent(join(folder, 'stamp')) === stamp) return;
  // Elsewhere, and renamed at the end, so that a killed run never leaves half a folder.
  const fresh = join(project, `.cache/generated-${basename(dirname(folder))}-${process.pid}`);
  mkdirSync(fresh, { recursive: true });
  try {
    execFileSync(process.execPath, [generator(), ...flags, `--outDir=${fresh}`, proto], {
      stdio: ['ignore', 'ignore', 'inherit'],
    });
    writeFileSync(join(fresh, 'descriptor.ts'), descriptorModule(proto));
    writeFileSync(join(fresh, 'stamp'), stamp);
    rmSync(folder, { recursive: true, force: true });
    renameSync(fresh, folder);
  } finally {
    rmSync(fresh, { recursive: true, force: true });
  }
  console.log(`${source} -> ${target}`);
}

function descriptorModule(proto) {
  const protobuf = require('protobufjs');
  const root = new protobuf.Root().loadSync(proto);
  // a literal of this size has no type worth checking
  return [
    "import type { fromJSON } from '@grpc/proto-loader';",
    `export const descriptor = ${JSON.stringify(root.toJSON())} as object as Parameters<typeof fromJSON>[0];`,
    '',
  ].join('\n');
}

function stampOf(proto) {
  const hash = createHash('sha256');
  for (const file of [proto, fileURLToPath(import.meta.url), packageFile()]) hash.update(readFileSync(file));
  return hash.digest('hex');
}

function packageFile() {
  return require.resolve('@grpc/proto-loader/package.json');
}

function generator() {
  return join(dirname(packageFile()), 'build/bin/proto-loader-gen-types.js');
}

function readIfPresent(path) {
  return existsSync(path) ? readFileSync(path, 'utf8') : undefined;
}
