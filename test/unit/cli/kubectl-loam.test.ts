import { spawnSync } from 'node:child_process';
import { chmodSync, existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';

const plugin = join(import.meta.dirname, '../../../deploy/kubectl-loam');

/** Answers like a cluster with these pods, and notes what it was asked. */
const kubectl = `#!/usr/bin/env bash
printf '%s\\n' "$*" >>"$NOTES"
case " $* " in
  *" get pods "*) printf '%s' "$PODS" ;;
  *" get persistentvolume "*) printf '%s' "$PV_NODE" ;;
  *" exec "*)
    case " $* " in
      *loam-b*) printf 'said by b\\n'; exit "\${CODE_B:-0}" ;;
      *) printf 'said by a\\n' ;;
    esac ;;
  *" create "*) printf 'created: '; cat ;;
esac
`;

describe('kubectl loam', () => {
  let folder: string;
  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'loam-plugin-'));
    writeFileSync(join(folder, 'kubectl'), kubectl);
    chmodSync(join(folder, 'kubectl'), 0o755);
  });
  afterEach(() => rmSync(folder, { recursive: true, force: true }));
  const both = 'storage loam-a node-a\nstorage loam-b node-b\n';

  function run(
    args: readonly string[],
    environment: Readonly<Record<string, string>> = {},
  ): { status: number | null; out: string; err: string; asked: string[] } {
    const notes = join(folder, 'notes');
    const path = [folder, '/usr/bin', '/bin'].join(delimiter);
    const env = { PATH: path, NOTES: notes, PODS: both, PV_NODE: 'node-b', ...environment };
    const { status, stdout, stderr } = spawnSync('bash', [plugin, ...args], {
      env,
      encoding: 'utf8',
      timeout: 20_000,
    });
    const asked = existsSync(notes) ? readFileSync(notes, 'utf8').trim().split('\n') : [];
    return { status, out: stdout, err: stderr, asked };
  }

  it('asks every node, keeps their names off what a program reads, and ends with the worst code', () => {
    const { status, out, err, asked } = run(['--context=prod', 'volumes', '--output', 'json'], {
      CODE_B: '3',
    });
    expect(status).toBe(3);
    expect(out).toBe('said by a\nsaid by b\n');
    expect(err).toBe('== node-a\n== node-b\n');
    expect(asked[0]).toContain(
      '--context=prod get pods --all-namespaces --selector=app.kubernetes.io/name=loam,app.kubernetes.io/component=node --field-selector=status.phase=Running',
    );
    expect(asked.slice(1)).toEqual([
      '--context=prod exec --namespace=storage loam-a --container=loam -- loam volumes --output json',
      '--context=prod exec --namespace=storage loam-b --container=loam -- loam volumes --output json',
    ]);
  });

  it('asks one node where it is named', () => {
    const { out, asked } = run(['--node', 'node-b', '-n', 'storage', 'gc', '--dry-run']);
    expect(out).toBe('said by b\n');
    expect(asked[0]).toContain('get pods --namespace=storage');
    expect(asked).toHaveLength(2);
  });

  it.each([
    [['gc', '--remove', 'v']],
    [['gc', '--archive=v', '--yes']],
    [['gc', '--forget', 'v']],
    [['adopt', 'v', '--apply']],
  ])('does not guess on which node %j is to happen', (args) => {
    const { status, err, asked } = run(args);
    expect(status).toBe(2);
    expect(err).toContain('is for one of 2 nodes: say which with --node');
    expect(asked).toHaveLength(1);
    expect(run(['--node=node-b', ...args]).out).toBe('said by b\n');
  });

  it('undeletes in the pod of the PV’s node and prints the claim, or creates it with the caller’s rights', () => {
    const printed = run(['undelete', '--to', 'shop/data', 'pv-1']);
    expect(printed).toMatchObject({ status: 0, out: 'said by b\n' });
    expect(printed.asked[0]).toMatch(/^get persistentvolume pv-1 /);
    expect(printed.asked.at(-1)).toBe(
      'exec --namespace=storage loam-b --container=loam -- loam undelete --to shop/data pv-1',
    );
    const created = run(['undelete', 'pv-1', '--apply']);
    expect(created).toMatchObject({ status: 0, out: 'created: said by b\n' });
    expect(created.asked.at(-2)).toBe(
      'exec --namespace=storage loam-b --container=loam -- loam undelete pv-1',
    );
  });

  it('creates nothing where undelete was refused', () => {
    const { status, asked } = run(['undelete', 'pv-1', '--apply'], { CODE_B: '1' });
    expect(status).toBe(1);
    expect(asked.join('\n')).not.toContain('create');
  });

  it('undeletes with the loam that is here, with the same access', () => {
    writeFileSync(join(folder, 'loam'), '#!/bin/sh\necho "here: $*"\n');
    chmodSync(join(folder, 'loam'), 0o755);
    const { out, asked } = run(['--kubeconfig', '/k', 'undelete', 'pv-1', '--apply']);
    expect(out).toBe('here: undelete --kubeconfig=/k pv-1 --apply\n');
    expect(asked).toEqual([]);
  });

  it('says what is wrong with a command line, and what is not there', () => {
    expect(run(['--help'])).toMatchObject({
      status: 0,
      out: expect.stringContaining('undelete PV') as unknown,
    });
    expect(run([])).toMatchObject({ status: 2 });
    expect(run(['--all', 'gc']).err).toContain('unknown flag --all');
    expect(run(['sweep']).err).toContain('unknown command sweep');
    expect(run(['volumes'], { PODS: '' })).toMatchObject({
      status: 1,
      err: expect.stringContaining('no Running pod of Loam') as unknown,
    });
    expect(run(['--node=node-c', 'volumes']).err).toContain('no Running pod of Loam is there on node node-c');
    expect(run(['undelete', 'pv-1'], { PV_NODE: '' }).err).toContain("names no node of Loam's");
  });

  const shellcheck = spawnSync('shellcheck', ['--version']).status === 0;
  it.skipIf(!shellcheck)(`is what shellcheck wants${shellcheck ? '' : ' (skipped: no shellcheck)'}`, () => {
    expect(spawnSync('shellcheck', [plugin], { encoding: 'utf8' }).stdout).toBe('');
  });
});
