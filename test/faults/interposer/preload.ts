import { flushCompileCache, syncBuiltinESMExports } from 'node:module';
import { interposeCommands } from './command-steps.ts';
import { interposeFiles } from './file-steps.ts';
import { planVariable, type InterposerPlan } from './plan.ts';
import { watchRequests } from './request-steps.ts';
import { Steps } from './steps.ts';

// Loaded before the program (`node --import`): stands between it and everything that it changes.
const plan = JSON.parse(process.env[planVariable] ?? '') as InterposerPlan;
const steps = new Steps(plan);
await interposeFiles(steps, plan.diskFaultsPath);
interposeCommands(steps);
watchRequests(steps);
syncBuiltinESMExports();
// a process that is killed leaves no cache, and hundreds of the same are started after it
setTimeout(flushCompileCache, 2000).unref();
