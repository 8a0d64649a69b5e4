// Bundles src/main.ts into dist/loam.mjs, one minified ES module: that halves the memory of the process.
import { build } from 'esbuild';
import { chmodSync, readFileSync, statSync } from 'node:fs';

const { version } = JSON.parse(readFileSync('package.json', 'utf8'));
await build({
  entryPoints: ['src/main.ts'],
  outfile: 'dist/loam.mjs',
  bundle: true,
  minify: true,
  platform: 'node',
  format: 'esm',
  target: 'node22',
  legalComments: 'none',
  define: { 'process.env.LOAM_VERSION': JSON.stringify(version) },
  // CommonJS dependencies inside an ES module still call require.
  banner: {
    js: "import{createRequire as loamRequire}from'node:module';const require=loamRequire(import.meta.url);",
  },
  logLevel: 'warning',
});
// whatever this shell's umask: in the image others read it, too (the controller runs as user 65532)
chmodSync('dist', 0o755);
chmodSync('dist/loam.mjs', 0o755);
console.log(`dist/loam.mjs ${(statSync('dist/loam.mjs').size / 1024 / 1024).toFixed(2)} MiB`);
