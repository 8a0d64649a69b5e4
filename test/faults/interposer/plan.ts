/** Where in a step the process is ended: before it is begun, while it is under way, or when it has taken effect and nobody knows yet. */
export const moments = ['before', 'during', 'after'] as const;
export type Moment = (typeof moments)[number];

/** What the interposer is told, as JSON in the environment. */
export interface InterposerPlan {
  /** every step is appended here, a line each */
  readonly stepsPath: string;
  /** the step that is the last one, counted from 1; unset: none is */
  readonly killAt?: number;
  readonly moment?: Moment;
  /** while this file is there, some steps on the disk fail, as it says (`DiskFaults`) */
  readonly diskFaultsPath?: string;
}

/** How often steps on the disk fail, and which ones. */
export interface DiskFaults {
  readonly seed: number;
  /** of all steps; 0.02 is one in fifty */
  readonly share: number;
}

export const planVariable = 'FAULTS_INTERPOSER';

/** One step as it was written down. */
export interface Step {
  readonly number: number;
  /** `file`, `command` or `request`, and what was done */
  readonly what: string;
  /** the lines of the sources that did it, innermost first: the same place however often it is passed */
  readonly site: string;
}

/** Steps as lines of their file; a line that a kill has cut short is left out. */
export function parseSteps(text: string): readonly Step[] {
  return text
    .split('\n')
    .slice(0, -1)
    .map((line) => JSON.parse(line) as Step);
}
