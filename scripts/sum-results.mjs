// Adds up what the suites wrote: a line a suite, what failed and why or was skipped, and the closing line that CI reads.
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { stripVTControlCharacters } from 'node:util';

const [folder, ...suites] = process.argv.slice(2);
const total = { passed: 0, failed: 0, skipped: 0 };
const notable = [];

for (const suite of suites) {
  const sum = { passed: 0, failed: 0, skipped: 0 };
  const path = join(folder, `${suite}.json`);
  const report = existsSync(path) ? JSON.parse(readFileSync(path, 'utf8')) : undefined;
  for (const file of report?.testResults ?? []) {
    for (const { fullName, status, failureMessages } of file.assertionResults) {
      const kind = status === 'passed' || status === 'failed' ? status : 'skipped';
      sum[kind] += 1;
      if (kind !== 'passed') notable.push(`${kind}: ${suite}: ${fullName}`, ...reasons(failureMessages));
    }
    // A file that cannot even be loaded has no tests to count.
    if (file.status === 'failed' && !file.assertionResults.some(({ status }) => status === 'failed')) {
      sum.failed += 1;
      notable.push(`failed: ${suite}: ${file.name}: ${file.message}`);
    }
  }
  const ranNothing = sum.passed + sum.failed + sum.skipped === 0;
  // what fails after the last test, in a tear-down, is in no report
  const isBroken = report?.success === false || existsSync(join(folder, `${suite}.broke`));
  const brokeOutside = report !== undefined && isBroken && sum.failed === 0;
  if (ranNothing || brokeOutside) {
    sum.failed += 1;
    notable.push(
      `failed: ${suite}: ${ranNothing ? 'ran no test' : 'an error outside every test, see above'}`,
    );
  }
  for (const kind of Object.keys(total)) total[kind] += sum[kind];
  console.log(
    `${suite.padEnd(12)} ${sum.passed} passed, ${sum.failed} failed, ${sum.skipped} skipped`
      .padEnd(60)
      .trimEnd(),
  );
}
for (const line of notable) console.log(line);

/** Where only the end of a run is kept, it says enough. */
function reasons(messages = []) {
  const lines = messages.flatMap((message) => stripVTControlCharacters(message).split('\n'));
  const shown = lines.filter((line) => line.trim() !== '' && !/^\s*at .*node_modules/.test(line));
  return shown.slice(0, 20).map((line) => `    ${line.slice(0, 1500)}`);
}
process.exitCode = total.failed === 0 && total.passed > 0 ? 0 : 1;
console.log(`${total.passed} passed, ${total.failed} failed, ${total.skipped} skipped`);
