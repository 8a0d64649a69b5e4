/** Builds Go programs ahead of the suites that run them, where minutes are no test's time-out. Prints their paths. usage: node build.ts <name…> */
import { buildGoTools, goTools, whyNoGo } from '../support/go-tools.ts';

const unknown = process.argv.slice(2).find((name) => !goTools.some((tool) => tool === name));
if (unknown !== undefined) throw new Error(`no Go program ${unknown}; known are ${goTools.join(', ')}`);
const missing = await whyNoGo();
if (missing !== undefined) console.error(`${missing}: the suites that need it skip`);
const wanted = goTools.filter((tool) => process.argv.includes(tool));
if (missing === undefined) for (const path of await buildGoTools(wanted)) console.log(path);
