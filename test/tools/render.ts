/** Writes deploy/kubernetes/loam.yaml anew from deploy/chart. */
import { writeFileSync } from 'node:fs';
import { manifestPath, renderChart } from '../support/chart.ts';

writeFileSync(manifestPath, await renderChart());
