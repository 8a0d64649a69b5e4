/** A setting that cannot be used; the message names the flag, what it says and what it may say. Ends the process with code 2. */
export class ConfigError extends Error {
  override name = 'ConfigError';
}
