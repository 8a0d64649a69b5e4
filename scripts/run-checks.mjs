// The `check` suite: each check is a command; its output is shown only when it fails. Writes results in vitest's JSON shape.
import { spawnSync } from 'node:child_process';
import { cpSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

const [resultPath] = process.argv.slice(2);
const clean = mkdtempSync(join(tmpdir(), 'loam-npm-ci-'));
for (const name of ['package.json', 'package-lock.json']) cpSync(name, join(clean, name));

const checks = [
  ['types', 'npm', ['run', '--silent', 'check:types'], '.'],
  ['lint', 'npm', ['run', '--silent', 'check:lint'], '.'],
  ['format', 'npm', ['run', '--silent', 'check:format'], '.'],
  ['the bundle builds', 'npm', ['run', '--silent', 'build'], '.'],
  [
    'npm ci in a clean folder',
    'npm',
    ['ci', '--ignore-scripts', '--no-audit', '--no-fund', '--loglevel=error'],
    clean,
  ],
];

const results = checks.map(([title, command, words, cwd]) => {
  const startedMs = Date.now();
  const run = spawnSync(command, words, { cwd, encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] });
  const passed = run.status === 0;
  console.error(` ${passed ? '✓' : '✗'} ${title} ${Date.now() - startedMs} ms`);
  if (!passed) console.error(`${run.stdout ?? ''}${run.stderr ?? ''}${run.error ?? ''}`);
  return { fullName: title, status: passed ? 'passed' : 'failed' };
});
rmSync(clean, { recursive: true, force: true });
writeFileSync(
  resultPath,
  JSON.stringify({
    success: results.every((r) => r.status === 'passed'),
    testResults: [{ status: 'passed', assertionResults: results }],
  }),
);
