import { execFile } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { buildGoTool } from './go-tools.ts';

const run = promisify(execFile);

export interface SanityCase {
  readonly name: string;
  readonly state: 'passed' | 'failed' | 'skipped' | 'pending' | 'other';
  /** why it failed or was skipped */
  readonly message: string;
}

export interface SanityOptions {
  /** of the driver under test */
  readonly socketPath: string;
  /** report and parameters; the target and staging directories are made and removed below it by csi-sanity itself */
  readonly folder: string;
  readonly accessType: 'mount' | 'block';
  readonly volumeSizeBytes: number;
  readonly parameters: Readonly<Record<string, string>>;
  /** of a VolumeSnapshotClass */
  readonly snapshotParameters: Readonly<Record<string, string>>;
  /** of a VolumeAttributesClass, such as every volume here can be changed to */
  readonly mutableParameters: Readonly<Record<string, string>>;
}

/** Runs the real csi-sanity against a driver's socket. @returns every case with what became of it, and the end of its output */
export async function runCsiSanity(
  options: SanityOptions,
): Promise<{ cases: readonly SanityCase[]; output: string }> {
  const { folder } = options;
  const program = await buildGoTool('csi-sanity');
  const reportPath = join(folder, 'report.json');
  const written = (name: string, parameters: Readonly<Record<string, string>>): string => {
    const path = join(folder, `${name}.yaml`);
    // JSON is YAML
    writeFileSync(path, JSON.stringify(parameters));
    return path;
  };
  const args = [
    `--csi.endpoint=unix://${options.socketPath}`,
    `--csi.mountdir=${join(folder, 'mount')}`,
    `--csi.stagingdir=${join(folder, 'staging')}`,
    `--csi.testvolumeaccesstype=${options.accessType}`,
    `--csi.testvolumesize=${options.volumeSizeBytes}`,
    `--csi.testvolumeparameters=${written('parameters', options.parameters)}`,
    `--csi.testsnapshotparameters=${written('snapshot-parameters', options.snapshotParameters)}`,
    `--csi.testvolumemutableparameters=${written('mutable-parameters', options.mutableParameters)}`,
    '--csi.testnodevolumeattachlimit=true',
    `--ginkgo.json-report=${reportPath}`,
    '--ginkgo.no-color',
    '--ginkgo.timeout=8m',
  ];
  const settled = run(program, args, { maxBuffer: 64 * 1024 * 1024, timeout: 540_000 });
  const output = await settled.then(
    ({ stdout }) => stdout,
    // failed cases end it with 1; what failed is in the report
    (error: { readonly stdout?: string; readonly stderr?: string }) =>
      `${error.stdout ?? ''}${error.stderr ?? ''}`,
  );
  return { cases: readCases(reportPath), output: output.slice(-20_000) };
}

interface Report {
  readonly SpecReports: readonly {
    readonly LeafNodeType: string;
    readonly ContainerHierarchyTexts: readonly string[] | null;
    readonly LeafNodeText: string;
    readonly State: string;
    readonly Failure?: { readonly Message: string };
  }[];
}

function readCases(path: string): SanityCase[] {
  const [suite] = JSON.parse(readFileSync(path, 'utf8')) as readonly Report[];
  // set-up and clean-up nodes count only when they fail
  const specs =
    suite?.SpecReports.filter(({ LeafNodeType, State }) => LeafNodeType === 'It' || State !== 'passed') ?? [];
  return specs.map(({ ContainerHierarchyTexts, LeafNodeText, State, Failure }) => ({
    name: [...(ContainerHierarchyTexts ?? []), LeafNodeText].join(' / '),
    state:
      State === 'passed' || State === 'skipped' || State === 'pending'
        ? State
        : State === 'failed'
          ? 'failed'
          : 'other',
    message: Failure?.Message ?? '',
  }));
}
