import { styleText } from 'node:util';
import { messageOf } from '../../model/errors.ts';
import { story } from './story.ts';
import type { Step } from './step.ts';
import type { World } from './world.ts';

/** Where the demo's words go. */
export interface Stage {
  readonly print: (line: string) => void;
  readonly useColour: boolean;
}

export interface Told {
  readonly passed: number;
  readonly skipped: number;
  /** the step that failed; nothing was told after it */
  readonly failed: string | undefined;
}

/**
 * Does every step, looks whether it came true, and says so as it happens, with the time that it took.
 *
 * @param missing what this machine cannot have, by the need's name, with the reason for people
 */
export async function tellStory(
  world: World,
  stage: Stage,
  missing: ReadonlyMap<NonNullable<Step['needs']>, string>,
): Promise<Told> {
  const paint = (style: Parameters<typeof styleText>[0], text: string): string =>
    stage.useColour ? styleText(style, text, { validateStream: false }) : text;
  let passed = 0;
  let skipped = 0;
  for (const chapter of story()) {
    stage.print(`\n${paint('bold', chapter.title)}`);
    for (const step of chapter.steps) {
      const lacking = step.needs === undefined ? undefined : missing.get(step.needs);
      if (lacking !== undefined) {
        skipped += 1;
        stage.print(`  ${paint('yellow', '-')} ${step.title}\n    ${paint('dim', `skipped: ${lacking}`)}`);
        continue;
      }
      const startMs = performance.now();
      try {
        await step.act(world);
        const seen = await step.check(world);
        passed += 1;
        const took = `${(performance.now() - startMs).toFixed(1)} ms`;
        stage.print(
          `  ${paint('green', '✓')} ${step.title} ${paint('cyan', took)}\n    ${paint('dim', seen)}`,
        );
      } catch (error) {
        stage.print(`  ${paint('red', '✗')} ${step.title}\n    ${paint('red', messageOf(error))}`);
        return { passed, skipped, failed: step.title };
      }
    }
  }
  return { passed, skipped, failed: undefined };
}
