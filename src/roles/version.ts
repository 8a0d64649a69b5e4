/** esbuild puts package.json's version here; sources that run as they are say so. */
export const version: string = process.env['LOAM_VERSION'] ?? '0.0.0-source';
