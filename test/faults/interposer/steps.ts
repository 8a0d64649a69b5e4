import { openSync, writeSync } from 'node:fs';
import { relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { InterposerPlan } from './plan.ts';

const sources = fileURLToPath(new URL('../../../src', import.meta.url));

/** Counts what the process does to the disk and to the API, writes it down, and ends the process where the plan says. */
export class Steps {
  readonly #plan: InterposerPlan;
  readonly #log: number;
  #count = 0;

  constructor(plan: InterposerPlan) {
    this.#plan = plan;
    this.#log = openSync(plan.stepsPath, 'a');
    Error.stackTraceLimit = 40;
  }

  /** A step that is about to be done. @returns its number */
  begin(what: string): number {
    this.#count += 1;
    writeSync(this.#log, `${JSON.stringify({ number: this.#count, what, site: siteOf(what) })}\n`);
    this.#dieAt(this.#count, 'before');
    return this.#count;
  }

  underWay(step: number, doFirst?: () => void): void {
    if (this.#is(step, 'during')) doFirst?.();
    this.#dieAt(step, 'during');
  }

  /** It has taken effect; whoever asked for it has not heard of that. */
  end(step: number): void {
    this.#dieAt(step, 'after');
    // what is done in one go is never under way
    this.#dieAt(step, 'during');
  }

  #dieAt(step: number, moment: InterposerPlan['moment']): void {
    if (this.#is(step, moment)) process.kill(process.pid, 'SIGKILL');
  }

  #is(step: number, moment: InterposerPlan['moment']): boolean {
    return step === this.#plan.killAt && moment === this.#plan.moment;
  }
}

/** The verb, and the lines of our sources that lead to it. */
function siteOf(what: string): string {
  const frames = (new Error().stack ?? '')
    .split('\n')
    .map((line) => /(file:\/\/[^)]+):(\d+):\d+\)?$/.exec(line))
    .flatMap((found) => (found === null ? [] : [`${fileURLToPath(found[1] ?? '')}:${found[2]}`]))
    .filter((place) => place.startsWith(`${sources}/`))
    .map((place) => relative(sources, place));
  return [what.split(' ', 2).join(' '), ...frames.slice(0, 8)].join(' < ');
}
