/** How one check ended, as a line on the machine's console. */
export interface Outcome {
  readonly name: string;
  /** unset: it held */
  readonly failure?: string;
  readonly tookMs: number;
}

export const reportPrefix = 'LOAM-CHECK ';
